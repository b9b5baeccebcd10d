"""Scores what a request file names with the decided champion, into the prediction log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from zenml import log_metadata, step

from data_contracts.workspace import Workspace
from models.scoring.batch import ScoringSummary
from steps.progress import progress


@step(enable_cache=False)
def score(model_name: str, request: str) -> Annotated[ScoringSummary, "summary"]:
    """What became of the files. Never cached: the log itself knows what was scored.

    request: the file that names them, as what ZenML records of a step must not hold the names of files.
    """
    from models.scoring.batch import ScoringRequest, score_request

    asked = ScoringRequest.model_validate_json(Path(request).read_bytes())
    with progress(f"score with {model_name}") as report:
        summary = score_request(Workspace.current(), model_name, asked, report)
    log_metadata(summary.model_dump(exclude={"log"}))
    return summary
