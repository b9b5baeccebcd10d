"""A workspace with a small approved champion, and held-back images of other patients that its days are made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from data_contracts.catalog import Catalog
from data_contracts.identity import assign_groups
from data_contracts.image_store import build_image_store
from data_contracts.labels import assign_labels
from data_contracts.sources import merge
from data_contracts.sources.phantom import PhantomSettings, write_phantom_datasets
from data_contracts.splits import assign_splits
from data_contracts.workspace import Workspace
from models.evaluation.candidate import evaluate_candidate
from models.evaluation.selection import select_best
from models.monitoring.reference import profile_version
from models.registry.challenger import register_winner
from models.registry.decisions.decide import approve
from models.registry.decisions.person import OS_USER, Person
from models.registry.dossiers import DossierVerdict, write_dossier
from models.registry.evidence import Evidence
from models.registry.follow import tracking_store
from models.training.candidate import train_candidate
from pipelines.recipe import Recipe, load_recipe

PERSON = Person(name="who-simulates", kind=OS_USER)
# Of the images: to learn from, to choose thresholds on, and the rest half for the reference and half for the days.
SPLIT = {"train": 0.3, "val": 0.2, "test": 0.5}


@dataclass(frozen=True)
class Hospital:
    """later: catalog rows of images that neither the network nor its reference has seen; files lie below data."""

    workspace: Workspace
    model_name: str
    data: Path
    later: pd.DataFrame


def small_recipe(*, epochs: int = 40, monitoring: dict[str, Any] | None = None) -> Recipe:
    """The quickstart with one network and small images. monitoring: changes of that section."""
    content = load_recipe("quickstart", ["images.size=64"]).model_dump(mode="json")
    content["architectures"] = [{"name": "simple_cnn", "epochs": epochs, "learning_rate": 3.0e-4}]
    content["split"] |= SPLIT
    content["evaluation"] |= {"bootstrap_resamples": 200}
    content["monitoring"] |= monitoring or {}
    return Recipe.model_validate({**content, "name": "month", "title": "A simulated month"})


def open_hospital(home: Path, recipe: Recipe, data: Path | None, *, images: int, size: int = 64) -> Hospital:
    """Train, register and approve. data: a folder with the raw datasets; None draws `images` phantoms."""
    workspace = Workspace(home)
    workspace.create()
    if data is None:
        data = workspace.cache / "phantom"
        write_phantom_datasets(data, PhantomSettings(images=images, size=size, seed=11))
    offered, _ = merge(recipe.sources, data)
    store = build_image_store(offered, data, recipe.images, workspace.stores)
    identified = assign_groups(store.catalog, store.images, recipe.identity)
    catalog, later = _held_back(assign_splits(assign_labels(identified, recipe.task_definition), recipe.split))
    bundle = train_candidate(
        store, catalog, recipe.what_shapes(recipe.architectures[0]), workspace.cache / "bundle", lambda *_: None
    )
    predictions, evaluations = evaluate_candidate(bundle, store, catalog, recipe.evaluation)
    registered = register_winner(
        workspace,
        bundle,
        evaluations.test,
        select_best([evaluations.validation]),
        recipe.model_name,
        evidence=Evidence.of(
            catalog=catalog,
            store=store,
            predictions=predictions,
            evaluations=evaluations,
            recipe=recipe.sections(),
        ),
        reference=profile_version(bundle, store, catalog, predictions, workspace.cache / "reference"),
        pipeline_run="month",
    )
    _approve(workspace, recipe.model_name, registered.version)
    return Hospital(workspace, recipe.model_name, data, later)


def _held_back(catalog: Catalog) -> tuple[Catalog, pd.DataFrame]:
    """Every second identity group of the test split is kept for later: the catalog forgets that it was dealt."""
    frame = catalog.frame
    groups = sorted(frame.loc[frame["split"] == "test", "group_id"].unique())
    later = frame["group_id"].isin(groups[::2]) & (frame["split"] == "test")
    return Catalog.of(frame.assign(split=frame["split"].where(~later, ""))), frame[later].reset_index(drop=True)


def _approve(workspace: Workspace, model: str, version: str) -> None:
    said = {
        "model_name": model,
        "challenger": version,
        "champion": None,
        "test_set_hash": "month",
        "verdict": "PROMOTE",
        "reasons": ["made for a simulation"],
        "created_by_run": "month",
    }
    dossier = write_dossier(workspace, DossierVerdict.model_validate(said), {"index.html": b"<p>simulated"})
    approve(
        *(workspace, tracking_store(workspace), PERSON),
        model=model,
        version=version,
        reason="the champion of a simulated month",
        dossier=dossier.hash,
    )
