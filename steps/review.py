"""Reviews a challenger against the champion and seals the dossier that a person decides on."""

from __future__ import annotations

from typing import Annotated, Any

from zenml import get_step_context, log_metadata, step
from zenml.types import HTMLString

from data_contracts.workspace import Workspace
from models.review.results import Review


@step(enable_cache=False)
def review(
    model_name: str, challenger: str | None, plan: dict[str, Any]
) -> tuple[Annotated[Review, "review"], Annotated[str, "dossier"], Annotated[HTMLString, "dossier_page"]]:
    """The review, the folder of its dossier and its page. Never cached: the registry itself says who is champion."""
    from models.review.change_plan import ChangePlan
    from models.review.conduct import conduct_review

    done = conduct_review(
        Workspace.current(),
        model_name,
        challenger,
        ChangePlan.model_validate(plan),
        get_step_context().pipeline_run.name,
    )
    versions = {
        role: {"version": one.version, "mlflow_run": one.run_id, "bundle": one.bundle}
        for role, one in done.review.versions.items()
    }
    # One direction of the link; the other are the tags on the version in MLflow.
    log_metadata(
        {"verdict": done.review.verdict, "dossier": done.dossier.hash, "model": model_name, "versions": versions}
    )
    return done.review, str(done.dossier.folder), HTMLString(done.page)
