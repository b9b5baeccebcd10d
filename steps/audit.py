"""Asks whether an architecture could be cheating: the shortcut battery on validation and test images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from zenml import log_metadata, step

from data_contracts.catalog import Catalog
from data_contracts.image_store import ImageStore
from models.audit.results import AuditReport
from models.audit.settings import AuditSettings
from models.evaluation.predictions import Predictions
from models.registry.bundle import ModelBundle
from steps.caching import cached_on


@step(
    cache_policy=cached_on(
        "models.audit.candidate",
        "data_contracts.association",
        "data_contracts.ontology",
        "data_contracts.raster",
        "data_contracts.targets",
    )
)
def audit(
    bundle: ModelBundle,
    image_store: ImageStore,
    catalog: Catalog,
    predictions: Predictions,
    settings: dict[str, Any],
    data_dir: str,
    data_fingerprint: str,
) -> Annotated[AuditReport, "audit_report"]:
    """Every shortcut that can be looked for. data_fingerprint makes a changed lung mask a change of the step."""
    from models.audit.candidate import audit_candidate

    report = audit_candidate(bundle, image_store, catalog, predictions, AuditSettings(**settings), Path(data_dir))
    log_metadata({"audit": report.verdict})
    return report
