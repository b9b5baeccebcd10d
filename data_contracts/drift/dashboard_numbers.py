"""A verdict as the numbers that the dashboard shows over time, and the names they have there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from data_contracts.drift.layers import LAYERS
from data_contracts.drift.performance import ClassFigures
from data_contracts.drift.verdict import DriftVerdict

# A broken scanner gives fifty times the limit; uncut it would flatten every other window of the plot.
HIGHEST_RATIO = 5.0

LAYER, CLASS, REFUSED = "layer ", "predicted ", "refused: "
SENSITIVITY, ESTIMATED = "sensitivity ", "estimated sensitivity "
LIMIT, DRIFTED, REFUSALS = "limit", "share of drifted columns", "all refused"
JUDGED, EXCEEDED, EXPECTED, ALARMS = "windows judged", "over a limit", "expected by chance alone", "alarms"
INSUFFICIENT, IMAGES = "too few images", "images"


def dashboard_numbers(verdict: DriftVerdict) -> dict[str, float]:
    """Name -> number; what is undefined is absent, never 0.

    A layer's number is its statistic over its limit, at most HIGHEST_RATIO. Shares are of the window's images, or of
    its scored ones for predictions. The numbers of the false-alarm budget are to be summed over windows.
    """
    window, judged = verdict.window, verdict.outcome in ("quiet", "exceeded")
    numbers = {
        IMAGES: float(window.n),
        LIMIT: 1.0,
        JUDGED: float(judged),
        EXCEEDED: float(verdict.outcome == "exceeded"),
        EXPECTED: verdict.false_alarm_rate if judged else 0.0,
        ALARMS: float(verdict.verdict == "alarm"),
        INSUFFICIENT: float(verdict.outcome == "insufficient"),
    }
    for layer in verdict.layers:
        if layer.value is not None and layer.limit is not None and layer.limit > 0:
            numbers[LAYER + layer.layer] = min(layer.value / layer.limit, HIGHEST_RATIO)
    compared = [row for layer in verdict.layers for row in layer.features if row.value is not None]
    if compared:
        numbers[DRIFTED] = sum(row.drifted for row in compared) / len(compared)
    numbers |= _mix(verdict)
    if verdict.outcome_performance is not None:
        numbers |= _sensitivities(SENSITIVITY, verdict.outcome_performance.classes)
    if verdict.performance is not None:
        numbers |= _sensitivities(ESTIMATED, verdict.performance.classes)
    return numbers


def window_end(verdict: DriftVerdict, last_scored: str = "") -> datetime:
    """The last second of the window's last day; of a window of images the moment its last one was scored, if given."""
    if last_scored:
        return datetime.fromisoformat(last_scored).astimezone(UTC)
    return datetime.fromisoformat(verdict.window.until).replace(tzinfo=UTC) - timedelta(seconds=1)


def tags_of(verdict: DriftVerdict) -> list[str]:
    """What a point of the dashboard says when it is pointed at."""
    window = verdict.window
    return [f"window {window.id}", f"issue {window.issue}", f"version {verdict.version}", verdict.verdict]


def facts_of(verdict: DriftVerdict) -> dict[str, str]:
    """What is kept with each snapshot, to find it again."""
    window = verdict.window
    return {
        "window": window.id,
        "issue": str(window.issue),
        "version": verdict.version,
        "since": window.since,
        "until": window.until,
        "verdict": verdict.verdict,
    }


def ordered_layers(names: set[str]) -> list[str]:
    """The layers' numbers among these names, in the order in which layers are watched."""
    return [LAYER + layer for layer in LAYERS if LAYER + layer in names]


def _mix(verdict: DriftVerdict) -> dict[str, float]:
    numbers = {}
    refused, scored = sum(verdict.refused.values()), sum(verdict.predicted.values())
    if verdict.window.n:
        numbers[REFUSALS] = refused / verdict.window.n
        numbers |= {REFUSED + reason: count / verdict.window.n for reason, count in verdict.refused.items()}
    if scored:
        numbers |= {CLASS + name: count / scored for name, count in verdict.predicted.items()}
    return numbers


def _sensitivities(prefix: str, classes: tuple[ClassFigures, ...]) -> dict[str, float]:
    return {prefix + row.name: row.sensitivity.value for row in classes if row.sensitivity.value is not None}
