"""The review pipeline: a challenger held against the champion, and the dossier a person decides on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from zenml import pipeline

from data_contracts.workspace import Workspace
from models.review.change_plan import ChangePlan
from models.review.results import Review
from pipelines.living_runs import living_run
from steps.review import review


@dataclass(frozen=True, slots=True)
class ReviewResult:
    """What a review run made. dossier: its folder."""

    run: str
    review: Review
    dossier: Path


@pipeline(name="review", enable_cache=False)
def review_pipeline(model_name: str, challenger: str | None, plan: dict[str, Any]) -> None:
    """One step: everything it reads is in the registry and in the image store."""
    review(model_name, challenger, plan)


def run_review(model_name: str, challenger: str | None, plan: ChangePlan) -> ReviewResult:
    """Run on the active stack. Errors of the domain come through as they were raised."""
    name = f"review-{model_name}-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
    with living_run(Workspace.current(), name):
        run = review_pipeline.with_options(run_name=name)(model_name, challenger, plan.model_dump(mode="json"))
    outputs = run.steps["review"].outputs
    return ReviewResult(run.name, outputs["review"][0].load(), Path(outputs["dossier"][0].load()))
