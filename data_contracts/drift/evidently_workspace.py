"""The Evidently workspace: one project per registered model, brought to what the verdicts on disk say.

The verdicts are the truth and the workspace a view of them: it may be lost, damaged or emptied, and is made again.
Every id in it follows from names, so that publishing twice changes nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from data_contracts.drift.dashboard_numbers import dashboard_numbers, facts_of, tags_of, window_end
from data_contracts.drift.evidently_panels import dashboard
from data_contracts.drift.evidently_report import FOLDER
from data_contracts.drift.history import Issued, VerdictHistory
from data_contracts.drift.layers import LAYERS
from data_contracts.errors import EnvironmentProblem
from data_contracts.locks import only_one

# Evidently's UI reads every snapshot when it starts. One of numbers has 15 kB, those of a window's columns 500 kB.
KEPT_WINDOWS = 750
KEPT_REPORTS = 30

_NAMES = uuid.UUID("5b1b9b1e-5c5a-5b0e-9c39-5f2c9b6f6a10")  # of this application; any fixed one does
DESCRIPTION = "Made from the verdicts of `lungline monitor`; what is changed here by hand is lost."
_NUMBERS = "numbers"
# A counter of Evidently says "no value" where a sum is 0; of this it says 0, as it rounds to two places.
_SHOWN_AS_ZERO = 1e-9
_PROJECT, _DASHBOARD, _SNAPSHOTS = "metadata.json", "dashboard.json", "snapshots"
_EXPECTED = {_PROJECT: {"id", "name"}, _DASHBOARD: {"tabs", "panels"}}
_OF_SNAPSHOT = {"timestamp", "metadata", "tags", "metric_results", "top_level_metrics", "widgets", "tests_widgets"}


@dataclass(frozen=True, slots=True)
class Published:
    """What a call changed. notes: what could not be shown, and why."""

    added: int
    removed: int
    notes: tuple[str, ...] = ()


def project_id(model: str) -> uuid.UUID:
    """The project of a registered model, the same on every machine."""
    return uuid.uuid5(_NAMES, model)


def publish(
    workspace: Path,
    history: VerdictHistory,
    *,
    kept_windows: int = KEPT_WINDOWS,
    kept_reports: int = KEPT_REPORTS,
    say: Callable[[str], None] = lambda line: None,
) -> Published:
    """Bring a model's project to what its verdicts say: the last issue of each of the last windows, and no older one.

    workspace: folder of Evidently's workspace, made where it is absent. The numbers of the last `kept_windows` windows
    are shown, and the layer reports of the last `kept_reports`. What is there already is left as it is; snapshots that
    somebody else put into the project are never touched. A verdict or report that cannot be read is noted.
    """
    workspace.parent.mkdir(parents=True, exist_ok=True)
    with only_one(workspace, say, "writing to the dashboard"):
        return _publish(workspace, history, kept_windows, kept_reports)


def bring_up_to_date(
    workspace: Path, monitoring: Path, say: Callable[[str], None] = lambda line: None
) -> tuple[str, Published]:
    """Publish what is missing for every model; a damaged workspace is set aside first and made again.

    monitoring: folder with one folder of verdicts per model. Returns what was damaged, "" where nothing was.
    """
    workspace.parent.mkdir(parents=True, exist_ok=True)
    with only_one(workspace, say, "writing to the dashboard"):
        damaged = damage(workspace)
        if damaged:
            say(f"the dashboard's data are damaged ({damaged}); they are made again from the verdicts")
            _set_aside(workspace)
        folders = sorted(folder for folder in monitoring.glob("*") if folder.is_dir() and folder.name[0] != ".")
        done = [_publish(workspace, VerdictHistory(folder), KEPT_WINDOWS, KEPT_REPORTS) for folder in folders]
    workspace.mkdir(exist_ok=True)
    notes = tuple(note for one in done for note in one.notes)
    return damaged, Published(sum(one.added for one in done), sum(one.removed for one in done), notes)


def rebuild(workspace: Path, monitoring: Path, say: Callable[[str], None] = lambda line: None) -> Published:
    """Set the workspace aside, whatever its state, and make it again from the verdicts."""
    workspace.parent.mkdir(parents=True, exist_ok=True)
    with only_one(workspace, say, "writing to the dashboard"):
        _set_aside(workspace)
    return bring_up_to_date(workspace, monitoring, say)[1]


def damage(workspace: Path) -> str:
    """Which file of the workspace would keep Evidently's UI from starting, "" where none would."""
    if workspace.exists() and not workspace.is_dir():
        return f"{workspace.name} is no folder"
    for project in sorted(workspace.glob("*/")):
        files = [project / name for name in (_PROJECT, _DASHBOARD) if (project / name).exists()]
        for file in [*files, *sorted((project / _SNAPSHOTS).glob("*.json"))]:
            if not _holds(file, _EXPECTED.get(file.name, _OF_SNAPSHOT)):
                return file.relative_to(workspace).as_posix()
    return ""


def _holds(file: Path, keys: set[str]) -> bool:
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and keys <= content.keys()


