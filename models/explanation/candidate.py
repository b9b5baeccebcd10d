"""Explains a sealed bundle: the Grad-CAM sheet of its test images, and what its maps are worth."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from data_contracts.image_store import ImageStore
from data_contracts.ontology import Task, task_named
from models.architectures import describe
from models.evaluation.predictions import Predictions
from models.explanation.cases import Cases
from models.explanation.faithfulness.deletion_insertion import measure_deletion_insertion
from models.explanation.faithfulness.lung_energy import LungMask, measure_lung_energy
from models.explanation.faithfulness.lung_masks import masks_of_catalog
from models.explanation.faithfulness.pointing_game import play_pointing_game
from models.explanation.faithfulness.randomisation import check_sanity
from models.explanation.grad_cam import Explainer
from models.explanation.results import NOT_A_LOCALISATION, Explanation, Faithfulness
from models.explanation.settings import ExplanationSettings
from models.explanation.sheet import choose_examples, choose_findings, draw_examples, draw_outcomes
from models.registry.bundle import BundleSpec, ModelBundle
from models.training.device import choose_compute
from models.training.settings import ArchitectureSettings


def explain_candidate(
    bundle: ModelBundle,
    store: ImageStore,
    predictions: Predictions,
    settings: ExplanationSettings,
    *,
    data_dir: Path | None = None,
    lung_mask: LungMask | None = None,
) -> Explanation:
    """Explain test images only: those are the ones the numbers in the report speak of.

    data_dir: the raw data, where lung masks lie beside images. lung_mask: another way to a mask of a store row, in
    place of those. Where there is neither, lung energy is not evaluated and says so.
    """
    spec, task = bundle.spec, task_named(bundle.spec.task)
    kept = store.catalog.kept
    test = predictions.of_split("test")
    cases = Cases.of(test, kept)
    explainer = _explainer(bundle, store, settings)
    thresholds = {name: point.threshold for name, point in spec.operating_points.items()}
    frame = test.frame.assign(row=cases.rows)
    faithfulness = _faithfulness(
        explainer, cases, task, spec, settings, lung_mask or masks_of_catalog(kept, data_dir)
    )
    sanity = check_sanity(explainer, cases, settings.faithfulness)
    cells = explainer.cells()
    coarseness = f"A map has {cells[0]} × {cells[1]} cells; nothing finer can be seen in it."
    checks = [sanity, faithfulness.lung_energy, faithfulness.pointing_game, faithfulness.deletion_insertion]
    return Explanation(
        architecture=spec.architecture,
        layer=explainer.layer,
        method=explainer.method,
        cells=cells,
        items=draw_examples(explainer, _chosen(frame, spec, task, thresholds, settings), spec.class_names),
        at_operating_point=draw_outcomes(explainer, cases, thresholds, settings.examples_per_outcome),
        faithfulness=faithfulness,
        sanity=sanity,
        statements=[NOT_A_LOCALISATION, coarseness, *(check.statement for check in checks)],
    )


def _explainer(bundle: ModelBundle, store: ImageStore, settings: ExplanationSettings) -> Explainer:
    spec = bundle.spec
    architecture = ArchitectureSettings.model_validate(spec.recipe["architecture"])
    compute = choose_compute(settings.precision)
    model = bundle.load_model().to(compute.device)
    layer = describe(architecture.name, architecture.cam_layer, architecture.options).cam_layer
    return Explainer.of(model, layer, store.images, spec.preprocessing, bf16=compute.precision == "bf16")


def _chosen(
    frame: pd.DataFrame, spec: BundleSpec, task: Task, thresholds: dict[str, float], settings: ExplanationSettings
) -> pd.DataFrame:
    if task.multi_label:
        return choose_findings(frame, spec.class_names, thresholds, settings.examples_per_class)
    return choose_examples(frame, spec.class_names, settings.examples_per_class)


def _faithfulness(
    explainer: Explainer,
    cases: Cases,
    task: Task,
    spec: BundleSpec,
    settings: ExplanationSettings,
    lung_mask: LungMask,
) -> Faithfulness:
    findings = [one for one in task.classes if "no_finding" not in one.nodes]
    checks = settings.faithfulness
    return Faithfulness(
        lung_energy=measure_lung_energy(explainer, cases, findings, lung_mask, checks),
        pointing_game=play_pointing_game(explainer, cases, task, checks),
        deletion_insertion=measure_deletion_insertion(
            explainer, cases, [one.name for one in findings], spec.output, checks
        ),
    )
