"""A second run does only what changed; a killed run is finished by the same command."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from PIL import Image

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


def test_a_touched_file_is_looked_at_and_nothing_after_it_runs(trained: Trained, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(trained.data, data)
    touched = run_lungline(trained.home, "train", str(trained.recipe), "--data", str(data), "--json")
    assert touched.code == 0, touched.err
    assert "160 images offered" in touched.err
    assert touched.document["trained"] == 0


def test_a_changed_image_trains_again_and_is_decoded_alone(trained: Trained, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(trained.data, data)
    image = next(data.rglob("COVID-2.png"))
    with Image.open(image) as picture:
        changed = picture.rotate(3)
    changed.save(image)
    finished = run_lungline(trained.home, "train", str(trained.recipe), "--data", str(data), "--json")
    assert finished.code == 0, finished.err
    assert finished.document["trained"] == 2
    assert len([folder for folder in (trained.home / "stores").iterdir() if folder.is_dir()]) == 2


def test_another_explanation_setting_trains_nothing(trained: Trained) -> None:
    finished = trained.train("--set", "explanation.examples_per_class=1")
    assert finished.code == 0, finished.err
    assert finished.document["trained"] == 0


def test_the_same_seed_in_another_place_gives_the_same_numbers_even_after_being_killed(
    trained: Trained, tmp_path: Path
) -> None:
    """F31 and F23: kill -9 while the second architecture trains; the same command then finishes the work."""
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
    finished = run_lungline(home, "train", str(trained.recipe), "--data", str(trained.data), "--json")
    assert finished.code == 0, finished.err
    assert "train resnet18" not in finished.err, "what was finished before the kill is not trained again"
    assert metrics(finished) == metrics(trained.first)
    assert not [path for path in home.rglob("*.part*") if "zenml" not in path.parts]


def test_an_interrupt_ends_with_exit_code_7_and_without_a_traceback(trained: Trained, tmp_path: Path) -> None:
    recipe = tmp_path / "long.yaml"
    recipe.write_text(yaml.safe_dump({**TINY, "name": "long", "training": {"epochs": 500}}), encoding="utf-8")
    command = [str(Path(sys.executable).with_name("lungline")), "train", str(recipe), "--data", str(trained.data)]
    with (tmp_path / "log").open("w", encoding="utf-8") as log:
        running = subprocess.Popen(command, env=environment(trained.home), cwd=tmp_path, stdout=log, stderr=log)
        wait_for(tmp_path / "log", "train resnet18 1/500", running)
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
