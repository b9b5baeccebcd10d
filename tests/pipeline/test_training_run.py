"""A training run through the real command, ZenML and MLflow leaves everything a reviewer needs."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from models.registry.tracking import TrackingStore
from models.registry.versions import download_bundle
from tests.pipeline.conftest import TINY, Trained, run_lungline, without_network

CLASSES = ["bacterial", "covid19", "normal", "pneumothorax"]


@pytest.fixture(scope="module")
def client(trained: Trained) -> MlflowClient:
    return MlflowClient(f"sqlite:///{trained.home / 'mlflow' / 'mlflow.db'}")


def test_every_architecture_was_trained_and_evaluated_with_intervals(trained: Trained) -> None:
    result = trained.first.document
    assert result["trained"] == 2
    assert sorted(result["selection"]["ranking"]) == ["resnet18", "simple_cnn"]
    for read in result["evaluations"]:
        evaluation = read["test"]
        assert evaluation["split"] == "test"
        assert [entry["name"] for entry in evaluation["classes"]] == CLASSES
        assert sum(map(sum, evaluation["confusion"])) == evaluation["n"]
        for entry in evaluation["classes"]:
            sensitivity = entry["sensitivity"]
            assert sensitivity["method"] in ("wilson", "clopper-pearson")
            assert sensitivity["low"] <= sensitivity["value"] <= sensitivity["high"]


def test_standard_output_is_one_json_document_and_progress_goes_elsewhere(trained: Trained) -> None:
    assert json.loads(trained.first.out)["run"].startswith("tiny-")
    assert "160 offered = " in trained.first.err
    assert "train simple_cnn" in trained.first.err


def test_the_report_is_one_page_that_names_every_architecture(trained: Trained) -> None:
    page = Path(trained.first.document["report"]).read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert all(name in page for name in ("simple_cnn", "resnet18", "lungline-tiny", "data:image/png;base64,"))
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")


def test_runs_are_nested_and_carry_settings_and_a_metric_per_epoch(trained: Trained, client: MlflowClient) -> None:
    experiment = client.get_experiment_by_name("tiny")
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if run.info.run_name == trained.first.document["run"]]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert sorted(run.info.run_name for run in children) == ["resnet18", "simple_cnn"]
    assert {run.info.status for run in (parent, *children)} == {"FINISHED"}
    for run in children:
        history = client.get_metric_history(run.info.run_id, "val_macro_auc")
        assert [point.step for point in history] == [1, 2]
        assert run.data.params["epochs"] == "2"


def test_the_winner_is_the_challenger_with_tags_and_a_description(trained: Trained, client: MlflowClient) -> None:
    result = trained.first.document
    assert result["registered"]["alias"] == "challenger"
    assert client.get_model_version_by_alias("lungline-tiny", "challenger")
    version = client.get_model_version("lungline-tiny", result["registered"]["version"])
    assert version.tags["lungline.architecture"] == result["selection"]["winner"]
    assert version.tags["lungline.data"]
    assert "| class |" in version.description.lower()
    assert "not a medical device" in version.description.lower()


def test_the_registered_bundle_is_verified_and_without_pickle(trained: Trained, tmp_path: Path) -> None:
    store = TrackingStore(f"sqlite:///{trained.home / 'mlflow' / 'mlflow.db'}")
    bundle = download_bundle(store, "lungline-tiny", "challenger", tmp_path / "bundle")
    assert sorted(file.name for file in bundle.folder.iterdir()) == [
        "bundle.json",
        "history.json",
        "manifest.json",
        "weights.safetensors",
    ]
    assert bundle.spec.class_names == CLASSES
    assert bundle.spec.recipe["training"]["epochs"] == TINY["training"]["epochs"]
    assert set(bundle.spec.operating_points) <= set(CLASSES)


def test_architectures_are_steps_of_their_own_behind_the_gate(trained: Trained) -> None:
    database = trained.home / "zenml" / "local_stores" / "default_zen_store" / "zenml.db"
    with sqlite3.connect(database) as connection:
        steps = {name for (name,) in connection.execute("select name from step_run")}
    assert {"train_simple_cnn", "train_resnet18", "validate_catalog", "validate_split"} <= steps


def test_everything_lies_below_the_workspace(trained: Trained) -> None:
    places = {entry.name for entry in trained.home.iterdir()}
    assert {"mlflow", "zenml", "stores", "runs", "cache"} <= places
    assert not (trained.home / "mlruns").exists()
    assert not list((trained.home / "cache" / "bundles").glob("*"))


def test_the_whole_run_had_no_network(trained: Trained) -> None:
    """F56: every command of these tests, this training among them, runs in a network namespace with nothing in it."""
    if not without_network():
        pytest.skip("this machine gives nobody a network namespace")
    asked = "import socket; socket.create_connection(('127.0.0.1', 9))"
    done = subprocess.run(
        [*without_network(), sys.executable, "-c", asked], capture_output=True, text=True, check=False
    )
    assert "Network is unreachable" in done.stderr, "even this machine itself is out of reach"
    assert trained.first.code == 0


def test_nothing_written_for_people_holds_a_patient_number(trained: Trained) -> None:
    table = next(trained.data.rglob("Data_Entry_2017.csv")).read_text(encoding="utf-8").splitlines()[1:]
    names = [line.split(",")[0] for line in table]
    page = Path(trained.first.document["report"]).read_text(encoding="utf-8")
    assert names
    assert not [name for name in names if name in page or name in trained.first.err]


def test_status_names_the_challenger(trained: Trained) -> None:
    status = run_lungline(trained.home, "status", "--json")
    assert status.code == 0, status.err
    models = {model["name"]: model for model in status.document["models"]}
    assert models["lungline-tiny"]["champion"] is None
    assert models["lungline-tiny"]["challenger"]["tags"]["lungline.recipe"] == "tiny"
    latest = next(run for run in status.document["runs"] if run["experiment"] == "tiny")
    assert latest["status"] == "FINISHED"


def test_doctor_finds_nothing_wrong_here(trained: Trained) -> None:
    doctor = run_lungline(trained.home, "doctor", "--json")
    assert doctor.code == 0, doctor.err
    found = {finding["subject"]: finding for finding in doctor.document["findings"]}
    assert found["ZenML"]["found"].endswith(f"embedded in {trained.home / 'zenml'}")
    assert all(finding["state"] != "wrong" for finding in found.values())
