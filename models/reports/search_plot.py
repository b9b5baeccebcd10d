"""One plot of a search: the value of every trial over its number or over one parameter, as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from models.reports.svg import Scale, drawing, element, line, polyline, text, tick_text, ticks

_WIDTH, _HEIGHT = 300.0, 176.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 34.0, 12.0, 10.0, 34.0
# Where a logarithmic axis has its ticks within each power of ten.
_MANTISSAS = (1, 3)


@dataclass(frozen=True, slots=True)
class TrialDot:
    """x as the axis has it; kind decides how it is drawn; hint is shown under the pointer."""

    x: float
    y: float
    kind: Literal["best", "complete", "pruned"]
    hint: str


@dataclass(frozen=True, slots=True)
class Axis:
    """low and high in data units, log10 of them where the axis is logarithmic; marks: (position, text)."""

    title: str
    low: float
    high: float
    marks: Sequence[tuple[float, str]]


def number_axis(title: str, low: float, high: float) -> Axis:
    """A linear axis."""
    return Axis(title, low, high, [(mark, tick_text(mark)) for mark in ticks(low, high, 6)])


def whole_axis(title: str, high: int) -> Axis:
    """An axis of whole numbers from 1."""
    marks = ticks(1, max(high, 2), 6, whole=True)
    return Axis(title, 0.5, max(high, 2) + 0.5, [(mark, tick_text(mark)) for mark in marks])


def log_axis(title: str, low: float, high: float) -> Axis:
    """A logarithmic axis; its positions are log10 of the values."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    values = [mantissa * 10.0**power for power in range(first, last + 1) for mantissa in _MANTISSAS]
    inside = [value for value in values if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
    return Axis(title, math.log10(low), math.log10(high), [(math.log10(v), _short(v)) for v in inside])


def choice_axis(title: str, choices: Sequence[str]) -> Axis:
    """An axis with a place for each choice, at 0, 1, …"""
    return Axis(title, -0.5, len(choices) - 0.5, list(enumerate(choices)))


def trial_plot(
    dots: Sequence[TrialDot], axis: Axis, y_range: tuple[float, float], *, label: str, best_so_far: bool = False
) -> Markup:
    """Dots over the axis: filled where the trial was complete, a ring where it was stopped, accented for the best.

    best_so_far draws the highest value of complete trials up to each place of the axis.
    """
    x = Scale(axis.low, axis.high, _LEFT, _WIDTH - _RIGHT)
    y = Scale(*y_range, _HEIGHT - _BOTTOM, _TOP)
    parts: list[Markup] = []
    for mark in ticks(*y_range, 6):
        parts.append(line(x.start, y(mark), x.end, y(mark), "grid"))
        parts.append(text(x.start - 6, y(mark) + 3.5, tick_text(mark), "axis", "end"))
    for place, words in axis.marks:
        parts.append(line(x(place), y.start, x(place), y.start + 4, "base"))
        parts.append(text(x(place), y.start + 16, words, "axis", "middle"))
    parts.append(line(x.start, y.start, x.end, y.start, "base"))
    parts.append(text((x.start + x.end) / 2, _HEIGHT - 3, axis.title, "axis", "middle"))
    if best_so_far:
        steps = _staircase(dots, axis.high)
        parts.append(polyline([(x(a), y(b)) for a, b in steps], "curve training"))
    # The best is drawn last and so lies on top.
    for dot in sorted(dots, key=lambda dot: ("pruned", "complete", "best").index(dot.kind)):
        style, radius = {"best": ("dot validation", 5.0), "complete": ("dot training", 3.4)}.get(
            dot.kind, ("badge", 3.2)
        )
        hint = element("title", dot.hint)
        parts.append(element("circle", hint, cx=x(dot.x), cy=y(dot.y), r=radius, class_=style))
    return drawing(_WIDTH, _HEIGHT, label, parts)


def _staircase(dots: Sequence[TrialDot], end: float) -> list[tuple[float, float]]:
    """The corners of the line that rises where a complete trial is better than all before it."""
    corners: list[tuple[float, float]] = []
    for dot in sorted((dot for dot in dots if dot.kind != "pruned"), key=lambda dot: dot.x):
        if not corners:
            corners.append((dot.x, dot.y))
        elif dot.y > corners[-1][1]:
            corners += [(dot.x, corners[-1][1]), (dot.x, dot.y)]
    return [*corners, (end, corners[-1][1])] if corners else []


def _short(value: float) -> str:
    """0.003, 3e-5: whichever is shorter to read."""
    return f"{value:g}" if value >= 1e-3 else f"{value:.0e}".replace("e-0", "e-")
