"""A second run does only what changed; a killed run is finished by the same command."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from mlflow.tracking import MlflowClient
from PIL import Image

from data_contracts.image_store import ImageStore
from tests.pipeline.conftest import TINY, Finished, Trained, environment, run_lungline


def metrics(finished: Finished) -> object:
    return finished.document["evaluations"]


def test_a_second_run_with_nothing_changed_trains_nothing(trained: Trained) -> None:
    again = trained.train()
    assert again.code == 0, again.err
    assert again.document["trained"] == 0
    assert again.document["registered"] == trained.first.document["registered"]
    assert metrics(again) == metrics(trained.first)
    assert "train " not in again.err
    assert "decode" not in again.err


def test_a_step_whose_artefact_was_deleted_runs_again(trained: Trained) -> None:
    """F54: the database would take it from the cache, and a later step would fail over it."""
    for folder in (trained.home / "zenml" / "local_stores").glob("*/train_simple_cnn/bundle"):
        shutil.rmtree(folder)
    again = trained.train()
    assert again.code == 0, again.err
    assert "gone from the artifact store, so it is made again: train_simple_cnn" in again.err
    assert again.document["trained"] == 1
    assert again.document["registered"] == trained.first.document["registered"]
    assert metrics(again) == metrics(trained.first)


# A training that fails in its second epoch, once, with the retries that a stack file gives.
RETRIED = """
import json, sys
from pathlib import Path
from pipelines import runner
from pipelines.environment import prepare_environment
workspace = prepare_environment().workspace
from models.registry.follow import FollowedTraining
from pipelines.recipe import load_recipe

attempts = []
log_epoch = FollowedTraining.log_epoch

def fail_once(self, record):
    log_epoch(self, record)
    attempts.append(record.epoch)
    if len(attempts) == 2:
        raise RuntimeError("the pod is lost")

