"""Reads validation and test once with a sealed bundle and says how good it is."""

from __future__ import annotations

from typing import Annotated, Any

from zenml import log_metadata, step

from data_contracts.catalog import Catalog
from data_contracts.image_store import ImageStore
from models.evaluation.predictions import Predictions
from models.evaluation.results import Evaluation
from models.evaluation.settings import EvaluationSettings
from models.registry.bundle import ModelBundle
from steps.caching import cached_on
from steps.materializers import TableMaterializer


@step(
    output_materializers={"predictions": TableMaterializer},
    cache_policy=cached_on("models.evaluation.candidate", "data_contracts.ontology"),
)
def evaluate(
    bundle: ModelBundle, image_store: ImageStore, catalog: Catalog, settings: dict[str, Any]
) -> tuple[
    Annotated[Predictions, "predictions"],
    Annotated[Evaluation, "validation_evaluation"],
    Annotated[Evaluation, "test_evaluation"],
]:
    """Sensitivity, specificity and their company, per class, with intervals."""
    from models.evaluation.candidate import evaluate_candidate

    predictions, validation, test = evaluate_candidate(
        bundle, image_store, catalog, EvaluationSettings(**settings)
    )
    log_metadata({f"test_{test.primary_metric}": test.primary.value, "test_images": test.n})
    return predictions, validation, test
