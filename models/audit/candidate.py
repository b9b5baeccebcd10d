"""Could the model be cheating? The whole shortcut battery for a sealed bundle and its predictions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data_contracts.catalog import Catalog
from data_contracts.errors import UsageProblem
from data_contracts.image_store import ImageStore
from data_contracts.ontology import Task, task_named
from models.audit import data_tests, model_tests
from models.audit.areas import enough
from models.audit.descriptions import DESCRIPTIONS
from models.audit.embeddings import embed_with
from models.audit.items import unevaluated
from models.audit.lungs import ESTIMATE_DICE, LungMasks, lung_masks
from models.audit.results import AuditItem, AuditReport, overall
from models.audit.sample import Sample
from models.audit.settings import AuditSettings
from models.evaluation.predictions import Predictions
from models.registry.bundle import ModelBundle

if TYPE_CHECKING:
    from torch import nn


def audit_candidate(
    bundle: ModelBundle,
    store: ImageStore,
    catalog: Catalog,
    predictions: Predictions,
    settings: AuditSettings,
    data_dir: Path | None = None,
) -> AuditReport:
    """Every test of the battery on validation and test images; the same inputs give the same report.

    catalog: split, over the store. data_dir: where the lung masks lie that the catalog names; without it, or where a
    mask cannot be read, lungs are estimated. Raises ModelGateError where the predictions are of other classes.
    """
    spec = bundle.spec
    task = task_named(spec.task)
    sample = Sample.of(catalog, predictions, spec, settings)
    if len(sample) < settings.minimum_images:
        why = f"{len(sample)} validation and test images were predicted; {settings.minimum_images} are needed"
        items = [
            data_tests.association(catalog),
            *(unevaluated(name, why) for name in DESCRIPTIONS if name != "association"),
        ]
        return _report(spec.architecture, len(sample), items, [])
    model = bundle.load_model()
    shown = sample.first(settings.changed_images)
    masks = shown.frame["mask_file"].tolist()
    lungs = lung_masks(np.asarray(store.images[shown.rows]), masks, data_dir)
    asked = model_tests.Questioned(model, spec, store.images, shown, settings)
    augmentation = spec.recipe.get("augmentation")
    mirrored = isinstance(augmentation, dict) and augmentation.get("horizontal_flip") is True
    items = [
        *data_tests.ask_the_data(store.images, catalog, sample, task, settings),
        *model_tests.without_lungs(asked, lungs),
        *_probes_of_features(model, bundle, store, sample, settings),
        model_tests.marker_sensitivity(asked),
        model_tests.consistency(asked, mirrored=mirrored),
        model_tests.source_swap(asked, sample),
    ]
    return _report(spec.architecture, len(sample), items, _statements(sample, shown, lungs, task, settings))


def _probes_of_features(
    model: nn.Module, bundle: ModelBundle, store: ImageStore, sample: Sample, settings: AuditSettings
) -> list[AuditItem]:
    try:
        features = embed_with(model, store.images, sample.rows, bundle.spec.preprocessing)
    except UsageProblem as problem:  # a network without one head has no one place to read features from
        return [unevaluated(name, problem.what, len(sample)) for name in ("source_probe", "paediatric_probe")]
    return [
        model_tests.source_probe(features, sample, bundle.spec.class_names, settings),
        model_tests.paediatric_probe(features, sample, settings),
    ]


def _report(architecture: str, n: int, items: list[AuditItem], statements: list[str]) -> AuditReport:
    ordered = sorted(items, key=lambda item: list(DESCRIPTIONS).index(item.name))
    missing = [item.title for item in ordered if item.verdict == "not evaluated"]
    if missing:
        statements = [*statements, f"Not evaluated, and so not passed: {'; '.join(missing)}."]
    return AuditReport(
        architecture=architecture,
        n=n,
        items=ordered,
        verdict=overall(ordered),
        statements=[
            *statements,
            "A pass says that this shortcut was looked for and not found, not that none is used.",
        ],
    )


def _statements(sample: Sample, shown: Sample, lungs: LungMasks, task: Task, settings: AuditSettings) -> list[str]:
    """What limits the reading of the numbers."""
    statements = [
        f"{len(sample):,} validation and test images were looked at; the network saw {len(shown):,} of them once more "
        "after each change."
    ]
    estimated = int((~lungs.given).sum())
    if estimated:
        mean, median, low = ESTIMATE_DICE
        statements.append(
            f"The lungs of {estimated:,} of {len(shown):,} images are estimated from grey levels. Against 255 masks "
            f"drawn by people the estimate has a Dice of {mean:.2f} (median {median:.2f}, 10th percentile {low:.2f})."
        )
    if lungs.refused:
        statements.append(f"{lungs.refused:,} lung masks that a source names could not be used.")
    used = set(enough(sample.truth, settings.minimum_images).tolist())
    if left_out := [one.title for k, one in enumerate(task.classes) if k not in used]:
        statements.append(
            f"Left out of the macro AUCs, with fewer than {settings.minimum_images} images on one side: "
            f"{', '.join(left_out)}."
        )
    return statements
