"""Makes a sealed bundle of one architecture: pick the rows, train, choose operating points on validation, write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from data_contracts.catalog import Catalog
from data_contracts.image_store import ImageStore
from models.evaluation.settings import EvaluationSettings
from models.evaluation.validation_choices import choose_on_validation
from models.registry.bundle import BundleSpec, ModelBundle
from models.training.feature_cache import FeatureCache
from models.training.history import EpochRecord
from models.training.plan import TrainingPlan

VERSIONED = ("lungline", "torch", "timm", "numpy", "pillow", "pandas", "scikit-learn")


def train_candidate(
    store: ImageStore,
    catalog: Catalog,
    shaped_by: Mapping[str, Any],
    folder: Path,
    on_epoch: Callable[[EpochRecord, int], None],
    *,
    say: Callable[[str], None] | None = None,
    checkpoints: Path | None = None,
    features: FeatureCache | None = None,
) -> ModelBundle:
    """Train and seal one architecture.

    shaped_by: the recipe sections that decide the weights (`Recipe.what_shapes`). on_epoch: called with each epoch's
    record and how many there will be at most. say, checkpoints, features: as in
    `train_classifier`.
    """
    plan = TrainingPlan.read(store, catalog, shaped_by)
    architecture = plan.architecture
    epochs = plan.settings.for_architecture(architecture).epochs
    trained = plan.carry_out(
        architecture,
        on_epoch=lambda record: on_epoch(record, epochs),
        say=say,
        checkpoints=checkpoints,
        features=features,
    )
    chosen = choose_on_validation(
        plan.val.targets,
        trained.val_probabilities,
        plan.task.class_names,
        trained.output,
        EvaluationSettings(**shaped_by["evaluation"]),
    )
    spec = BundleSpec(
        task=shaped_by["task"],
        class_names=plan.task.class_names,
        output=trained.output,
        architecture=architecture.name,
        options=architecture.options,
        in_chans=architecture.channels,
        image_size=store.size,
        preprocessing=plan.preprocessing,
        test_time_crop=architecture.test_time_crop,
        temperature=chosen.temperature,
        temperature_note=chosen.temperature_note,
        operating_points=chosen.operating_points,
        rule_in=chosen.rule_in,
        seed=plan.settings.seed,
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
