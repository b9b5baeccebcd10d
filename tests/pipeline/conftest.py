"""One tiny recipe, trained once through the real command; the tests of this folder look at what it left behind."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

# What every run makes, on as few images as it can be.
FEW_CHECKS = {
    **{"lung_images": 2, "boxed_images": 2, "perturbed_images": 1, "perturbation_steps": 2},
    **{"randomised_images": 2, "randomisation_stages": 2, "resamples": 100},
}
FEW_AUDITED = {"images": 50, "changed_images": 50, "training_images": 100, "bootstrap_resamples": 100}
TINY: dict[str, Any] = {
    "name": "tiny",
    "title": "Two small networks on a few phantoms",
    "task": "covid-bacterial-pneumothorax-normal",
    "sources": ["radiography", "mendeley", "nih"],
    "images": {"size": 32},
    "validation": {
        "single_source_waivers": {
            "bacterial": "Only the Mendeley layout of the phantom has a folder for it.",
            "pneumothorax": "Only the NIH layout of the phantom names it.",
        }
    },
    "training": {"epochs": 2, "batch_size": 32, "learning_rate": 1.0e-3, "final_learning_rate": 1.0e-5},
    "architectures": [{"name": "simple_cnn"}, {"name": "resnet18"}],
    "evaluation": {"bootstrap_resamples": 200},
    "explanation": {"examples_per_class": 2, "faithfulness": FEW_CHECKS},
    "audit": FEW_AUDITED,
}


@dataclass(frozen=True)
class Finished:
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


Lungline = Callable[..., Finished]


def environment(home: Path) -> dict[str, str]:
    """As on a fresh machine: no configuration of a person, one thread so that workers do not fight for cores."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ZENML_", "MLFLOW_", "LUNGLINE_"))
    }
    return {**kept, "LUNGLINE_HOME": str(home), "HOME": str(home), "OMP_NUM_THREADS": "1"}


@functools.cache
def without_network() -> tuple[str, ...]:
    """The prefix that takes the network away from a command, where this machine allows that (F56)."""
    prefix = ("unshare", "--net")
    allowed = (
        shutil.which(prefix[0])
        and subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode == 0
    )
    return prefix if allowed else ()


def run_lungline(home: Path, *arguments: str, cwd: Path | None = None) -> Finished:
    """The installed command in a process of its own, without a network wherever that can be arranged."""
    home.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [*without_network(), str(Path(sys.executable).with_name("lungline")), *arguments],
        env=environment(home),
        cwd=cwd or home,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """160 phantoms in the raw layouts of three datasets; tests that change a file copy the folder first."""
    from data_contracts.sources.phantom import PhantomSettings, write_phantom_datasets

    folder = tmp_path_factory.mktemp("phantom") / "raw data"
    write_phantom_datasets(folder, PhantomSettings(images=160, size=64, seed=7))
    return folder


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY), encoding="utf-8")
    return path


@dataclass(frozen=True)
class Trained:
    """A workspace in which the tiny recipe was trained once, and what the command printed."""

    home: Path
    data: Path
    recipe: Path
    first: Finished

    def train(self, *extra: str) -> Finished:
        """The same command again, in the same workspace."""
        return run_lungline(self.home, "train", str(self.recipe), "--data", str(self.data), "--json", *extra)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, phantom: Path, recipe: Path) -> Trained:
    home = tmp_path_factory.mktemp("work space")
    first = run_lungline(home, "train", str(recipe), "--data", str(phantom), "--json")
    assert first.code == 0, first.err
    return Trained(home, phantom, recipe, first)
