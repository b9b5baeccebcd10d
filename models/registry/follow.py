"""Follows one training in MLflow as it happens: a child run of the pipeline's run, epoch by epoch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from data_contracts.workspace import Workspace
from models.registry.bundle import ModelBundle
from models.registry.spool import JOURNAL_TAG, Journal, now_ms, replay_journals
from models.registry.tracking import Outcome, TrackedRun, TrackingStore
from models.training.history import EpochRecord


def tracking_store(workspace: Workspace) -> TrackingStore:
    """The MLflow store in use: MLFLOW_TRACKING_URI, else a database below the workspace."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{workspace.mlflow / 'mlflow.db'}"
    return TrackingStore(uri, workspace.mlflow / "artifacts")


def replay_spooled(workspace: Workspace) -> None:
    """Bring to MLflow what earlier trainings could not."""
    replay_journals(tracking_store(workspace), _spool(workspace))


class FollowedTraining:
    """What the training step reports to; nothing here raises because MLflow fails.

    Every event is written to the training's journal before MLflow is told of it.
    """

    def __init__(self, run: TrackedRun, journal: Journal) -> None:
        self._run = run
        self._journal = journal

    def log_epoch(self, record: EpochRecord) -> None:
        """The epoch's measures, at step = epoch; an undefined measure is left out."""
        self._log_metrics(record.model_dump(exclude={"epoch"}, exclude_none=True), record.epoch)

    def seal(self, bundle: ModelBundle) -> None:
        """Name the bundle that came out, and log which epoch's weights it holds."""
        best = next(record for record in bundle.history.epochs if record.epoch == bundle.history.best_epoch)
        measures = {"best_val_loss": best.val_loss, "best_val_macro_auc": best.val_macro_auc}
        defined = {name: value for name, value in measures.items() if value is not None}
        self._log_metrics({"best_epoch": float(best.epoch), **defined}, best.epoch)
        self._journal.add("bundle", content_hash=bundle.content_hash)
        self._run.name_bundle(bundle)

    def finish(self, outcome: Outcome) -> None:
        """End the run; its journal is removed where MLflow has all of it."""
        self._journal.add("finish", outcome=outcome)
        self._run.finish(outcome)
        self._journal.end(delivered=self._run.lost == 0)

    def _log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        at = now_ms()
        self._journal.add("metrics", metrics=dict(metrics), step=step, at=at)
        self._run.log_metrics(metrics, step=step, at=at)


@contextmanager
def follow_training(
    workspace: Workspace, pipeline_run: str, shaped_by: Mapping[str, Any]
) -> Iterator[FollowedTraining]:
    """A child run that is open while the block runs: FINISHED after it, FAILED where it raises.

    What an outage keeps from MLflow stays in a journal, and is replayed by the next training or pipeline that ends.
    """
    store = tracking_store(workspace)
    architecture, tags = shaped_by["architecture"], {"lungline.recipe": shaped_by["name"]}
    shared = {name: value for name, value in shaped_by.items() if name != "architecture"}
    settings = {**shaped_by["training"], **{k: v for k, v in architecture.items() if v is not None}}
    journal = Journal.begin(
        _spool(workspace),
        {
            "experiment": shaped_by["name"],
            "pipeline_run": pipeline_run,
            "shared": shared,
            "name": architecture["name"],
            "settings": settings,
            "tags": tags,
        },
    )
    parent = store.parent_run(shaped_by["name"], pipeline_run, tags, shared)
    if parent:  # MLflow answers
        replay_journals(store, _spool(workspace))
    run = store.child_run(parent, architecture["name"], settings, {**tags, JOURNAL_TAG: journal.name})
    journal.add("run", run_id=run.run_id)
    followed = FollowedTraining(run, journal)
    try:
        yield followed
    except BaseException:
        followed.finish("FAILED")
        raise
    followed.finish("FINISHED")


def finish_pipeline_run(workspace: Workspace, recipe: str, pipeline_run: str, outcome: Outcome) -> None:
    """End the parent run, where this pipeline run opened one; a run that trained nothing has none."""
    replay_spooled(workspace)
    tracking_store(workspace).finish_parent(recipe, pipeline_run, outcome)


def _spool(workspace: Workspace) -> Path:
    return workspace.mlflow / "spool"
