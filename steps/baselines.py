"""Measures what every network has to be compared with: majority class, small pictures, the border alone."""

from __future__ import annotations

from typing import Annotated, Any

from zenml import step

from data_contracts.catalog import Catalog
from data_contracts.expectations.report import ValidationReport
from data_contracts.image_store import ImageStore
from data_contracts.ontology import task_named
from models.evaluation.results import Evaluations
from models.evaluation.settings import EvaluationSettings
from steps.caching import cached_on


@step(cache_policy=cached_on("models.evaluation.baselines", "data_contracts.ontology", "data_contracts.targets"))
def baselines(
    image_store: ImageStore,
    catalog: Catalog,
    split_validation: ValidationReport,
    task: str,
    settings: dict[str, Any],
) -> Annotated[list[Evaluations], "baselines"]:
    """The same measures as a network's, for three that look at almost nothing."""
    from models.evaluation.baselines import evaluate_baselines

    return evaluate_baselines(image_store, catalog, task_named(task), EvaluationSettings(**settings))
