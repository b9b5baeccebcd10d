"""Which decision log a workspace uses: its file, or the database that LUNGLINE_DECISIONS_URL names; never both."""

from __future__ import annotations

import os

from data_contracts.errors import UsageProblem
from data_contracts.workspace import Workspace
from models.registry.decisions.database_storage import VARIABLE, DatabaseStorage
from models.registry.decisions.file_storage import FileStorage
from models.registry.decisions.storage import LogStorage


def storage_in_use(workspace: Workspace) -> LogStorage:
    """Where the log lies. Raises UsageProblem for a URL that names no usable database, and where a log lies elsewhere
    too: a file beside the database, or a database that the file was moved into.
    """
    file = FileStorage.of(workspace)
    database = database_in_use()
    if database and file.begun():
        raise _two_logs(
            f"There is a decision log in {file.path}, and {VARIABLE} names {database.place}.",
            f"`lungline log move` carries the file into the database; without {VARIABLE} the file is used.",
        )
    if not database and moved(file).path.exists():
        raise _two_logs(
            f"The decision log was moved into a database ({moved(file).path} is what it was then), and {VARIABLE} is "
            "not set.",
            f"Set {VARIABLE} to the address of that database.",
        )
    return database or file


def database_in_use() -> DatabaseStorage | None:
    """The database that the environment names; None where it names none. Raises UsageProblem for an unusable one."""
    address = os.environ.get(VARIABLE, "")
    return DatabaseStorage(address) if address else None


def moved(file: FileStorage) -> FileStorage:
    """What a log file is called after it was carried into a database."""
    return FileStorage(file.path.with_name(f"{file.path.stem}.moved{file.path.suffix}"))


def _two_logs(what: str, cure: str) -> UsageProblem:
    return UsageProblem(what, why="Decisions in two places would be two histories of the same models.", cure=cure)
