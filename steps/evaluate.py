"""Reads validation, test and external images once with a sealed bundle and says how good it is."""

from __future__ import annotations

from typing import Annotated, Any

from zenml import get_step_context, log_metadata, step

from data_contracts.catalog import Catalog
from data_contracts.image_store import ImageStore
from data_contracts.workspace import Workspace
from models.evaluation.predictions import Predictions
from models.evaluation.results import Evaluations
from models.evaluation.settings import EvaluationSettings
from models.registry.bundle import ModelBundle
from steps.caching import cached_on
from steps.materializers import TableMaterializer


@step(
    output_materializers={"predictions": TableMaterializer},
    cache_policy=cached_on("models.evaluation.candidate", "data_contracts.ontology", "data_contracts.targets"),
)
def evaluate(
    bundle: ModelBundle, image_store: ImageStore, catalog: Catalog, settings: dict[str, Any]
) -> tuple[Annotated[Predictions, "predictions"], Annotated[Evaluations, "evaluations"]]:
    """Sensitivity, specificity and their company, per split and class, with intervals."""
    from models.evaluation.candidate import evaluate_candidate
    from models.evaluation.test_readings import count_test_reading

    chosen = EvaluationSettings(**settings)
    predictions, evaluations = evaluate_candidate(bundle, image_store, catalog, chosen)
    evaluations = count_test_reading(
        Workspace.current(),
        evaluations,
        run=get_step_context().pipeline_run.name,
        bundle=bundle.content_hash,
        noted=chosen.readings_noted,
    )
    for read in (evaluations.test, evaluations.external):
        if read is not None:
            log_metadata({f"{read.split}_images": read.n})
        if read is not None and read.primary.value is not None:
            log_metadata({f"{read.split}_{read.primary_metric}": read.primary.value})
    return predictions, evaluations
