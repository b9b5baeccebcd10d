"""The baselines beside every network: what the majority, small pictures and the border alone can tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from data_contracts.catalog import Catalog
from data_contracts.image_store import ImageStore
from data_contracts.ontology import task_named
from models.evaluation.baselines import (
    BORDER,
    MAJORITY,
    PIXELS,
    border_ring,
    evaluate_baselines,
    thumbnails,
)
from models.evaluation.probe import fit_probe
from models.evaluation.settings import EvaluationSettings

SIDE = 40
SETTINGS = EvaluationSettings(bootstrap_resamples=100)


def store_of(images: NDArray[np.uint8], labels: list[str]) -> ImageStore:
    n = len(images)
    frame = pd.DataFrame(
        {
            "source": "s",
            "file": [f"{i:04d}.png" for i in range(n)],
            "status": "kept",
            "row": np.arange(n),
            "image_id": [f"{i:064x}" for i in range(n)],
            "group_id": [f"g{i}" for i in range(n)],
            "label": labels,
            "split": [("train", "train", "val", "test")[i // 2 % 4] for i in range(n)],
        }
    )
    return ImageStore(Path(), images, Catalog.of(frame), SIDE, "")


def pictures(sick: NDArray[np.bool_], border: bool, seed: int = 0) -> NDArray[np.uint8]:
    """Noise, brighter in the border or in the centre where the image is sick."""
    noise = np.random.default_rng(seed).integers(60, 160, (len(sick), SIDE, SIDE))
    ring = np.ones((SIDE, SIDE), dtype=bool)
    ring[2:-2, 2:-2] = False
    return (noise + 40 * (sick[:, None, None] & (ring if border else ~ring))).astype(np.uint8)


@pytest.mark.parametrize("border", [True, False])
def test_the_border_baseline_sees_what_is_in_the_border_and_nothing_else(border: bool) -> None:
    sick = np.arange(240) % 2 == 1
    store = store_of(pictures(sick, border), np.where(sick, "pneumonia", "normal").tolist())
    read = {
        e.architecture: e.test
        for e in evaluate_baselines(store, store.catalog, task_named("pneumonia-binary"), SETTINGS)
    }
    found = {name: evaluation.macro_auc.value for name, evaluation in read.items()}
    assert found[MAJORITY] == 0.5
    assert found[PIXELS] is not None
    assert found[PIXELS] > 0.95
    assert found[BORDER] is not None
    assert (found[BORDER] > 0.95) == border


def test_a_multi_label_probe_leaves_unknown_images_out_and_answers_classes_it_never_saw_with_their_share() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 5)).astype(np.float32)
    truth = np.stack([features[:, 0] > 0, np.zeros(200)], axis=1).astype(np.int8)
    truth[:50, 0] = -1
    probe = fit_probe(features, truth, features, truth, multi_label=True)
    probabilities = probe.probabilities(features)
    assert (probabilities[:, 1] == 0).all()
    assert ((probabilities[:, 0] > 0.5) == (features[:, 0] > 0)).mean() > 0.95


def test_a_single_label_probe_gives_a_distribution() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(90, 4)).astype(np.float32)
    truth = np.eye(3, dtype=np.int8)[np.arange(90) % 3]
    probabilities = fit_probe(features, truth, features, truth).probabilities(features)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)


def test_thumbnails_are_tile_means_of_any_image_size() -> None:
    images = np.zeros((2, 33, 33), dtype=np.uint8)
    images[1] = 255
    tiles = thumbnails(images, np.array([1, 0]))
    assert tiles.shape == (2, 1024)
    assert (tiles[0] == 1).all()
    assert (tiles[1] == 0).all()


@pytest.mark.parametrize("side", [32, 40, 224])
def test_the_border_ring_reads_nothing_inside_it(side: int) -> None:
    images = np.zeros((1, side, side), dtype=np.uint8)
    images[0, side // 10 : -(side // 10), side // 10 : -(side // 10)] = 255
    ring = border_ring(images, np.array([0]))
    assert ring.shape[1] > 0
    assert (ring == 0).all()
