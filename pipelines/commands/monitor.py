"""`lungline monitor`: judge the windows that closed, say what was found, and end with a code a machine can act on."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from data_contracts.errors import UsageProblem
from pipelines.commands.output import console, print_json, print_table
from pipelines.environment import prepare_environment

if TYPE_CHECKING:
    from data_contracts.drift.verdict import DriftVerdict
    from models.monitoring.due import Due

QUIET, ALARM, INSUFFICIENT = 0, 10, 11


@dataclass(frozen=True, slots=True)
class _Judged:
    """What this call came to. new: verdicts given now; last: the one that says how things stand, None without any."""

    model: str
    version: str
    new: list[DriftVerdict]
    last: DriftVerdict | None
    page: Path | None
    alarms: list[str]
    retraining: str
    run: str

    @property
    def code(self) -> int:
        first_issues = [one for one in self.new if one.window.issue == 1]
        said = {one.verdict for one in (*first_issues, *([self.last] if self.last else []))}
        if "alarm" in said or self.alarms:
            return ALARM
        return INSUFFICIENT if self.last is None or self.last.verdict == "insufficient" else QUIET


def monitor(
    model: str | None, window: str, since: str | None, until: str | None, labels: Path | None, as_json: bool
) -> int:
    """Judge and print. 0: quiet, or to be watched; 10: alarm, also of the registry's watchdog; 11: too few images."""
    from data_contracts.drift.windows import WindowLength

    length, days = WindowLength.parse(window), _days(since, until)
    environment = prepare_environment()
    from models.monitoring.due import due_windows
    from models.monitoring.labels import read_labels
    from models.monitoring.watched import watched_version
    from models.registry.follow import tracking_store
    from models.scoring.champion import only_model

    given = read_labels(labels) if labels else None
    name = model or only_model(tracking_store(environment.workspace))
    watched = watched_version(environment.workspace, name)
    today = datetime.now(UTC).date()
    due = due_windows(environment.workspace, watched, length, today=today, between_days=days, labels=given)
    for file in due.damaged:
        print(f"Note: {file} of the prediction log is damaged and was passed over.", file=sys.stderr)
    judged = _judge(name, watched.number, due, labels)
    if as_json:
        _print_json(judged, due)
    else:
        _print(judged, due, window)
    return judged.code


def _days(since: str | None, until: str | None) -> tuple[date, date] | None:
    """The days of one window; None where none is asked for. Raises UsageProblem where only one end can be read."""
    if since is None and until is None:
        return None
    try:
        return date.fromisoformat(since or ""), date.fromisoformat(until or "")
    except ValueError as error:
        raise UsageProblem(
            f"--since {since or 'nothing'} --until {until or 'nothing'} are no two days.",
            why="A window has a first day and a day on which it is over.",
            cure="For example --since 2026-03-01 --until 2026-03-08 for the first week of March.",
        ) from error


def _judge(name: str, version: str, due: Due, labels: Path | None) -> _Judged:
    """Run the pipeline where a window is due; else only the registry is looked at."""
    from data_contracts.workspace import Workspace

    last = due.last
    if not due.windows:
        from models.monitoring.registry_watch import registry_alarms

        alarms = registry_alarms(Workspace.current())
        verdict, folder = (last.verdict, last.folder) if last else (None, None)
        return _Judged(name, version, [], verdict, _page(folder), alarms, "", "")
    from pipelines.monitoring import run_monitoring

    result = run_monitoring(name, [window.place for window in due.windows], labels)
    given = list(zip(result.verdicts, result.folders, strict=True))
    if last is not None:
        given.append((last.verdict, last.folder))
    latest, folder = max(given, key=lambda one: (one[0].window.until, one[0].window.id, one[0].window.issue))
    return _Judged(
        name, version, result.verdicts, latest, _page(folder), result.alarms, result.retraining, result.run
    )


def _page(folder: Path | None) -> Path | None:
    return folder / "index.html" if folder else None


def _print(judged: _Judged, due: Due, window: str) -> None:
    from models.reports.monitoring_page import verdict_sentence

    out = console()
    if judged.new:
        rows = [
            (
                f"{one.window.since} – {one.window.until}",
                str(one.window.issue),
                f"{one.window.n:,}",
                one.verdict,
                ", ".join(layer.layer for layer in one.layers if layer.outcome == "exceeded"),
            )
            for one in judged.new
        ]
        print_table(("window (until excluded)", "#issue", "#images", "verdict", "over the limit"), rows)
        out.print()
    if judged.last is None:
        out.print(
            f"Insufficient: {due.waiting:,} images of version {judged.version} wait, and no window of {window} is "
            "complete.",
            markup=False,
            soft_wrap=True,
        )
    else:
        out.print(verdict_sentence(judged.last), markup=False, soft_wrap=True)
        for reason in judged.last.reasons:
            out.print(f"  {reason}", markup=False, soft_wrap=True)
        if not judged.new:
            out.print("No window has closed or changed since.", markup=False)
    for alarm in judged.alarms:
        out.print(f"ALARM  registry: {alarm}", markup=False, soft_wrap=True)
    if judged.retraining:
        out.print(f"\nretraining  {judged.retraining}", markup=False, soft_wrap=True)
    if judged.page:
        out.print(f"page        {judged.page}", markup=False, soft_wrap=True)


def _print_json(judged: _Judged, due: Due) -> None:
    print_json(
        {
            "model": judged.model,
            "version": judged.version,
            "verdicts": [one.model_dump(mode="json") for one in judged.new],
            "last": judged.last.model_dump(mode="json") if judged.last else None,
            "page": str(judged.page) if judged.page else None,
            "registry": judged.alarms,
            "retraining": judged.retraining,
            "waiting": due.waiting,
            "damaged": list(due.damaged),
            "run": judged.run,
            "code": judged.code,
        }
    )
