"""Trains one architecture; the recipe's architectures run as separate steps side by side."""

from __future__ import annotations

import os
from typing import Annotated, Any

from zenml import get_step_context, step

from data_contracts.catalog import Catalog
from data_contracts.expectations.report import ValidationReport
from data_contracts.image_store import ImageStore
from data_contracts.workspace import Workspace
from models.registry.bundle import ModelBundle
from steps.caching import cached_on
from steps.materializers import FolderMaterializer
from steps.progress import progress


@step(
    output_materializers=FolderMaterializer,
    cache_policy=cached_on("models.training.candidate", "data_contracts.ontology"),
)
def train(
    image_store: ImageStore, catalog: Catalog, split_validation: ValidationReport, shaped_by: dict[str, Any]
) -> Annotated[ModelBundle, "bundle"]:
    """Fit, choose operating points on validation, and seal the bundle. shaped_by: the recipe sections that matter."""
    from models.registry.follow import follow_training
    from models.training.candidate import train_candidate

    run = get_step_context().pipeline_run
    name = shaped_by["architecture"]["name"]
    folder = Workspace.current().cache / "bundles" / str(os.getpid()) / f"{run.id}-{name.replace('/', '_')}"
    with progress(f"train {name}") as report, follow_training(Workspace.current(), run.name, shaped_by) as tracked:

        def on_epoch(record: Any, epochs: int) -> None:
            auc = "undefined" if record.val_macro_auc is None else f"{record.val_macro_auc:.3f}"
            report(record.epoch, epochs, f"loss {record.train_loss:.3f}  validation AUC {auc}")
            tracked.log_epoch(record)

        bundle = train_candidate(image_store, catalog, shaped_by, folder, on_epoch)
        tracked.seal(bundle)
    return bundle
