"""MLflow that does not answer before, during or after a training: nothing stops, and nothing is lost."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run

from data_contracts.workspace import Workspace
from models.registry.follow import finish_pipeline_run, follow_training, replay_spooled, tracking_store
from models.registry.spool import Journal
from models.registry.tracking import BUNDLE_TAG
from models.training.history import EpochRecord

SHAPED_BY: dict[str, Any] = {
    "name": "outage",
    "task": "chest",
    "training": {"epochs": 3},
    "architecture": {"name": "simple_cnn", "epochs": None},
}


class Mlflow:
    """A database that can be taken away and given back."""

    def __init__(self, workspace: Workspace) -> None:
        self._file = workspace.mlflow / "mlflow.db"
        self._away = workspace.mlflow / "away.db"

    def go(self) -> None:
        if self._file.exists():
            self._file.replace(self._away)
        self._file.mkdir(parents=True)

    def come_back(self) -> None:
        self._file.rmdir()
        if self._away.exists():
            self._away.replace(self._file)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without runs, made once because that takes seconds."""
    workspace = Workspace(tmp_path_factory.mktemp("template"))
    workspace.create()
    tracking_store(workspace).check()
    return workspace.mlflow / "mlflow.db"


@pytest.fixture
def workspace(tmp_path: Path, database: Path) -> Workspace:
    workspace = Workspace(tmp_path)
    workspace.create()
    shutil.copy(database, workspace.mlflow)
    return workspace


@pytest.fixture
def mlflow(workspace: Workspace) -> Mlflow:
    return Mlflow(workspace)


def epoch(number: int) -> EpochRecord:
    return EpochRecord(
        epoch=number, learning_rate=0.1, train_loss=1 / number, val_loss=0.5, val_macro_auc=None, val_accuracy=0.5
    )


def children(workspace: Workspace) -> list[Run]:
    """The trainings MLflow knows of."""
    store = tracking_store(workspace)
    found = store.client.search_runs([store.experiment_id("outage")], "tags.`lungline.role` = 'architecture'")
    return list(found)


def losses(workspace: Workspace, run: Run) -> list[tuple[int, float]]:
    history = tracking_store(workspace).client.get_metric_history(run.info.run_id, "train_loss")
    return [(metric.step, metric.value) for metric in history]


def journals(workspace: Workspace) -> list[Path]:
    return list((workspace.mlflow / "spool").glob("*.jsonl"))


def test_f28_a_training_that_mlflow_follows_leaves_no_journal(workspace: Workspace) -> None:
    with follow_training(workspace, "run-1", SHAPED_BY) as tracked:
        tracked.log_epoch(epoch(1))

    (run,) = children(workspace)
    assert (run.info.status, losses(workspace, run)) == ("FINISHED", [(1, 1.0)])
    assert journals(workspace) == []


@pytest.mark.parametrize("outage", ["before", "during", "after"])
def test_f28_an_outage_loses_nothing_once_mlflow_is_back(
    workspace: Workspace, mlflow: Mlflow, outage: str
) -> None:
    if outage == "before":
        mlflow.go()
    with follow_training(workspace, "run-1", SHAPED_BY) as tracked:
        tracked.log_epoch(epoch(1))
        if outage == "during":
            mlflow.go()
        tracked.log_epoch(epoch(2))
        if outage == "after":
            mlflow.go()
    assert len(journals(workspace)) == 1
    replay_spooled(workspace)
    assert len(journals(workspace)) == 1  # kept while MLflow is away
    kept = journals(workspace)[0]
    content = kept.read_text()
    mlflow.come_back()

    finish_pipeline_run(workspace, "outage", "run-1", "FINISHED")
    kept.write_text(content)  # as if it had been killed before it forgot the journal
    replay_spooled(workspace)

    (run,) = children(workspace)
    assert run.info.status == "FINISHED"
    assert losses(workspace, run) == [(1, 1.0), (2, 0.5)]
    assert run.data.params["epochs"] == "3"
    assert journals(workspace) == []


def test_f28_a_killed_trainings_run_is_ended_and_its_last_half_line_skipped(workspace: Workspace) -> None:
    folder = workspace.mlflow / "spool"
    header = {"experiment": "outage", "pipeline_run": "run-1", "shared": {}, "name": "simple_cnn"}
    alive = Journal.begin(folder, {**header, "settings": {}, "tags": {}})
    alive.add("metrics", metrics={"train_loss": 0.5}, step=1, at=1)
    alive.add("bundle", content_hash="c0ffee")
    replay_spooled(workspace)
    assert len(journals(workspace)) == 1  # still being written
    alive.end(delivered=False)
    with journals(workspace)[0].open("a") as file:
        file.write('{"event": "metr')

    replay_spooled(workspace)

    (run,) = children(workspace)
    assert (run.info.status, losses(workspace, run)) == ("KILLED", [(1, 0.5)])
    assert run.data.tags[BUNDLE_TAG] == "c0ffee"
    assert journals(workspace) == []


def test_f28_what_mlflow_refuses_for_good_is_set_aside(workspace: Workspace) -> None:
    header = {"experiment": "outage", "pipeline_run": "run-1", "shared": {}, "name": "simple_cnn"}
    journal = Journal.begin(workspace.mlflow / "spool", {**header, "settings": {}, "tags": {}})
    journal.add("run", run_id="0" * 32)  # somebody deleted that run
    journal.end(delivered=False)

    replay_spooled(workspace)

    assert journals(workspace) == []
    assert len(list((workspace.mlflow / "spool").glob("*.refused"))) == 1
