"""The scoring pipeline: images answered by the decided champion, into the prediction log."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from zenml import pipeline

from data_contracts.workspace import Workspace
from models.scoring.batch import ScoringRequest, ScoringSummary
from pipelines.living_runs import living_run
from steps.score import score

_FORGOTTEN_AFTER = 24 * 3600  # seconds: what a killed run left


@dataclass(frozen=True, slots=True)
class ScoringResult:
    """What a scoring run made."""

    run: str
    summary: ScoringSummary


@pipeline(name="scoring", enable_cache=False)
def scoring_pipeline(model_name: str, request: str) -> None:
    """One step: everything it reads is in the registry, the prediction log and the files of the request."""
    score(model_name, request)


def run_scoring(model_name: str, request: ScoringRequest, workspace: Workspace) -> ScoringResult:
    """Run on the active stack. Errors of the domain come through as they were raised."""
    name = f"scoring-{model_name}-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
    with _request_file(workspace, request) as file, living_run(workspace, name):
        run = scoring_pipeline.with_options(run_name=name)(model_name, str(file))
    return ScoringResult(run.name, run.steps["score"].outputs["summary"][0].load())


@contextmanager
def _request_file(workspace: Workspace, request: ScoringRequest) -> Iterator[Path]:
    """The request as a file that only its owner may read, for as long as the run lasts."""
    folder = workspace.cache / "scoring-requests"
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob("*.json"):
        if time.time() - left.stat().st_mtime > _FORGOTTEN_AFTER:
            left.unlink(missing_ok=True)
    file = folder / f"{secrets.token_hex(8)}.json"
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as content:
        content.write(request.model_dump_json())
    try:
        yield file
    finally:
        file.unlink(missing_ok=True)
