"""F52: a pipeline run is judged by its Jobs: one that is not at its end keeps it, whatever became of the others."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from pipelines.run_jobs import ending, judge_by_jobs

RUN = "6f1c2a3e"
FAILED = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "3 pods failed"}
COMPLETE = {"type": "Complete", "status": "True"}


def job(
    name: str, *conditions: dict[str, str], starts_steps: bool = False, scheduled: bool = False
) -> dict[str, Any]:
    """As ZenML 0.98 makes them: labels at birth; a scheduled run's own Job is annotated when it starts."""
    annotations = {"zenml.io/orchestrator": "id"} if starts_steps else {"zenml.io/step-name": name}
    labels = {"pipeline": "training"}
    if scheduled:
        annotations["zenml.io/run-id"] = RUN
    else:
        labels["run_id"] = RUN
    metadata = {"name": name, "labels": labels, "annotations": annotations}
    return {"metadata": metadata, "status": {"conditions": list(conditions)} if conditions else {"active": 1}}


def judged(*jobs: dict[str, Any], minutes: float = 60) -> tuple[bool, str]:
    of_another = {"metadata": {"name": "other", "labels": {"run_id": "another"}}, "status": {}}
    verdict = judge_by_jobs(
        RUN, [of_another, *jobs], "lungline", timedelta(minutes=minutes), timedelta(minutes=15)
    )
    return verdict.gone, verdict.why


@pytest.mark.parametrize("scheduled", [False, True])
def test_a_run_lives_while_its_own_job_does(scheduled: bool) -> None:
    assert judged(job("start", starts_steps=True, scheduled=scheduled)) == (
        False,
        "Jobs of it are not at their end: start",
    )


def test_a_step_that_still_works_keeps_a_run_whose_orchestrator_failed() -> None:
    assert judged(job("start", FAILED, starts_steps=True), job("train"))[0] is False


@pytest.mark.parametrize("end", [FAILED, COMPLETE])
def test_a_run_is_gone_with_its_own_job(end: dict[str, str]) -> None:
    gone, why = judged(job("start", end, starts_steps=True), job("train", COMPLETE))
    assert gone
    assert why.startswith(f"its Job start ended: {end['type']}")


def test_a_run_without_any_job_is_gone_once_one_could_have_been_made() -> None:
    assert judged(minutes=60) == (True, "no Job of it is left in lungline, last sign of life 60 min ago")
    assert judged(minutes=3) == (False, "no Job of it in lungline, but a sign of life 3 min ago")


def test_a_job_has_ended_when_a_condition_says_so() -> None:
    assert ending(job("train", FAILED)) == "Failed: BackoffLimitExceeded: 3 pods failed"
    assert ending(job("train")) == ""
    assert ending(job("train", FAILED | {"status": "False"})) == ""
