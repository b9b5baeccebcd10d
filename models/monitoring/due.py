"""Which windows of the prediction log are to be judged now: those that closed, and those that changed since."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import pandas as pd

from data_contracts.drift.history import Issued, LookedAt, VerdictHistory
from data_contracts.drift.windows import (
    CAUGHT_UP,
    CutWindow,
    Kind,
    Place,
    WindowLength,
    at,
    between,
    closed_windows,
)
from data_contracts.workspace import Workspace
from models.monitoring.labels import LABELS, joined, labels_hash, no_labels, read_labels
from models.monitoring.scored_window import ScoredWindow
from models.monitoring.watched import WatchedVersion
from models.scoring.log_reading import Days, LogReading
from models.scoring.prediction_log import PredictionLog

_DAY = timedelta(days=1)
LATE_DAYS = 92  # images that arrive later than that are logged, and their window is not judged anew


@dataclass(frozen=True, slots=True)
class Due:
    """What there is to judge. windows: earliest first. last: the latest verdict of the asked series, if there is one.

    waiting: images that are in no closed window yet. damaged: files of the log that could not be read.
    """

    windows: list[ScoredWindow]
    last: Issued | None
    waiting: int
    damaged: tuple[str, ...]


def history_of(workspace: Workspace, model_name: str) -> VerdictHistory:
    """Where the verdicts about a model are kept."""
    return VerdictHistory(workspace.monitoring / model_name)


def due_windows(
    workspace: Workspace,
    watched: WatchedVersion,
    length: WindowLength,
    *,
    today: date,
    between_days: tuple[date, date] | None = None,
    labels: pd.DataFrame | None = None,
) -> Due:
    """The windows of the watched version to judge.

    length: of the windows that follow each other. between_days: exactly this window instead, closed or not. today:
    UTC. labels: image_id and label; a window judged without them is judged anew. Raises UsageProblem for days that
    make no window.
    """
    log, given = PredictionLog.of(workspace, watched.model_name), no_labels() if labels is None else labels
    judged = history_of(workspace, watched.model_name).latest(watched.number)
    if between_days is not None:
        return _exactly(watched, log, between_days, judged, given)
    series = [one for one in judged if length.fits(one.place)]
    earliest = _earliest(length, series, today)
    reading = _places(log, watched, length.kind, Days(earliest))
    frame = reading.frame
    closed = closed_windows(frame, watched.number, length, today=today, judged=[one.place for one in series])
    again = [
        _ready(watched, log, at(frame, watched.number, one.place), one, given, reading)
        for one in series
        if earliest is None or one.place.since >= earliest
    ]
    new = [_ready(watched, log, window, None, given, reading) for window in closed]
    found = [one for one in (*again, *new) if one]
    return Due(
        sorted(found, key=lambda one: (one.place.until, one.place.last)),
        series[-1] if series else None,
        _waiting(frame, closed, series),
        tuple(sorted({*reading.damaged, *(file for one in found for file in one.looked_at.damaged)})),
    )


def collect_window(
    workspace: Workspace, watched: WatchedVersion, place: Place, labels: pd.DataFrame | None = None
) -> ScoredWindow:
    """The window at a place that `due_windows` named, with the rows that are in the log now."""
    log, days = PredictionLog.of(workspace, watched.model_name), Days(place.since, place.until)
    reading = _places(log, watched, place.kind, days)
    window = at(reading.frame, watched.number, place)
    judged = history_of(workspace, watched.model_name).latest(watched.number)
    before = next((one for one in judged if one.place.id == place.id), None)
    given = no_labels() if labels is None else labels
    return _scored_window(watched, log, window, joined(_labels_kept(before), given), reading)


def _places(log: PredictionLog, watched: WatchedVersion, kind: Kind, days: Days) -> LogReading:
    """Windows of days are told by when images were taken, windows of images by when they were scored."""
    if kind == "days":
        return log.places(version=watched.number, taken=days)
    return log.places(version=watched.number, scored=days)


def _exactly(
    watched: WatchedVersion, log: PredictionLog, days: tuple[date, date], judged: list[Issued], given: pd.DataFrame
) -> Due:
    reading = _places(log, watched, "days", Days(*days))
    window = between(reading.frame, watched.number, *days)
    before = next((one for one in judged if one.place.id == window.place.id), None)
    found = _ready(watched, log, window, before, given, reading)
    return Due([found] if found else [], before, 0, tuple(found.looked_at.damaged) if found else reading.damaged)


def _earliest(length: WindowLength, series: list[Issued], today: date) -> date | None:
    """From which day on the log is looked at; None for all of it, to find where the first windows of images begin."""
    if length.kind == "count" and not series:
        return None
    days = LATE_DAYS if length.kind == "count" else max(LATE_DAYS, (CAUGHT_UP + 1) * length.size)
    earliest = today - timedelta(days=min(days, today.toordinal() - 1))
    # What follows the last window of images is never passed over.
    return earliest if length.kind == "days" else min(earliest, max(one.place.until for one in series) - _DAY)


def _ready(
    watched: WatchedVersion,
    log: PredictionLog,
    window: CutWindow,
    before: Issued | None,
    given: pd.DataFrame,
    reading: LogReading,
) -> ScoredWindow | None:
    """The window with all labels that are known of it; None where its verdict was given on just this.

    A window that lost rows, because a file of the log was damaged since, keeps the verdict it has.
    """
    labels = joined(_labels_kept(before), given)
    if before is not None:
        if len(window.rows) < before.looked_at.rows:
            return None
        same_labels = labels_hash(labels, window.rows) == before.looked_at.labels
        if same_labels and before.looked_at.content == window.content:
            return None
    found = _scored_window(watched, log, window, labels, reading)
    return None if before is not None and len(found.rows) < before.looked_at.rows else found


def _labels_kept(before: Issued | None) -> pd.DataFrame:
    """Those an earlier verdict on the window rests on."""
    kept = before.folder / LABELS if before else None
    return read_labels(kept) if kept and kept.is_file() else no_labels()


def _scored_window(
    watched: WatchedVersion, log: PredictionLog, window: CutWindow, labels: pd.DataFrame, reading: LogReading
) -> ScoredWindow:
    """The window with its whole rows. What cannot be read of them is missing, and its file named."""
    whole = log.rows(window.rows)
    looked_at = LookedAt.of(
        window,
        labels=labels_hash(labels, window.rows),
        duplicates=reading.duplicates,
        damaged=sorted({*reading.damaged, *whole.damaged}),
    )
    found = CutWindow(window.place, whole.frame)
    return ScoredWindow.of(watched.model_name, watched.bundle, watched.number, found, looked_at, labels)


def _waiting(frame: pd.DataFrame, closed: list[CutWindow], judged: list[Issued]) -> int:
    """Images after the last window, judged or about to be."""
    places = [*(one.place for one in judged), *(window.place for window in closed)]
    if not places:
        return len(frame)
    last = max(places, key=lambda place: (place.until, place.last))
    if last.kind == "days":
        return int((frame["taken_on"] >= last.until.isoformat()).sum())
    return int((frame["scored_at"] + " " + frame["image_key"] > last.last).sum())
