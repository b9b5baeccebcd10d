"""Shared by all tests: nothing of a person's configuration leaks in, and nothing is written outside tmp folders."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler.loadscope import LoadScopeScheduling

from models.registry import database
from tests.mariadb_server import MariaDB, running_server

_CONFIGURATION = (
    *("LUNGLINE_HOME", "LUNGLINE_DATA", "LUNGLINE_DEBUG", "LUNGLINE_PATIENT_KEY", "MLFLOW_TRACKING_URI"),
    *("LUNGLINE_SERVE_TOKEN_FILE", "LUNGLINE_DECISIONS_URL", "ZENML_CONFIG_PATH", "ZENML_STORE_URL"),
    *("LUNGLINE_ARTIFACT_CACHE", "LUNGLINE_ARTIFACT_CACHE_GIB"),
)

SHARE_A_TRAINED_RUN = ("tests/pipeline/test_running_again.py", "tests/pipeline/test_training_run.py")


def pytest_configure() -> None:
    for name in _CONFIGURATION:
        os.environ.pop(name, None)


class ByFile(LoadScopeScheduling):
    """The tests of a file run in one process, which makes their fixtures once; so do files that share a trained run."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return "one trained run" if file in SHARE_A_TRAINED_RUN else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    return ByFile(config, log)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real X-rays in raw/ and hostile files in corrupt/; skips where none is named."""
    folder = os.environ.get("LUNGLINE_REAL_DATA", "")
    if not folder:
        pytest.skip("LUNGLINE_REAL_DATA names no folder with real X-rays")
    return Path(folder)


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    """A server with the databases and users of a cluster; skips where MariaDB is not installed."""
    with running_server(tmp_path_factory.mktemp("mariadb")) as server:
        yield server


@pytest.fixture(scope="session", autouse=True)
def create_mlflow_tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path], None]]:
    """MLflow builds the same empty tables for every store, in more than a second: the second store gets a copy.

    Gives the function that really makes them, for the tests of that.
    """
    made = tmp_path_factory.mktemp("mlflow") / "empty.db"
    create = database._create

    def copied(file: Path) -> None:
        if made.exists():
            shutil.copyfile(made, file)
        else:
            create(file)
            shutil.copyfile(file, made)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "_create", copied)
        yield create
