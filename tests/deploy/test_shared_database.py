"""ZenML's store and MLflow's registry on a real MariaDB, as a cluster keeps them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.registry.decisions.database_storage import VARIABLE
from models.registry.versions import find_version
from tests.decided_versions import MODEL, Hospital
from tests.mariadb_server import MariaDB

_PIPELINE = """
from zenml import pipeline, step
from zenml.client import Client

@step
def number() -> int:
    return 3

@step
def doubled(value: int) -> int:
    return 2 * value

@pipeline(enable_cache=False)
def two_steps() -> None:
    doubled(number())

if __name__ == "__main__":
    two_steps()
    run = Client().get_pipeline("two_steps").last_run
    print(run.status.value, run.steps["doubled"].output.load())
"""


def test_a_pipeline_runs_with_zenmls_store_in_mariadb(mariadb: MariaDB, tmp_path: Path) -> None:
    (tmp_path / "two_steps.py").write_text(_PIPELINE)
    environment = {
        **os.environ,
        "ZENML_STORE_URL": mariadb.url("zenml", scheme="mysql"),
        "ZENML_CONFIG_PATH": str(tmp_path / "zenml"),
        "ZENML_ANALYTICS_OPT_IN": "false",
        "HOME": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "two_steps.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "completed 6"
    with mariadb.root() as connection:
        runs = connection.exec_driver_sql("SELECT status FROM zenml.pipeline_run").scalars().all()
    assert runs == ["completed"]


def test_a_version_is_registered_and_decided_on_with_everything_in_mariadb(
    mariadb: MariaDB, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mariadb.empty("lungline")
    monkeypatch.chdir(tmp_path)  # where MLflow keeps artefacts without a server
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mariadb.url("mlflow"))
    monkeypatch.setenv(VARIABLE, mariadb.url("lungline"))
    hospital = Hospital(tmp_path / "home", mariadb)
    hospital.workspace.create()
    hospital.register(1)
    hospital.approve("1", hospital.review("1"))
    found = find_version(hospital.store.client, MODEL, "champion")
    assert found is not None
    assert str(found.version) == "1"
    assert hospital.alarms() == []
    with mariadb.root() as connection:
        aliases = connection.exec_driver_sql("SELECT alias FROM mlflow.registered_model_aliases").scalars().all()
        lines = connection.exec_driver_sql("SELECT COUNT(*) FROM lungline.decision_lines").scalar()
    assert (aliases, lines) == (["champion"], 3)
