"""MLflow runs that nobody ended: found by the pipeline run they belong to, and ended with a tag that says why.

A process that is killed leaves its runs RUNNING for ever; nothing else in MLflow tells them from living ones.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from models.registry.outage import store_errors
from models.registry.tracking import PARENT_TAG, PIPELINE_RUN_TAG, Outcome, TrackingStore

if TYPE_CHECKING:
    from mlflow.entities import Run

CLOSED_TAG = "lungline.closed"


def open_runs(store: TrackingStore) -> dict[str, list[Run]]:
    """Every RUNNING run below a pipeline run that Lungline tracked, itself included, by that pipeline run's name.

    Raises EnvironmentProblem or ExternalServiceError where MLflow does not answer.
    """
    known: dict[str, Run] = {}
    found: defaultdict[str, list[Run]] = defaultdict(list)
    with store_errors(store.tracking_uri):
        for run in _running(store):
            top = run
            while parent := top.data.tags.get(PARENT_TAG):
                top = known[parent] if parent in known else known.setdefault(parent, store.client.get_run(parent))
            if name := top.data.tags.get(PIPELINE_RUN_TAG):
                found[name].append(run)
    return dict(found)


def end_runs(store: TrackingStore, runs: list[Run], outcome: Outcome, why: str) -> None:
    """End them, and say why on each. Raises as `open_runs` does."""
    with store_errors(store.tracking_uri):
        for run in runs:
            store.client.set_tag(run.info.run_id, CLOSED_TAG, why)
            store.client.set_terminated(run.info.run_id, outcome)


def _running(store: TrackingStore) -> list[Run]:
    experiments = [one.experiment_id for one in store.client.search_experiments()]
    runs: list[Run] = []
    page = None
    while experiments:
        found = store.client.search_runs(experiments, "attributes.status = 'RUNNING'", page_token=page)
        runs += found
        page = found.token
        if not page:
            break
    return runs