def _set_aside(workspace: Path) -> None:
    """Move the workspace to a neighbour, where what a person added to it by hand can still be found."""
    if not workspace.exists():
        return
    aside = workspace.with_name(f"{workspace.name}.set-aside")
    try:
        if aside.is_dir():
            shutil.rmtree(aside)
        os.replace(workspace, aside)
    except OSError as error:
        raise EnvironmentProblem(
            f"The damaged dashboard data in {workspace} cannot be moved away ({error.strerror}).",
            why="The dashboard cannot start on them.",
            cure="Move or delete the folder yourself; it is made again from the verdicts.",
        ) from error


def _publish(workspace: Path, history: VerdictHistory, kept_windows: int, kept_reports: int) -> Published:
    every, unreadable = history.issued()
    notes = [f"the verdict {history.folder.name}/{name} cannot be read" for name in unreadable]
    latest = history.latest()[-kept_windows:]
    if not latest:
        return Published(0, 0, tuple(notes))
    project = workspace / str(project_id(latest[-1].verdict.model))
    wanted: dict[Path, tuple[Issued, Path | None]] = {
        _place(project, issued, _NUMBERS): (issued, None) for issued in latest
    }
    for issued in latest[-kept_reports:] if kept_reports else []:
        wanted |= {_place(project, issued, file.stem): (issued, file) for file in _report_files(issued)}
    added = {path: content for path, content in wanted.items() if not path.exists()}
    # A file may be on its way out, but only one whose name we gave ourselves.
    known = {_place(project, issued, kind) for issued in every for kind in (_NUMBERS, *LAYERS)}
    removed = [path for path in sorted(known - wanted.keys()) if path.exists()]
    if added or removed or not (project / _PROJECT).exists() or not (project / _DASHBOARD).exists():
        with _staging(workspace) as put:
            _write_project(project, latest, put)
            for path, (issued, file) in added.items():
                text = _numbers_snapshot(issued) if file is None else _report_snapshot(issued, file)
                if text:
                    put(path, text)
                else:
                    notes.append(f"the report {file} of window {issued.verdict.window.id} cannot be read")
            for path in removed:
                path.unlink()
    return Published(len(added), len(removed), tuple(notes))


def _place(project: Path, issued: Issued, kind: str) -> Path:
    window = issued.verdict.window
    name = uuid.uuid5(uuid.UUID(project.name), f"{window.id}/{window.issue}/{kind}")
    return project / _SNAPSHOTS / f"{name}.json"


def _report_files(issued: Issued) -> list[Path]:
    return [file for file in sorted((issued.folder / FOLDER).glob("*.json")) if file.stem in LAYERS]


@contextmanager
def _staging(workspace: Path) -> Iterator[Callable[[Path, str], None]]:
    """Write files that appear whole. They are made outside of the workspace, because a running UI looks at whatever is
    created there, and does not notice a file that is renamed within."""
    staging = workspace.with_name(f".{workspace.name}.part")
    staging.mkdir(parents=True, exist_ok=True)

    def put(path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = staging / path.name
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)

    try:
        yield put
    except OSError as error:
        raise EnvironmentProblem(
            f"The dashboard's data cannot be written below {workspace} ({error.strerror or error}).",
            why="The dashboard would not show the last windows; the verdicts themselves are safe.",
            cure="See that there is room and that the folder may be written; the next run writes what is missing.",
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _write_project(project: Path, latest: Sequence[Issued], put: Callable[[Path, str], None]) -> None:
    """Name, description and panels, each written only where it changes."""
    from evidently.legacy.utils import NumpyEncoder
    from evidently.sdk.models import ProjectModel

    names = {name for issued in latest for name in dashboard_numbers(issued.verdict)}
    identity = uuid.UUID(project.name)
    about = ProjectModel(id=identity, name=latest[-1].verdict.model, description=DESCRIPTION)
    for name, model in ((_PROJECT, about), (_DASHBOARD, dashboard(identity, names))):
        text = json.dumps(model.dict(), cls=NumpyEncoder, indent=2)
        if not (project / name).exists() or (project / name).read_text(encoding="utf-8") != text:
            put(project / name, text)
    (project / _SNAPSHOTS).mkdir(exist_ok=True)


def _numbers_snapshot(issued: Issued) -> str:
    """The numbers of a window as a snapshot of Evidently."""
    from evidently import DataDefinition, Dataset, Report

    from data_contracts.drift.evidently_metrics import MonitoredNumber

    numbers = {name: value or _SHOWN_AS_ZERO for name, value in dashboard_numbers(issued.verdict).items()}
    row = Dataset.from_pandas(
        pd.DataFrame([numbers]), data_definition=DataDefinition(numerical_columns=list(numbers))
    )
    snapshot = Report([MonitoredNumber(number=name) for name in numbers]).run(
        row,
        None,
        timestamp=_end(issued),
        metadata=facts_of(issued.verdict),
        tags=tags_of(issued.verdict),
        name=f"{issued.verdict.window.id}: numbers",
    )
    return str(snapshot.dumps())


def _report_snapshot(issued: Issued, file: Path) -> str:
    """A layer report as it was written, dated like the window's numbers; "" where it cannot be read."""
    if not _holds(file, _OF_SNAPSHOT):
        return ""
    content: dict[str, Any] = json.loads(file.read_bytes())
    return json.dumps(content | {"timestamp": _end(issued).isoformat()})


def _end(issued: Issued) -> datetime:
    return window_end(issued.verdict, issued.looked_at.last.partition(" ")[0])
