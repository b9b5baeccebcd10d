"""Makes a sealed bundle of one architecture: pick the rows, train, choose operating points on validation, write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from data_contracts.catalog import Catalog
from data_contracts.image_store import ImageStore
from data_contracts.ontology import task_named
from models.architectures import describe
from models.evaluation.operating_point import choose_operating_points
from models.evaluation.settings import EvaluationSettings
from models.preprocessing import Preprocessing
from models.registry.bundle import BundleSpec, ModelBundle
from models.training.augmentation_settings import AugmentationSettings
from models.training.history import EpochRecord
from models.training.loop import LabelledRows, train_classifier
from models.training.settings import ArchitectureSettings, TrainingSettings

VERSIONED = ("lungline", "torch", "timm", "numpy", "pillow", "pandas", "scikit-learn")


def labelled_rows(catalog: Catalog, split: str, class_names: list[str]) -> LabelledRows:
    """The store rows and class indices of one split, by row."""
    chosen = catalog.kept[lambda frame: frame["split"] == split]
    index = {name: position for position, name in enumerate(class_names)}
    return LabelledRows(
        rows=chosen["row"].to_numpy(dtype=np.int64),
        labels=chosen["label"].map(index).to_numpy(dtype=np.int64),
    )


def train_candidate(
    store: ImageStore,
    catalog: Catalog,
    shaped_by: Mapping[str, Any],
    folder: Path,
    on_epoch: Callable[[EpochRecord, int], None],
) -> ModelBundle:
    """Train and seal one architecture.

    shaped_by: the recipe sections that decide the weights (`Recipe.what_shapes`). on_epoch: called with each epoch's
    record and how many there will be at most.
    """
    settings = TrainingSettings(**shaped_by["training"])
    architecture = ArchitectureSettings(**shaped_by["architecture"])
    class_names = task_named(shaped_by["task"]).class_names
    preprocessing = Preprocessing(
        size=store.size, mode=describe(architecture.name, architecture.cam_layer).preprocessing_mode
    )
    validation = labelled_rows(catalog, "val", class_names)
    epochs = architecture.epochs or settings.epochs
    trained = train_classifier(
        architecture=architecture,
        classes=class_names,
        images=store.images,
        train=labelled_rows(catalog, "train", class_names),
        val=validation,
        settings=settings,
        augmentation=AugmentationSettings(**shaped_by["augmentation"]),
        preprocessing=preprocessing,
        on_epoch=lambda record: on_epoch(record, epochs),
    )
    spec = BundleSpec(
        task=shaped_by["task"],
        class_names=class_names,
        architecture=architecture.name,
        options=architecture.options,
        image_size=store.size,
        preprocessing=preprocessing,
        operating_points=choose_operating_points(
            validation.labels,
            trained.val_probabilities,
            class_names,
            EvaluationSettings(**shaped_by["evaluation"]),
        ),
        seed=settings.seed,
        recipe_name=shaped_by["name"],
        recipe=dict(shaped_by),
        data_hash=catalog.content_hash(),
        versions={name: version(name) for name in VERSIONED},
    )
    return ModelBundle.write(folder, trained.model, spec, trained.history)
