"""Watches the model in use: the registry, the windows of its prediction log, and the verdict on each."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from zenml import log_metadata, step
from zenml.types import HTMLString

from data_contracts.drift.verdict import DriftVerdict
from data_contracts.errors import EnvironmentProblem
from data_contracts.expectations.report import ValidationReport
from data_contracts.workspace import Workspace
from models.monitoring.scored_window import ScoredWindow
from steps.materializers import TableMaterializer
from steps.progress import say


@step(enable_cache=False)
def watch_registry() -> Annotated[list[str], "registry_alarms"]:
    """What the decision log and the registry disagree about."""
    from models.monitoring.registry_watch import registry_alarms

    found = registry_alarms(Workspace.current())
    log_metadata({"registry_alarms": len(found)})
    return found


@step(enable_cache=False, output_materializers=TableMaterializer)
def collect(model_name: str, place: dict[str, Any], labels: str = "") -> Annotated[ScoredWindow, "window"]:
    """The images of a window. place: JSON of where it lies in the log; labels: a CSV file, or ""."""
    from data_contracts.drift.windows import Place
    from models.monitoring.due import collect_window
    from models.monitoring.labels import read_labels
    from models.monitoring.watched import watched_version

    watched = watched_version(Workspace.current(), model_name)
    given = read_labels(Path(labels)) if labels else None
    window = collect_window(Workspace.current(), watched, Place.of_json(place), given)
    log_metadata({"images": len(window.rows), "version": window.version})
    return window


@step(enable_cache=False)
def check_contract(window: ScoredWindow) -> Annotated[list[ValidationReport], "contract"]:
    """The data contract of scored images; an empty list where none was scored."""
    from models.monitoring.conduct import check_contract as check
    from models.monitoring.watched import watched_version

    report = check(watched_version(Workspace.current(), window.model_name), window)
    return [report] if report else []


@step(enable_cache=False)
def judge(
    window: ScoredWindow, contract: list[ValidationReport], alarms: list[str]
) -> tuple[Annotated[DriftVerdict, "verdict"], Annotated[str, "folder"], Annotated[HTMLString, "page"]]:
    """The verdict, where it is kept, and its page. Never cached: the history itself says what was judged."""
    from models.monitoring.conduct import conduct
    from models.monitoring.watched import watched_version

    workspace = Workspace.current()
    done = conduct(
        workspace,
        watched_version(workspace, window.model_name),
        window,
        contract[0] if contract else None,
        alarms=alarms,
        say=say,
    )
    verdict = done.issued.verdict
    log_metadata(
        {
            "model": verdict.model,
            "version": verdict.version,
            "window": verdict.window.model_dump(),
            "verdict": verdict.verdict,
            "severity": verdict.severity,
            "layers": {layer.layer: layer.outcome for layer in verdict.layers},
        }
    )
    return verdict, str(done.issued.folder), HTMLString(done.page)


@step(enable_cache=False)
def follow_up(model_name: str, verdicts: list[DriftVerdict]) -> Annotated[str, "retraining"]:
    """Bring the dashboard and the retraining journal to what the verdicts say; gives the state of retraining."""
    from data_contracts.drift.evidently_workspace import publish
    from models.monitoring.due import history_of
    from models.monitoring.watched import watched_version
    from models.retraining.trigger import note_verdict

    workspace = Workspace.current()
    settings = watched_version(workspace, model_name).retraining
    states = [note_verdict(workspace, model_name, one, settings, datetime.now(UTC)).state for one in verdicts]
    try:
        for note in publish(workspace.evidently, history_of(workspace, model_name), say=say).notes:
            say(f"dashboard: {note}")
    except EnvironmentProblem as problem:  # the verdicts are kept; the next run brings the dashboard up to date
        say(f"dashboard: {problem.what}")
    return states[-1] if states else ""
