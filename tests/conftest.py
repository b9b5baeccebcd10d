"""Shared by all tests: nothing of a person's configuration leaks in, and nothing is written outside tmp folders."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from models.registry import database

_CONFIGURATION = (
    *("LUNGLINE_HOME", "LUNGLINE_DATA", "LUNGLINE_DEBUG", "LUNGLINE_PATIENT_KEY", "MLFLOW_TRACKING_URI"),
    *("LUNGLINE_SERVE_TOKEN_FILE", "ZENML_CONFIG_PATH", "ZENML_STORE_URL"),
)


def pytest_configure() -> None:
    for name in _CONFIGURATION:
        os.environ.pop(name, None)


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share one trained run or one workspace go to one worker; the rest spread over the cores."""
    for item in items:
        if "pipeline" in item.path.parts:
            group = "recipes" if item.path.stem == "test_recipes" else "pipeline"
            item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real X-rays in raw/ and hostile files in corrupt/; skips where none is named."""
    folder = os.environ.get("LUNGLINE_REAL_DATA", "")
    if not folder:
        pytest.skip("LUNGLINE_REAL_DATA names no folder with real X-rays")
    return Path(folder)


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
