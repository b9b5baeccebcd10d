"""Every recipe that comes with Lungline runs from raw datasets to a registered version and a report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from data_contracts.sources.phantom import PhantomSettings, write_phantom_datasets
from data_contracts.sources.phantom.settings import SourceName
from models.evaluation.baselines import BASELINES
from pipelines.recipe import Recipe, load_recipe, recipe_names
from tests.pipeline.conftest import FEW_AUDITED, FEW_CHECKS, run_lungline

SIDE = 80  # the smallest that stacked_cnn and ae_cnn both take


@pytest.fixture(scope="module")
def all_datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms in the layouts of all six public datasets."""
    folder = tmp_path_factory.mktemp("all datasets") / "raw"
    settings = PhantomSettings(datasets=get_args(SourceName), images=640, size=SIDE, all_findings=True)
    write_phantom_datasets(folder, settings)
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One workspace for all recipes, as a team has."""
    return tmp_path_factory.mktemp("home")


def shortened(recipe: Recipe) -> Iterator[str]:
    """Overrides that make a run as short as it can be: small images, one epoch, no weights from the network."""
    settings = [
        *(f"images.size={SIDE}", "training.epochs=1", "training.freeze_epochs=0", "training.init=random"),
        *("evaluation.bootstrap_resamples=100", "explanation.examples_per_class=1"),
        *(f"explanation.faithfulness.{key}={value}" for key, value in FEW_CHECKS.items()),
        *(f"audit.{key}={value}" for key, value in FEW_AUDITED.items()),
    ]
    if recipe.search is not None:
        settings += ["search.trials=2", "search.epochs=1"]
    for place, architecture in enumerate(recipe.architectures):
        if architecture.stages:
            stages = [{"name": name, "epochs": 1} for name in ("reconstruction", "classifier", "joint")]
            settings.append(f"architectures.{place}.stages={json.dumps(stages)}")
        elif architecture.epochs is not None:
            settings.append(f"architectures.{place}.epochs=1")
        if architecture.freeze_epochs is not None:
            settings.append(f"architectures.{place}.freeze_epochs=0")
    for setting in settings:
        yield from ("--set", setting)


@pytest.mark.parametrize("name", recipe_names())
def test_the_recipe_trains_every_architecture_and_registers_the_best(
    name: str, all_datasets: Path, home: Path
) -> None:
    recipe = load_recipe(name)
    finished = run_lungline(home, "train", name, "--data", str(all_datasets), "--json", *shortened(recipe))
    assert finished.code == 0, finished.err
    result = finished.document
    trained = {read["test"]["architecture"] for read in result["evaluations"]}
    assert trained == {architecture.name for architecture in recipe.architectures}
    assert [read["test"]["architecture"] for read in result["baselines"]] == list(BASELINES)
    assert all(bool(read["external"]) == bool(recipe.split.external) for read in result["evaluations"])
    assert result["registered"]["name"] == recipe.model_name
    page = Path(result["report"]).read_text(encoding="utf-8")
    assert all(architecture in page for architecture in trained)


def test_initial_weights_that_cannot_be_had_stop_the_run_and_say_how_to_get_them(
    all_datasets: Path, home: Path
) -> None:
    finished = run_lungline(
        home, "train", "pediatric-pneumonia", "--data", str(all_datasets), "--set", f"images.size={SIDE}"
    )
    assert finished.code == 6
    assert "init: file:PATH" in finished.err
    assert "random" in finished.err
    assert "Traceback" not in finished.err
