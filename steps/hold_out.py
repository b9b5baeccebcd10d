"""Trains an architecture again without each source: what is left of it on a source it never saw."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

from zenml import step

from data_contracts.catalog import Catalog
from data_contracts.expectations.report import ValidationReport
from data_contracts.image_store import ImageStore
from data_contracts.splits import SplitSettings
from models.evaluation.leave_one_source_out import LeaveOneSourceOut
from models.evaluation.settings import EvaluationSettings
from steps.caching import cached_on
from steps.progress import say


@step(
    cache_policy=cached_on(
        "models.training.hold_out", "data_contracts.splits", "data_contracts.ontology", "data_contracts.targets"
    )
)
def leave_one_source_out(
    image_store: ImageStore,
    labelled: Catalog,
    validation: ValidationReport,
    shaped_by: dict[str, Any],
    settings: dict[str, Any],
) -> Annotated[list[LeaveOneSourceOut], "leave_one_source_out"]:
    """One table, or none where no source can be spared. settings: the evaluation section."""
    from models.training.hold_out import leave_each_source_out

    with tempfile.TemporaryDirectory() as folder:
        table = leave_each_source_out(
            image_store,
            labelled,
            shaped_by,
            SplitSettings(**shaped_by["split"]),
            EvaluationSettings(**settings),
            Path(folder),
            say,
        )
    return [table] if table else []
