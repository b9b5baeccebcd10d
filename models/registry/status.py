"""What the MLflow store and the decision log say of a model now, and the latest pipeline runs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from models.registry.decisions.aliases import PREVIOUS
from models.registry.decisions.entries import Decision, Line
from models.registry.decisions.history import history
from models.registry.outage import store_errors
from models.registry.tracking import PIPELINE, PIPELINE_RUN_TAG, ROLE_TAG, TrackingStore
from models.registry.versions import CHALLENGER, CHAMPION, find_version, live_run, require_model_name

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


class _Summary(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class VersionSummary(_Summary):
    """One registered version. created_at: UTC, ISO 8601. metrics: the last value of each of its run."""

    version: str
    run_id: str
    created_at: str
    tags: dict[str, str]
    metrics: dict[str, float]
    description: str


class ModelStatus(_Summary):
    """Which versions of a model the aliases point to; None where an alias points nowhere.

    decisions: those carried out, latest first; empty without a log.
    """

    name: str
    champion: VersionSummary | None
    previous: VersionSummary | None
    challenger: VersionSummary | None
    decisions: list[Decision] = []


class RunSummary(_Summary):
    """One pipeline run. Times: UTC, ISO 8601; ended_at is None while it runs.

    status: RUNNING, FINISHED, FAILED or KILLED.
    """

    run_id: str
    pipeline_run: str
    experiment: str
    status: str
    started_at: str
    ended_at: str | None


def model_status(store: TrackingStore, model_name: str, log: Sequence[Line] = ()) -> ModelStatus:
    """Where a model's aliases point, all None for a model nobody registered yet. log: lines of the decision log.

    Raises ExternalServiceError or EnvironmentProblem where the store fails.
    """
    require_model_name(model_name)
    with store_errors(store.tracking_uri):
        return ModelStatus(
            name=model_name,
            champion=_summary(store.client, model_name, CHAMPION),
            previous=_summary(store.client, model_name, PREVIOUS),
            challenger=_summary(store.client, model_name, CHALLENGER),
            decisions=list(reversed(history(log, model_name).decisions)),
        )


def recent_runs(store: TrackingStore, n: int) -> list[RunSummary]:
    """The latest n pipeline runs over all experiments, latest first.

    Raises ExternalServiceError or EnvironmentProblem where the store fails.
    """
    with store_errors(store.tracking_uri):
        experiments = {
            experiment.experiment_id: experiment.name for experiment in store.client.search_experiments()
        }
        runs = store.client.search_runs(
            list(experiments),
            f"tags.`{ROLE_TAG}` = '{PIPELINE}'",
            max_results=n,
            order_by=["attributes.start_time DESC"],
        )
    return [
        RunSummary(
            run_id=run.info.run_id,
            pipeline_run=run.data.tags[PIPELINE_RUN_TAG],
            experiment=experiments[run.info.experiment_id],
            status=run.info.status,
            started_at=_utc(run.info.start_time),
            ended_at=_utc(run.info.end_time) if run.info.end_time else None,
        )
        for run in runs
    ]


def _summary(client: MlflowClient, model_name: str, alias: str) -> VersionSummary | None:
    version = find_version(client, model_name, alias)
    if version is None:
        return None
    run = live_run(client, version.run_id)
    return VersionSummary(
        version=str(version.version),
        run_id=version.run_id or "",
        created_at=_utc(version.creation_timestamp),
        tags=dict(version.tags),
        metrics=dict(run.data.metrics) if run else {},
        description=version.description or "",
    )


def _utc(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")
