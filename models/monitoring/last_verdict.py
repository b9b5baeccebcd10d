"""The last verdict on each model, as a table of all models shows it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from data_contracts.drift.verdict import Verdict
from data_contracts.workspace import Workspace
from models.monitoring.due import history_of


class LastVerdict(BaseModel):
    """since, until: days, until excluded. over_the_limit: layers. page: the window's page."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    version: str
    since: str
    until: str
    issue: int
    images: int
    verdict: Verdict
    over_the_limit: list[str]
    page: Path


def last_verdicts(workspace: Workspace, models: Iterable[str]) -> list[LastVerdict]:
    """Of each model that has one, the verdict on the window that ended last."""
    return [found for name in models if (found := _last(workspace, name)) is not None]


def _last(workspace: Workspace, model_name: str) -> LastVerdict | None:
    given = history_of(workspace, model_name).latest()
    if not given:
        return None
    verdict, window = given[-1].verdict, given[-1].verdict.window
    return LastVerdict(
        model=model_name,
        version=verdict.version,
        since=window.since,
        until=window.until,
        issue=window.issue,
        images=window.n,
        verdict=verdict.verdict,
        over_the_limit=[layer.layer for layer in verdict.layers if layer.outcome == "exceeded"],
        page=given[-1].folder / "index.html",
    )
