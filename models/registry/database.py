"""The SQLite database of a local MLflow store: complete or absent, and prepared by one process at a time.

MLflow builds its tables with dozens of migrations that no transaction covers. Killed half-way, or started twice at
once, it leaves a database that nothing opens again.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from filelock import FileLock

from data_contracts.errors import EnvironmentProblem

# Creating the tables takes a few seconds; a loaded machine may take a minute.
_LOCK_SECONDS = 300


@contextmanager
def prepared_database(file: Path) -> Iterator[None]:
    """Hold the database ready and locked against other openers of this program, creating it where it is absent.

    Raises EnvironmentProblem where it cannot be made or opened.
    """
    with ExitStack() as held:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(FileLock(file.with_name(f"{file.name}.lock"), timeout=_LOCK_SECONDS))
            if not file.exists() or file.stat().st_size == 0:
                _create(file)
            # MLflow would retry a file that it cannot open for more than a minute and a half.
            with closing(sqlite3.connect(file, timeout=60)) as connection:
                connection.execute("PRAGMA schema_version")
        except (OSError, sqlite3.Error) as error:  # filelock's timeout is an OSError
            raise _unusable(file, error) from error
        yield


def _create(file: Path) -> None:
    from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine

    part = file.with_name(f"{file.name}.part")
    for rest in (part, part.with_name(f"{part.name}-journal")):  # of a creation that was killed
        rest.unlink(missing_ok=True)
    engine = create_sqlalchemy_engine(f"sqlite:///{part}")  # type: ignore[no-untyped-call]
    _initialize_tables(engine)  # type: ignore[no-untyped-call]
    engine.dispose()
    with part.open("rb") as written:
        os.fsync(written.fileno())
    part.replace(file)


def _unusable(file: Path, error: Exception) -> EnvironmentProblem:
    return EnvironmentProblem(
        f"The MLflow database {file} cannot be opened: {error}.",
        why="Runs and model versions are kept in it.",
        cure="Check that its folder may be written to and that it is an MLflow database, or name another one.",
    )
