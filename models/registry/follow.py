"""Follows one training in MLflow as it happens: a child run of the pipeline's run, epoch by epoch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from data_contracts.workspace import Workspace
from models.registry.bundle import ModelBundle
from models.registry.tracking import Outcome, TrackedRun, TrackingStore


def tracking_store(workspace: Workspace) -> TrackingStore:
    """The MLflow store in use: MLFLOW_TRACKING_URI, else a database below the workspace."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{workspace.mlflow / 'mlflow.db'}"
    return TrackingStore(uri, workspace.mlflow / "artifacts")


class FollowedTraining:
    """What the training step reports to; nothing here raises because MLflow fails."""

    def __init__(self, run: TrackedRun) -> None:
        self.log_epoch = run.log_epoch
        self._run = run

    def seal(self, bundle: ModelBundle) -> None:
        """Name the bundle that came out, and log which epoch's weights it holds."""
        best = next(record for record in bundle.history.epochs if record.epoch == bundle.history.best_epoch)
        self._run.log_metrics(
            {
                "best_epoch": float(best.epoch),
                "best_val_loss": best.val_loss,
                "best_val_macro_auc": best.val_macro_auc,
            },
            step=best.epoch,
        )
        self._run.name_bundle(bundle)


@contextmanager
def follow_training(
    workspace: Workspace, pipeline_run: str, shaped_by: Mapping[str, Any]
) -> Iterator[FollowedTraining]:
    """A child run that is open while the block runs: FINISHED after it, FAILED where it raises."""
    store = tracking_store(workspace)
    shared = {name: value for name, value in shaped_by.items() if name != "architecture"}
    parent = store.parent_run(shaped_by["name"], pipeline_run, {"lungline.recipe": shaped_by["name"]}, shared)
    architecture = shaped_by["architecture"]
    settings = {**shaped_by["training"], **{k: v for k, v in architecture.items() if v is not None}}
    run = store.child_run(parent, architecture["name"], settings, {"lungline.recipe": shaped_by["name"]})
    try:
        yield FollowedTraining(run)
    except BaseException:
        run.finish("FAILED")
        raise
    run.finish()


def finish_pipeline_run(workspace: Workspace, recipe: str, pipeline_run: str, outcome: Outcome) -> None:
    """End the parent run, where this pipeline run opened one; a run that trained nothing has none."""
    tracking_store(workspace).finish_parent(recipe, pipeline_run, outcome)
