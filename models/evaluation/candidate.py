"""Reads validation and test once with a sealed bundle."""

from __future__ import annotations

import pandas as pd

from data_contracts.catalog import Catalog
from data_contracts.image_store import ImageStore
from data_contracts.ontology import task_named
from models.evaluation.evaluate import evaluate
from models.evaluation.predictions import Predictions, predict_probabilities
from models.evaluation.results import Evaluation
from models.evaluation.settings import EvaluationSettings
from models.registry.bundle import ModelBundle

READ = ("val", "test")


def evaluate_candidate(
    bundle: ModelBundle, store: ImageStore, catalog: Catalog, settings: EvaluationSettings
) -> tuple[Predictions, Evaluation, Evaluation]:
    """Predictions on validation and test, and what they say of each, at the operating points in the bundle."""
    spec = bundle.spec
    rows = catalog.kept[lambda frame: frame["split"].isin(READ)]
    probabilities = predict_probabilities(
        bundle.load_model(), store.images, rows["row"].to_numpy(), spec.preprocessing
    )
    columns = ["image_id", "group_id", "patient", "source", "split", "label"]
    frame = rows[columns].reset_index(drop=True)
    classes = pd.DataFrame(probabilities, columns=[f"p_{name}" for name in spec.class_names])
    predictions = Predictions(pd.concat([frame, classes], axis=1))
    validation, test = (
        evaluate(
            predictions,
            architecture=spec.architecture,
            task=task_named(spec.task),
            operating_points=spec.operating_points,
            split=split,
            settings=settings,
        )
        for split in READ
    )
    return predictions, validation, test
