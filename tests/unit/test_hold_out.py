"""Leave-one-source-out trains without each source that can be spared, and names those that cannot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from data_contracts.catalog import Catalog
from data_contracts.image_store import ImageStore
from data_contracts.splits import SplitSettings
from models.evaluation.settings import EvaluationSettings
from models.training.hold_out import leave_each_source_out

SIDE = 32


def labelled_store(classes_of: dict[str, list[str]], each: int = 20) -> ImageStore:
    """Noise, brighter where there is pneumonia; `each` images per source and class."""
    rows = [(source, label) for source, labels in classes_of.items() for label in labels for _ in range(each)]
    n = len(rows)
    frame = pd.DataFrame(rows, columns=["source", "label"]).assign(
        file=[f"{i:04d}.png" for i in range(n)],
        status="kept",
        row=np.arange(n),
        image_id=[f"{i:064x}" for i in range(n)],
        group_id=[f"g{i}" for i in range(n)],
    )
    noise = np.random.default_rng(0).integers(0, 120, (n, SIDE, SIDE))
    images = (noise + 90 * (frame["label"] == "pneumonia").to_numpy()[:, None, None]).astype(np.uint8)
    return ImageStore(Path(), images, Catalog.of(frame), SIDE, "")


def shaped_by(split: SplitSettings) -> dict[str, object]:
    return {
        "name": "held",
        "task": "pneumonia-binary",
        "sources": ["a", "b", "c"],
        "split": split.model_dump(mode="json"),
        "training": {"epochs": 1, "batch_size": 16},
        "augmentation": {},
        "architecture": {"name": "simple_cnn"},
        "evaluation": {},
    }


def test_each_source_that_can_be_spared_is_measured_by_a_network_that_never_saw_it(tmp_path: Path) -> None:
    store = labelled_store({"a": ["normal", "pneumonia"], "b": ["normal", "pneumonia"], "c": ["normal"]})
    split, said = SplitSettings(train=0.6, val=0.2, test=0.2), []
    settings = EvaluationSettings(bootstrap_resamples=100)
    table = leave_each_source_out(store, store.catalog, shaped_by(split), split, settings, tmp_path, said.append)
    assert table is not None
    assert {held.source: held.n for held in table.sources} == {"a": 40, "b": 40, "c": 20}
    assert table.sources[2].absent == ["Pneumonia"]
    assert table.not_held_out == {}
    assert said == ["training without a", "training without b", "training without c"]


def test_a_source_that_alone_holds_a_class_cannot_be_held_out_and_is_named(tmp_path: Path) -> None:
    store = labelled_store({"a": ["normal", "pneumonia"], "b": ["normal"]})
    split, said = SplitSettings(train=0.6, val=0.2, test=0.2), []
    settings = EvaluationSettings(bootstrap_resamples=100)
    table = leave_each_source_out(store, store.catalog, shaped_by(split), split, settings, tmp_path, said.append)
    assert table is not None
    assert [held.source for held in table.sources] == ["b"]
    assert table.not_held_out == {"a": "without it no image of Pneumonia is left in train"}
    assert table.not_testable == ["Normal", "Pneumonia"]


def test_where_no_source_can_be_spared_there_is_no_table(tmp_path: Path) -> None:
    store = labelled_store({"a": ["normal", "pneumonia"]})
    split = SplitSettings()
    settings = EvaluationSettings(bootstrap_resamples=100)
    assert leave_each_source_out(store, store.catalog, shaped_by(split), split, settings, tmp_path, print) is None
