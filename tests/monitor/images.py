"""Real and phantom images that no network has seen, each shown to one small network under every shift, once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_contracts.drift.profile import groups_of
from data_contracts.expectations.window import DESCRIPTORS
from data_contracts.identity import IdentitySettings, assign_groups
from data_contracts.image_store import ImageStore, ImageStoreSettings, build_image_store
from data_contracts.input_checks import chest_likeness, input_flags
from data_contracts.labels import assign_labels
from data_contracts.quality import describe
from data_contracts.sources import merge
from data_contracts.sources.phantom import PhantomSettings, write_phantom_datasets
from data_contracts.splits import assign_splits
from models.architectures.trunk import trunk_and_head
from models.audit.embeddings import embed
from models.evaluation.temperature import tempered
from models.output import to_probabilities
from models.registry.bundle import ModelBundle
from models.training.candidate import train_candidate
from pipelines.recipe import Recipe, load_recipe
from tests.monitor.shifts import SHIFTS

REAL = (
    *("radiography", "mendeley", "nih"),
    *("covid-pneumonia-normal", "covid19-pneumonia", "chest-xray-pneumonia"),
)
_FACTS = ("image_id", "group_id", "source", "view", "age", "sex", "width", "height", "mode", "format", "label")


@dataclass(frozen=True)
class Shown:
    """All held-out images under one shift. frame: as in the prediction log; embeddings: (n, d) of all rows."""

    frame: pd.DataFrame
    embeddings: NDArray[np.float32]


@dataclass(frozen=True)
class HeldOut:
    """The images: the same rows in the same order under every shift."""

    name: str
    class_names: tuple[str, ...]
    shown: dict[str, Shown]

    @property
    def frame(self) -> pd.DataFrame:
        return next(iter(self.shown.values())).frame

    @property
    def groups(self) -> NDArray[np.int64]:
        return groups_of(self.frame)


def real_images(data: Path, home: Path, size: int) -> HeldOut:
    recipe = _recipe("covid-pneumonia-normal", REAL, size)
    return _held_out("real", recipe, data, home)


def phantom_images(home: Path, size: int, images: int) -> HeldOut:
    data = home / "phantom"
    write_phantom_datasets(data, PhantomSettings(images=images, size=256, seed=7))
    return _held_out("phantom", _recipe("covid-bacterial-pneumothorax-normal", REAL[:3], size), data, home)


def _recipe(task: str, sources: Sequence[str], size: int) -> Recipe:
    """One small network, learned from a fifth of the labelled images; the others are left for the test."""
    content = load_recipe("merged").model_dump(mode="json")
    content |= {"task": task, "sources": list(sources), "search": None}
    content["images"] |= {"size": size}
    content["split"] |= {"train": 0.2, "val": 0.1, "test": 0.7}
    content["training"] |= {"epochs": 4, "init": "random"}
    content["architectures"] = [one for one in content["architectures"] if one["name"] == "simple_cnn"]
    content["evaluation"] |= {"leave_one_source_out": None}
    return Recipe.model_validate(content)


def _held_out(name: str, recipe: Recipe, data: Path, home: Path) -> HeldOut:
    offered, _ = merge(recipe.sources, data)
    settings = ImageStoreSettings(size=recipe.images.size)
    store = build_image_store(offered, data, settings, home / "stores")
    grouped = assign_groups(store.catalog, store.images, IdentitySettings())
    catalog = assign_splits(assign_labels(grouped, recipe.task_definition), recipe.split)
    shapes = recipe.what_shapes(recipe.architectures[0])
    key = hashlib.sha256(json.dumps([shapes, store.content_hash, sorted(SHIFTS)], sort_keys=True).encode())
    folder = home / f"{name}-{key.hexdigest()[:12]}"
    if (folder / "bundle").is_dir():
        bundle = ModelBundle.open(folder / "bundle")
    else:
        bundle = train_candidate(store, catalog, shapes, folder / "bundle", lambda *_: None)
    kept = catalog.kept
    seen = set(kept.loc[kept["split"].isin(("train", "val")), "group_id"])
    frame = kept[~kept["group_id"].isin(seen)]
    shown = {shift: _shown(store, frame, bundle, shift, folder) for shift in SHIFTS}
    for one in shown.values():
        one.frame["patient"] = frame["patient"].to_numpy()
    return HeldOut(name, tuple(bundle.spec.class_names), shown)


def _shown(store: ImageStore, kept: pd.DataFrame, bundle: ModelBundle, shift: str, folder: Path) -> Shown:
    """What one shift makes of every image, kept on disk: it takes a minute and a run may be repeated."""
    place = folder / hashlib.sha256(shift.encode()).hexdigest()[:12]
    if not (place.with_suffix(".parquet")).is_file():
        rng = np.random.default_rng(0)
        pixels = np.stack([SHIFTS[shift](np.array(store.images[row]), rng) for row in kept["row"]])
        rows = np.arange(len(pixels))
        frame = kept[list(_FACTS)].reset_index(drop=True)
        looks = [describe(np.bincount(one.ravel(), minlength=256).tolist(), one) for one in pixels]
        for column in DESCRIPTORS:
            frame[column] = [getattr(look, column) for look in looks]
        frame["chest_likeness"] = [chest_likeness(one) for one in pixels]
        frame["flags"] = ["|".join(input_flags(one)) for one in pixels]
        embeddings = embed(bundle, pixels, rows)
        for class_name, column in zip(bundle.spec.class_names, _answers(bundle, embeddings).T, strict=True):
            frame[f"p_{class_name}"] = column
        np.save(place.with_suffix(".npy"), embeddings)
        frame.to_parquet(place.with_suffix(".parquet"))
    return Shown(pd.read_parquet(place.with_suffix(".parquet")), np.load(place.with_suffix(".npy")))


def _answers(bundle: ModelBundle, embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
    """(n, K) probabilities of the network's head alone: its trunk has read the images already."""
    import torch

    _, head = trunk_and_head(bundle.load_model())
    with torch.inference_mode():
        logits = head.eval()(torch.from_numpy(embeddings)).double().numpy()
    spec = bundle.spec
    return tempered(to_probabilities(logits, spec.output), spec.temperature, spec.output)