FollowedTraining.log_epoch = fail_once
runner.stack_options = lambda *_: {"steps": {"train_simple_cnn": {"enable_cache": False, "retry": {"max_retries": 2}}}}
result = runner.run_training(load_recipe(sys.argv[1], []), Path(sys.argv[2]), workspace, "any")
made = {"attempts": attempts, "trained": result.trained, "registered": result.registered.model_dump(mode="json")}
print(json.dumps(made))
"""


def test_a_retried_training_goes_on_where_it_was_and_ends_in_the_same_version(
    trained: Trained, tmp_path: Path
) -> None:
    """F52: as on a cluster, where the pod of a step is lost and its Job starts another."""
    program = tmp_path / "retried.py"
    program.write_text(RETRIED, encoding="utf-8")
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, str(program), str(trained.recipe), str(trained.data)],
        env={**environment(trained.home), "PYTHONPATH": root},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["attempts"] == [1, 2, 1, 2], "a resumed training tells of its earlier epochs again"
    assert "train simple_cnn: resumed at epoch" in done.stderr
    assert said["trained"] == 1
    assert said["registered"] == trained.first.document["registered"]


def test_a_touched_file_is_looked_at_and_nothing_after_it_runs(trained: Trained, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(trained.data, data)
    touched = run_lungline(trained.home, "train", str(trained.recipe), "--data", str(data), "--json")
    assert touched.code == 0, touched.err
    assert "160 images offered" in touched.err
    assert touched.document["trained"] == 0


def test_a_changed_image_trains_again_and_is_decoded_alone(trained: Trained, tmp_path: Path) -> None:
    """F55: a source that changed is never taken from the cache, though the file lies where another lay before."""
    data = tmp_path / "data"
    shutil.copytree(trained.data, data)
    built = run_lungline(trained.home, "data", "build", str(trained.recipe), "--data", str(data))
    assert built.code == 0, built.err
    (before,) = stores_of(trained)
    image = next(data.rglob("COVID-2.png"))
    with Image.open(image) as picture:
        changed = picture.rotate(3)
    changed.save(image)
    finished = run_lungline(trained.home, "train", str(trained.recipe), "--data", str(data), "--json")
    assert finished.code == 0, finished.err
    assert finished.document["trained"] == 2
    (now,) = (store for store in stores_of(trained) if store.folder != before.folder)
    rows = before.catalog.kept.merge(now.catalog.kept, on="file")
    same = [
        np.array_equal(before.images[one], now.images[two])
        for one, two in zip(rows.row_x, rows.row_y, strict=True)
    ]
    assert [data / file for file in rows.loc[~np.array(same), "file"]] == [image]


def stores_of(trained: Trained) -> list[ImageStore]:
    return [ImageStore.open(folder) for folder in (trained.home / "stores").iterdir() if folder.is_dir()]


def test_another_explanation_setting_trains_nothing(trained: Trained) -> None:
    finished = trained.train("--set", "explanation.examples_per_class=1")
    assert finished.code == 0, finished.err
    assert finished.document["trained"] == 0


def test_the_same_seed_in_another_place_gives_the_same_numbers_even_after_being_killed(
    trained: Trained, tmp_path: Path
) -> None:
    """F31, F23 and F52: kill -9 while the second architecture trains; what it left open is closed by name, and the same
    command then finishes the work."""
    home = tmp_path / "other home"
    home.mkdir()
    command = [str(Path(sys.executable).with_name("lungline")), "train", str(trained.recipe)]
    with (tmp_path / "log").open("w", encoding="utf-8") as log:
        running = subprocess.Popen(
            [*command, "--data", str(trained.data)], env=environment(home), cwd=home, stdout=log, stderr=log
        )
        wait_for(tmp_path / "log", "train simple_cnn 1/2", running)
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
    assert not list((home / "runs").rglob("*.html"))
    closed = run_lungline(home, "reconcile", "--json").document["judged"]
    assert [(one["kind"], one["did"]) for one in closed] == [("pipeline run", "closed"), ("MLflow run", "closed")]
    assert {one["why"].partition(";")[0] for one in closed} == {"its process on this machine is gone"}
    finished = run_lungline(home, "train", str(trained.recipe), "--data", str(trained.data), "--json")
    assert finished.code == 0, finished.err
    assert "train resnet18" not in finished.err, "what was finished before the kill is not trained again"
    assert metrics(finished) == metrics(trained.first)
    assert not [path for path in home.rglob("*.part*") if "zenml" not in path.parts]
    assert run_lungline(home, "reconcile", "--json").document["judged"] == []
    client = MlflowClient(f"sqlite:///{home / 'mlflow' / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    assert sorted(run.info.status for run in runs) == ["FINISHED"] * 3 + ["KILLED"] * 2


def test_an_interrupt_ends_with_exit_code_7_and_without_a_traceback(trained: Trained, tmp_path: Path) -> None:
    recipe = tmp_path / "long.yaml"
    recipe.write_text(yaml.safe_dump({**TINY, "name": "long", "training": {"epochs": 500}}), encoding="utf-8")
    command = [str(Path(sys.executable).with_name("lungline")), "train", str(recipe), "--data", str(trained.data)]
    with (tmp_path / "log").open("w", encoding="utf-8") as log:
        running = subprocess.Popen(command, env=environment(trained.home), cwd=tmp_path, stdout=log, stderr=log)
        wait_for(tmp_path / "log", "train resnet18 1/500", running)
        (seen,) = run_lungline(trained.home, "reconcile", "--json").document["judged"]
        assert (seen["did"], seen["why"]) == ("left", "its process on this machine lives")
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=60) == 7
    said = (tmp_path / "log").read_text(encoding="utf-8")
    assert "Interrupted." in said
    assert "Traceback" not in said


def wait_for(log: Path, text: str, running: subprocess.Popen[bytes], seconds: float = 240) -> None:
    """Until the text appears in the log of a running command."""
    deadline = time.monotonic() + seconds
    while text not in log.read_text(encoding="utf-8"):
        if running.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"{text!r} never appeared:\n{log.read_text(encoding='utf-8')}")
        time.sleep(0.2)
