"""Makes a sealed bundle of one architecture: pick the rows, train, choose operating points on validation, write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from data_contracts.catalog import Catalog
from data_contracts.image_store import ImageStore
from data_contracts.ontology import Task, task_named
from data_contracts.targets import targets
from models.architectures import describe
from models.evaluation.settings import EvaluationSettings
from models.evaluation.validation_choices import choose_on_validation
from models.preprocessing import Preprocessing
from models.registry.bundle import BundleSpec, ModelBundle
from models.training.augmentation_settings import AugmentationSettings
from models.training.batches import LabelledRows
from models.training.history import EpochRecord
from models.training.loop import train_classifier
from models.training.settings import ArchitectureSettings, TrainingSettings

VERSIONED = ("lungline", "torch", "timm", "numpy", "pillow", "pandas", "scikit-learn")


def labelled_rows(catalog: Catalog, split: str, task: Task) -> LabelledRows:
    """The images of one split with what is true of them, by store row."""
    kept = catalog.kept
    chosen = kept[kept["split"] == split]
    return LabelledRows(
        rows=chosen["row"].to_numpy(dtype=np.int64),
        targets=targets(chosen, task),
        image_ids=chosen["image_id"].to_numpy(dtype=np.str_),
        sources=chosen["source"].to_numpy(dtype=np.str_),
    )


def train_candidate(
    store: ImageStore,
    catalog: Catalog,
    shaped_by: Mapping[str, Any],
    folder: Path,
    on_epoch: Callable[[EpochRecord, int], None],
    *,
    say: Callable[[str], None] | None = None,
    checkpoints: Path | None = None,
) -> ModelBundle:
    """Train and seal one architecture.

    shaped_by: the recipe sections that decide the weights (`Recipe.what_shapes`). on_epoch: called with each epoch's
    record and how many there will be at most. say, checkpoints: as in `train_classifier`.
    """
    settings = TrainingSettings(**shaped_by["training"])
    architecture = ArchitectureSettings(**shaped_by["architecture"])
    task = task_named(shaped_by["task"])
    usual = describe(architecture.name, architecture.cam_layer, architecture.options).preprocessing_mode
    preprocessing = Preprocessing(
        size=store.size, mode=architecture.preprocessing or usual, channels=architecture.channels
    )
    validation = labelled_rows(catalog, "val", task)
    epochs = settings.for_architecture(architecture).epochs
    trained = train_classifier(
        architecture=architecture,
        classes=task.class_names,
        images=store.images,
        train=labelled_rows(catalog, "train", task),
        val=validation,
        settings=settings,
        augmentation=AugmentationSettings(**shaped_by["augmentation"]),
        preprocessing=preprocessing,
        multi_label=task.multi_label,
        on_epoch=lambda record: on_epoch(record, epochs),
        say=say,
        checkpoints=checkpoints,
    )
    chosen = choose_on_validation(
        validation.targets,
        trained.val_probabilities,
        task.class_names,
        trained.output,
        EvaluationSettings(**shaped_by["evaluation"]),
    )
    spec = BundleSpec(
        task=shaped_by["task"],
        class_names=task.class_names,
        output=trained.output,
        architecture=architecture.name,
        options=architecture.options,
        in_chans=architecture.channels,
        image_size=store.size,
        preprocessing=preprocessing,
        temperature=chosen.temperature,
        temperature_note=chosen.temperature_note,
        operating_points=chosen.operating_points,
        rule_in=chosen.rule_in,
        seed=settings.seed,
        recipe_name=shaped_by["name"],
        recipe=_without_paths(shaped_by),
        initial_weights=trained.initial_weights.model_dump(mode="json"),
        data_hash=catalog.content_hash(),
        versions={name: version(name) for name in VERSIONED},
    )
    return ModelBundle.write(folder, trained.model, spec, trained.history)


def _without_paths(shaped_by: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe for the bundle, where initial weights are a file's name: paths belong to a machine."""
    recipe = {
        section: dict(value) if isinstance(value, Mapping) else value for section, value in shaped_by.items()
    }
    for section in ("training", "architecture"):
        kind, separator, path = str(recipe[section].get("init") or "").partition(":")
        if separator:
            recipe[section]["init"] = f"{kind}:{Path(path).name}"
    return recipe
