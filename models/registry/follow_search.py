"""Follows one search in MLflow: a child run of the pipeline's run, and below it one run per trial."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from data_contracts.workspace import Workspace
from models.registry.follow import tracking_store
from models.registry.tracking import SEARCH, TRIAL, Outcome, TrackedRun, TrackingStore
from models.training.search.results import SearchResult, TrialRecord
from models.training.search.settings import SearchSettings

STATE_TAG = "lungline.trial_state"
_OUTCOMES: Mapping[str, Outcome] = {"complete": "FINISHED", "pruned": "KILLED", "diverged": "FAILED"}


class FollowedSearch:
    """What the search step reports to; nothing here raises because MLflow fails.

    After an outage the rest of the trials is not sent: the study and the report hold all of them.
    """

    def __init__(self, store: TrackingStore, run: TrackedRun, metric: str, tags: Mapping[str, str]) -> None:
        self._store = store
        self._run = run
        self._metric = metric
        self._tags = dict(tags)
        self._lost = not run.run_id

    def log_trial(self, trial: TrialRecord) -> None:
        """A run of its own for one trial: parameters, the curve by epoch and, where it is complete, its value."""
        if self._lost:
            return
        tags = {**self._tags, STATE_TAG: trial.state}
        run = self._store.child_run(self._run.run_id, f"trial {trial.number:02d}", trial.parameters, tags, TRIAL)
        for epoch, value in enumerate(trial.curve, start=1):
            run.log_metrics({"val_macro_auc": value}, step=epoch)
        run.log_metrics({f"search_{self._metric}": trial.value}, step=trial.epochs)
        run.finish(_OUTCOMES[trial.state])
        self._lost = run.lost > 0

    def seal(self, result: SearchResult) -> None:
        """The best value and the trial that reached it."""
        if not self._lost:
            best = result.best_trial
            self._run.log_metrics({f"best_{self._metric}": best.value, "best_trial": float(best.number)})


@contextmanager
def follow_search(
    workspace: Workspace, pipeline_run: str, shaped_by: Mapping[str, Any], settings: SearchSettings, metric: str
) -> Iterator[FollowedSearch]:
    """A child run "search ARCHITECTURE", open while the block runs: FINISHED after it, FAILED where it raises."""
    store = tracking_store(workspace)
    tags = {"lungline.recipe": shaped_by["name"]}
    shared = {name: value for name, value in shaped_by.items() if name != "architecture"}
    parent = store.parent_run(shaped_by["name"], pipeline_run, tags, shared)
    name = f"search {shaped_by['architecture']['name']}"
    run = store.child_run(parent, name, settings.model_dump(mode="json"), tags, SEARCH)
    try:
        yield FollowedSearch(store, run, metric, tags)
    except BaseException:
        run.finish("FAILED")
        raise
    run.finish("FINISHED")
