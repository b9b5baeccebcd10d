"""What the Jobs of a pipeline run on Kubernetes say of it: whether something still works on it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

Job = dict[str, Any]  # as the API server gives it


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether nothing works on a run any more, and what that was judged by. ended: its Job is there and says how."""

    gone: bool
    why: str
    ended: bool = False


def judge_by_jobs(run_id: str, jobs: list[Job], namespace: str, age: timedelta, grace: timedelta) -> Verdict:
    """jobs: all of the namespace. age: since the last sign of life that ZenML has; grace: for a Job not made yet."""
    mine = [job for job in jobs if run_id in _run_ids(job)]
    alive = sorted(job["metadata"]["name"] for job in mine if not ending(job))
    if alive:
        return Verdict(False, f"Jobs of it are not at their end: {', '.join(alive)}")
    starter = next((job for job in mine if _starts_steps(job)), None)
    if starter is not None:
        return Verdict(True, f"its Job {starter['metadata']['name']} ended: {ending(starter)}", ended=True)
    if age <= grace:
        return Verdict(False, f"no Job of it in {namespace}, but a sign of life {in_words(age)} ago")
    return Verdict(True, f"no Job of it is left in {namespace}, last sign of life {in_words(age)} ago")


def ending(job: Job) -> str:
    """How a Job ended, in Kubernetes' words; "" where it did not."""
    for condition in (job.get("status") or {}).get("conditions") or []:
        if condition.get("type") in ("Complete", "Failed") and condition.get("status") == "True":
            return ": ".join(filter(None, [condition["type"], condition.get("reason"), condition.get("message")]))
    return ""


def in_words(age: timedelta) -> str:
    minutes = int(age.total_seconds() // 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"


def _run_ids(job: Job) -> set[str]:
    """A scheduled run's own Job learns its run only when it starts, and notes it as an annotation."""
    labels, annotations = job["metadata"].get("labels") or {}, job["metadata"].get("annotations") or {}
    return {labels.get("run_id", ""), annotations.get("zenml.io/run-id", "")}


def _starts_steps(job: Job) -> bool:
    """Whether ZenML's orchestrator runs in it, which starts the Jobs of the steps."""
    return "zenml.io/orchestrator" in (job["metadata"].get("annotations") or {})
