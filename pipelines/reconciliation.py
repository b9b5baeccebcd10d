"""Closes what killed processes and lost pods left open: pipeline runs in ZenML, and their runs in MLflow.

A run is closed only on evidence that nothing works on it any more: the mark of its process is free, or its Jobs on
Kubernetes ended or are gone. Where nothing tells, it is left alone unless a person names an age.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Literal

from zenml.client import Client
from zenml.enums import ExecutionStatus, StackComponentType
from zenml.models import PipelineRunResponse, PipelineRunUpdate, StepRunResponse
from zenml.orchestrators.publish_utils import publish_stopped_step_run
from zenml.utils.run_utils import refresh_run_status
from zenml.utils.time_utils import to_utc_timezone

from data_contracts.workspace import Workspace
from models.registry.follow import replay_spooled, tracking_store
from models.registry.open_runs import end_runs, open_runs
from models.registry.tracking import Outcome
from pipelines.cluster import ClusterProblem, connect
from pipelines.living_runs import forget_run, sign_of_life
from pipelines.run_jobs import Job, Verdict, in_words, judge_by_jobs

_UNFINISHED = [status.value for status in ExecutionStatus if not status.is_finished]
_GRACE = timedelta(
    minutes=15
)  # the client makes the run first and its Job afterwards; images are pulled in between
_OUTCOMES: dict[str, Outcome] = {"completed": "FINISHED", "failed": "FAILED"}


@dataclass(frozen=True, slots=True)
class Judged:
    """A run that was open. why: what it was judged by."""

    kind: Literal["pipeline run", "MLflow run"]
    name: str
    did: Literal["closed", "left"]
    why: str


def reconcile(
    workspace: Workspace, *, stack: str | None = None, older_than: timedelta | None = None, dry_run: bool = False
) -> Iterator[Judged]:
    """Judge every open run, and close what is left behind; a second time finds nothing more to do.

    stack: of these runs only. older_than: closes a run of which nothing tells whether it lives, where its last sign of
    life is older. Raises what MLflow's outage raises, after ZenML's runs were seen to.
    """
    closed: dict[str, str] = {}
    left: set[str] = set()
    for run in _open_pipeline_runs(stack):
        verdict = _judge(run, workspace, older_than)
        if verdict.gone:
            closed[run.name] = verdict.why
            if not dry_run:
                _close(run, verdict)
                forget_run(workspace, run.name)
        else:
            left.add(run.name)
        yield Judged("pipeline run", run.name, "closed" if verdict.gone else "left", verdict.why)
    yield from _reconcile_mlflow(workspace, closed, left, stack, dry_run)


def _reconcile_mlflow(
    workspace: Workspace, closed: dict[str, str], left: set[str], stack: str | None, dry_run: bool
) -> Iterator[Judged]:
    store = tracking_store(workspace)
    store.check()
    if not dry_run:
        replay_spooled(workspace)
    for name, runs in sorted(open_runs(store).items()):
        if name in left or sign_of_life(workspace, name) == "living":
            continue
        outcome, why = _ending(name, closed)
        if stack is not None and name not in closed:
            continue  # whose stack it was is ZenML's to say, and there it is closed already
        if outcome is None:
            yield Judged("MLflow run", name, "left", why)
            continue
        if not dry_run:
            end_runs(store, runs, outcome, f"by lungline reconcile: {why}")
        yield Judged("MLflow run", name, "closed", f"{why}; ended as {outcome}: {len(runs)}")


def _ending(name: str, closed: dict[str, str]) -> tuple[Outcome | None, str]:
    """How an MLflow run ends whose pipeline run is not open any more; None where nobody knows."""
    if name in closed:
        return "KILLED", closed[name]
    known = Client().list_pipeline_runs(name=name).items
    if not known:
        return None, "ZenML here knows no such run; another one may"
    return _OUTCOMES.get(known[0].status.value, "KILLED"), f"ZenML's run is {known[0].status.value}"


def _open_pipeline_runs(stack: str | None) -> list[PipelineRunResponse]:
    return [
        run
        for run in Client().list_pipeline_runs(status=f"oneof:{json.dumps(_UNFINISHED)}", size=1000, hydrate=True)
        if stack is None or (run.stack is not None and run.stack.name == stack)
    ]


def _judge(run: PipelineRunResponse, workspace: Workspace, older_than: timedelta | None) -> Verdict:
    sign = sign_of_life(workspace, run.name)
    orchestrator = (run.stack.components.get(StackComponentType.ORCHESTRATOR) or [None])[0] if run.stack else None
    if sign == "living":
        return Verdict(False, "its process on this machine lives")
    if orchestrator is not None and orchestrator.flavor_name == "kubernetes":
        # The process that started it may be gone, and the pods go on.
        return _judge_by_jobs(run, orchestrator, _GRACE if older_than is None else older_than)
    if sign == "gone":
        return Verdict(True, "its process on this machine is gone")
    age = datetime.now(UTC) - _last_sign(run)
    if older_than is None:
        why = "nothing here tells whether it lives; started elsewhere, or by another program"
        return Verdict(False, f"{why} (last sign {in_words(age)} ago; --older-than closes it)")
    return Verdict(age > older_than, f"its last sign of life was {in_words(age)} ago, and no process here has it")


def _judge_by_jobs(run: PipelineRunResponse, orchestrator: Any, grace: timedelta) -> Verdict:
    place = (
        str(orchestrator.configuration.get("kubernetes_context") or ""),
        bool(orchestrator.configuration.get("incluster")),
        str(orchestrator.configuration.get("kubernetes_namespace") or "zenml"),
    )
    if orchestrator.connector:
        return Verdict(False, "its cluster is reached through a service connector; `zenml pipeline runs refresh`")
    jobs = _jobs(*place)
    if isinstance(jobs, ClusterProblem):
        return Verdict(False, f"the cluster cannot be asked: {jobs}")
    return judge_by_jobs(str(run.id), jobs, place[2], datetime.now(UTC) - _last_sign(run), grace)


@cache
def _jobs(context: str, incluster: bool, namespace: str) -> list[Job] | ClusterProblem:
    """Asked once for all runs: a cluster that does not answer costs its time limit once."""
    try:
        return connect(context, incluster).items(f"/apis/batch/v1/namespaces/{namespace}/jobs")
    except ClusterProblem as problem:
        return problem


def _close(run: PipelineRunResponse, verdict: Verdict) -> None:
    store = Client().zen_store
    if verdict.ended:
        run = refresh_run_status(run, include_step_updates=True)
    if not Client().get_pipeline_run(run.id).status.is_finished:
        reason = f"lungline reconcile: {verdict.why}"[:250]
        # Stopping first: a step that could be retried would else wait for an orchestrator that is gone.
        store.update_run(run.id, PipelineRunUpdate(status=ExecutionStatus.STOPPING, status_reason=reason))
    for step in _steps(run):
        if not step.status.is_finished:
            publish_stopped_step_run(step.id)


def _steps(run: PipelineRunResponse) -> list[StepRunResponse]:
    return list(Client().list_run_steps(pipeline_run_id=run.id, size=1000))


def _last_sign(run: PipelineRunResponse) -> datetime:
    """The latest thing that ZenML noted of it: its own start, a step's start or end, a heartbeat."""
    times = [run.created, run.start_time]
    for step in _steps(run):
        times += [step.start_time, step.end_time, step.latest_heartbeat]
    return max(to_utc_timezone(time) for time in times if time is not None)
