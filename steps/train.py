"""Trains one architecture; the recipe's architectures run as separate steps side by side."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Annotated, Any

from zenml import get_step_context, step

from data_contracts.catalog import Catalog
from data_contracts.expectations.report import ValidationReport
from data_contracts.image_store import ImageStore
from data_contracts.workspace import Workspace
from models.registry.bundle import ModelBundle
from steps.caching import ROOT, cached_on, library_versions
from steps.materializers import FolderMaterializer
from steps.progress import progress, say

_DEPENDS_ON = cached_on("models.training.candidate", "data_contracts.ontology", "data_contracts.targets")


@step(output_materializers=FolderMaterializer, cache_policy=_DEPENDS_ON)
def train(
    image_store: ImageStore, catalog: Catalog, split_validation: ValidationReport, shaped_by: dict[str, Any]
) -> Annotated[ModelBundle, "bundle"]:
    """Fit, choose operating points on validation, and seal the bundle; an interrupted training goes on where it was.

    shaped_by: the recipe sections that matter.
    """
    from models.registry.follow import follow_training
    from models.training.candidate import train_candidate
    from models.training.checkpoint import remove_abandoned
    from steps.training_copies import CHECKPOINTS, copies_in, feature_cache

    run = get_step_context().pipeline_run
    name = shaped_by["architecture"]["name"]
    folder = Workspace.current().cache / "bundles" / str(os.getpid()) / f"{run.id}-{name.replace('/', '_')}"
    checkpoints = checkpoint_folder(image_store, catalog, shaped_by)
    copies = copies_in(CHECKPOINTS, checkpoints.name)
    if copies is not None:
        copies.fetch_all(checkpoints)
    with progress(f"train {name}") as report, follow_training(Workspace.current(), run.name, shaped_by) as tracked:

        def on_epoch(record: Any, epochs: int) -> None:
            auc = "undefined" if record.val_macro_auc is None else f"{record.val_macro_auc:.3f}"
            report(record.epoch, epochs, f"loss {record.train_loss:.3f}  validation AUC {auc}")
            tracked.log_epoch(record)
            if copies is not None:
                copies.keep_all(checkpoints)

        bundle = train_candidate(
            image_store,
            catalog,
            shaped_by,
            folder,
            on_epoch,
            say=lambda line: say(f"train {name}: {line}"),
            checkpoints=checkpoints,
            features=feature_cache(image_store),
        )
        tracked.seal(bundle)
    shutil.rmtree(checkpoints, ignore_errors=True)
    if copies is not None:
        copies.remove_all()
    remove_abandoned(checkpoints.parent)
    return bundle


def checkpoint_folder(image_store: ImageStore, catalog: Catalog, shaped_by: dict[str, Any]) -> Path:
    """Where a training keeps its checkpoints: another folder as soon as data, settings, code or libraries differ."""
    code = {
        file: hashlib.sha256((ROOT / file).read_bytes()).hexdigest()
        for file in _DEPENDS_ON.file_dependencies or []
    }
    decisive = [shaped_by, image_store.content_hash, catalog.content_hash(), code, library_versions()]
    key = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
    return Workspace.current().cache / "training" / key[:32]
