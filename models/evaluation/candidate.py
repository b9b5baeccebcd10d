"""Reads validation, test and external images once with a sealed bundle."""

from __future__ import annotations

from data_contracts.catalog import Catalog
from data_contracts.image_store import ImageStore
from data_contracts.ontology import task_named
from models.evaluation.evaluate import evaluate
from models.evaluation.predictions import Predictions, sealed_probabilities
from models.evaluation.results import Evaluation, Evaluations
from models.evaluation.settings import EvaluationSettings
from models.evaluation.subgroups import subgroups
from models.registry.bundle import ModelBundle

READ = ("val", "test", "external")


def evaluate_candidate(
    bundle: ModelBundle, store: ImageStore, catalog: Catalog, settings: EvaluationSettings
) -> tuple[Predictions, Evaluations]:
    """Predictions on every split that was not trained on, and what they say of each at the bundle's thresholds."""
    spec, task = bundle.spec, task_named(bundle.spec.task)
    kept = catalog.kept
    rows = kept[kept["split"].isin(READ)]
    probabilities = sealed_probabilities(bundle.load_model(), spec, store.images, rows["row"].to_numpy())
    predictions = Predictions.of(rows, probabilities, spec.class_names, multi_label=task.multi_label)

    def of_split(split: str) -> Evaluation:
        measured = evaluate(
            predictions,
            architecture=spec.architecture,
            task=task,
            operating_points=spec.operating_points,
            rule_in=spec.rule_in,
            temperature=spec.temperature,
            split=split,
            settings=settings,
        )
        if split == "val":  # it chose the thresholds: what it shows of them in subgroups is no evidence
            return measured
        tables = subgroups(
            predictions,
            rows,
            task=task,
            operating_points=spec.operating_points,
            split=split,
            settings=settings,
        )
        return measured.model_copy(update={"subgroups": tables})

    external = of_split("external") if (rows["split"] == "external").any() else None
    return predictions, Evaluations(validation=of_split("val"), test=of_split("test"), external=external)
