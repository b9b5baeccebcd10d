"""What is beside every network's numbers: the majority class, a regression on 32 x 32 pixels, and the border alone.

A network that is no better than small pictures has learned little; a border that does as well shows that the images
can be told apart without looking at a lung.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_contracts.catalog import Catalog
from data_contracts.image_store import ImageStore
from data_contracts.ontology import Task
from data_contracts.targets import targets
from models.evaluation.evaluate import evaluate
from models.evaluation.operating_point import choose_operating_points
from models.evaluation.predictions import Predictions
from models.evaluation.probe import Features, fit_probe
from models.evaluation.results import Evaluation, Evaluations
from models.evaluation.settings import EvaluationSettings

PIXELS = "logistic regression, 32 x 32 pixels"
BORDER = "border only, outer 5 %"
MAJORITY = "majority class"
BASELINES = (MAJORITY, PIXELS, BORDER)
READ = ("val", "test", "external")
_RING_SIDE = 40  # two of forty tiles are 5 %


def evaluate_baselines(
    store: ImageStore, catalog: Catalog, task: Task, settings: EvaluationSettings
) -> list[Evaluations]:
    """Fit on train, tune on val, and read val, test and external images as a network's predictions are read.

    One Evaluations per name of BASELINES, whose `architecture` is that name.
    """
    kept = catalog.kept
    train, val, read = (kept[kept["split"].isin(splits)] for splits in (["train"], ["val"], READ))
    found = {MAJORITY: _shares(train, task, len(read))}
    for name, features in ((PIXELS, thumbnails), (BORDER, border_ring)):
        seen = [features(store.images, rows["row"].to_numpy()) for rows in (train, val, read)]
        probe = fit_probe(
            seen[0],
            targets(train, task),
            seen[1],
            targets(val, task),
            multi_label=task.multi_label,
            seed=settings.seed,
        )
        found[name] = probe.probabilities(seen[2])
    return [
        _evaluate(
            name, Predictions.of(read, found[name], task.class_names, multi_label=task.multi_label), task, settings
        )
        for name in BASELINES
    ]


def _shares(train: pd.DataFrame, task: Task, images: int) -> NDArray[np.float64]:
    """The same probabilities for every image: how often each class was true in training."""
    truth = targets(train, task)
    share = (truth == 1).sum(axis=0) / np.maximum((truth >= 0).sum(axis=0), 1)
    return np.tile(share, (images, 1))


def _evaluate(name: str, predictions: Predictions, task: Task, settings: EvaluationSettings) -> Evaluations:
    validation = predictions.of_split("val")
    operating_points = choose_operating_points(
        validation.truth, validation.probabilities, task.class_names, settings
    )

    def of_split(split: str) -> Evaluation:
        return evaluate(
            predictions,
            architecture=name,
            task=task,
            operating_points=operating_points,
            split=split,
            settings=settings,
        )

    external = of_split("external") if (predictions.frame["split"] == "external").any() else None
    return Evaluations(validation=of_split("val"), test=of_split("test"), external=external)


def thumbnails(images: NDArray[np.uint8], rows: NDArray[np.int64], side: int = 32) -> Features:
    """(n, side * side) mean grey levels 0-1 of equal tiles of each image."""
    return _reduced(images, rows, side, lambda small: small.reshape(len(small), -1))


def border_ring(images: NDArray[np.uint8], rows: NDArray[np.int64]) -> Features:
    """(n, F) mean grey levels 0-1 of the outer 5 % on each side; nothing within is read."""
    side = min(_RING_SIDE, images.shape[1])
    width = max(1, side // 20)
    ring = np.ones((side, side), dtype=bool)
    ring[width:-width, width:-width] = False
    return _reduced(images, rows, side, lambda small: small[:, ring])


def _reduced(
    images: NDArray[np.uint8], rows: NDArray[np.int64], side: int, take: Callable[[Features], Features]
) -> Features:
    """Tile means, a few hundred images at a time, so that memory does not grow with the images' size."""
    size = images.shape[1]
    edges = np.linspace(0, size, side + 1).round().astype(int)
    starts, extent = edges[:-1], np.diff(edges)
    area = (extent[:, None] * extent[None, :]).astype(np.float32) * 255
    parts = []
    for begin in range(0, len(rows), 256):
        batch = images[rows[begin : begin + 256]].astype(np.float32)
        sums = np.add.reduceat(np.add.reduceat(batch, starts, axis=1), starts, axis=2)
        parts.append(take((sums / area).astype(np.float32)))
    return np.concatenate(parts) if parts else take(np.empty((0, side, side), np.float32))
