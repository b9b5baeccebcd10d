"""F53: what runs side by side writes to one SQLite file, and none of it loses a run, an epoch or an artefact."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from data_contracts.workspace import Workspace
from models.registry.follow import finish_pipeline_run, follow_training, tracking_store
from models.training.history import EpochRecord

WRITERS, EPOCHS = 4, 12

# What a step does at its end, as often as a run has steps; ZenML in processes of its own.
SAVES = """
import json, sys
from pipelines.environment import prepare_environment
prepare_environment()
from zenml import load_artifact, save_artifact
from zenml.client import Client
Client().active_stack
print("ready", flush=True)
sys.stdin.readline()
mine = f"of-{sys.argv[1]}"
versions = [save_artifact({"by": mine, "number": number}, mine).version for number in range(8)]
shared = [save_artifact({"by": mine, "number": number}, "shared").version for number in range(4)]
print(json.dumps([versions, shared, [load_artifact(mine, version)["number"] for version in versions]]))
"""


def _train(workspace: Workspace, number: int, start: Callable[[], int]) -> None:
    shaped_by = {
        "name": "side-by-side",
        "training": {"epochs": EPOCHS},
        "architecture": {"name": f"network-{number}", "epochs": None},
    }
    start()
    with follow_training(workspace, "run-1", shaped_by) as tracked:
        for epoch in range(1, EPOCHS + 1):
            tracked.log_epoch(
                EpochRecord(
                    epoch=epoch,
                    learning_rate=0.1,
                    train_loss=number + 1 / epoch,
                    val_loss=0.5,
                    val_macro_auc=0.5,
                    val_accuracy=0.5,
                )
            )


def test_trainings_side_by_side_lose_no_run_and_no_epoch(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.create()
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(WRITERS)
    writers = [context.Process(target=_train, args=(workspace, number, barrier.wait)) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=120)
    assert [writer.exitcode for writer in writers] == [0] * WRITERS
    finish_pipeline_run(workspace, "side-by-side", "run-1", "FINISHED")

    store = tracking_store(workspace)
    runs = store.client.search_runs([store.experiment_id("side-by-side")])
    parents = [run for run in runs if run.info.run_name == "run-1"]
    children = {run.info.run_name: run for run in runs if run.info.run_name != "run-1"}
    assert len(parents) == 1
    assert sorted(children) == [f"network-{number}" for number in range(WRITERS)]
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert {run.data.tags["mlflow.parentRunId"] for run in children.values()} == {parents[0].info.run_id}
    for number in range(WRITERS):
        history = store.client.get_metric_history(children[f"network-{number}"].info.run_id, "train_loss")
        assert [(one.step, one.value) for one in history] == [
            (epoch, number + 1 / epoch) for epoch in range(1, EPOCHS + 1)
        ]
    assert not list((workspace.mlflow / "spool").glob("*.jsonl")), "nothing had to be kept for later"


def test_steps_side_by_side_lose_no_artefact_in_zenmls_database(tmp_path: Path) -> None:
    program = tmp_path / "saves.py"
    program.write_text(SAVES, encoding="utf-8")
    environment = {**os.environ, "LUNGLINE_HOME": str(tmp_path / "lungline"), "HOME": str(tmp_path)}
    writers: list[subprocess.Popen[str]] = []
    for number in range(3):  # one after the other, because the first one makes the database
        writer = subprocess.Popen(
            [sys.executable, str(program), str(number)],
            env=environment,
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        writers.append(writer)
        assert writer.stdout is not None
        while (line := writer.stdout.readline()) and line != "ready\n":
            pass
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    said = [writer.communicate(timeout=120) for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * 3, said
    own, shared, read = zip(*(json.loads(out.splitlines()[-1]) for out, _ in said), strict=True)
    assert list(own) == [[str(number) for number in range(1, 9)]] * 3
    assert list(read) == [list(range(8))] * 3
    assert sorted(int(version) for some in shared for version in some) == list(range(1, 13))
