"""The five plots of the reports as inline SVG: curves, ROC, dot and whisker, stacked bars, confusion matrix.

Pure functions from numbers to escaped markup. Colours, dashes and letter sizes come from the stylesheet by class.
Every line also differs by dash or carries its label, so that no plot needs its colours to be read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from models.evaluation.results import Estimate, RocCurve
from models.reports import formatting
from models.reports.svg import Scale, drawing, element, line, polyline, text, tick_text, ticks

_LETTER = 6.2  # mean advance of one digit or letter at the plots' 11-unit type
_LINE = 13.0  # distance between two lines of that type


@dataclass(frozen=True, slots=True)
class Curve:
    """One labelled line; y is None where the epoch measured nothing. dashed draws it broken."""

    label: str
    x: Sequence[float]
    y: Sequence[float | None]
    dashed: bool = False

    def points(self) -> list[tuple[float, float]]:
        """The finite points."""
        return [(x, y) for x, y in zip(self.x, self.y, strict=True) if y is not None and math.isfinite(y)]


@dataclass(frozen=True, slots=True)
class RocLine:
    """One ROC curve with the number that labels it; point is (false positive rate, sensitivity) or None."""

    number: int
    curve: RocCurve
    winner: bool
    point: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a stacked bar plot: counts in the order of the plot's keys."""

    title: str
    counts: Sequence[int]


def line_chart(
    curves: Sequence[Curve],
    *,
    label: str,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    best: float,
) -> Markup:
    """Curves over epochs with their names at their right ends and the kept epoch marked."""
    width, height, left, right, top, bottom = 300.0, 176.0, 30.0, 66.0, 20.0, 34.0
    x = Scale(*x_range, left, width - right)
    y = Scale(*y_range, height - bottom, top)
    parts = _grid(x, y, ticks(*x_range, 6, whole=True), ticks(*y_range, 6))
    middle = (left + width - right) / 2
    parts.append(text(middle, height - 4, "epoch", "axis", "middle"))
    parts.append(line(x(best), top, x(best), height - bottom, "best"))
    shift, anchor = (-4, "end") if x(best) > middle else (4, "start")
    parts.append(text(x(best) + shift, top - 7, f"kept: epoch {best:g}", "best-label", anchor))
    ends: list[tuple[float, float, Curve]] = []
    for curve in curves:
        points = [(x(a), y(b)) for a, b in curve.points()]
        style = "validation dashed" if curve.dashed else "training"
        if len(points) > 1:
            parts.append(polyline(points, f"curve {style}"))
        elif points:
            parts.append(element("circle", cx=points[0][0], cy=points[0][1], r=3, class_=f"dot {style}"))
        if points:
            ends.append((points[-1][1], points[-1][0], curve))
    if not ends:
        parts.append(text(middle, (top + height - bottom) / 2, "undefined at every epoch", "axis", "middle"))
    last = -math.inf
    for end_y, end_x, curve in sorted(ends, key=lambda end: end[:2]):
        last = max(end_y + 3.5, last + _LINE)
        parts.append(text(end_x + 6, last, curve.label, "validation" if curve.dashed else "training"))
    return drawing(width, height, label, parts)


def roc_plot(lines: Sequence[RocLine], *, label: str) -> Markup:
    """One class against the rest: a curve per architecture, labelled by number where it crosses its own ray.

    The rays leave the lower right corner, each at its own angle, so numbers part even where curves meet.
    """
    size, left, right, top, bottom = 300.0, 34.0, 10.0, 10.0, 38.0
    x = Scale(0, 1, left, size - right)
    y = Scale(0, 1, size - bottom, top)
    marks = [0, 0.25, 0.5, 0.75, 1]
    parts = _grid(x, y, marks, marks)
    parts.append(line(x(0), y(0), x(1), y(1), "chance"))
    parts.append(text(x(0.5), size - 5, "1 \N{MINUS SIGN} specificity", "axis", "middle"))
    # The winner is drawn last and so lies on top.
    for one in sorted(lines, key=lambda item: (item.winner, -item.number)):
        points = zip(one.curve.false_positive_rate, one.curve.sensitivity, strict=True)
        parts.append(polyline([(x(a), y(b)) for a, b in points], f"curve {series(one.number, one.winner)}"))
    for position, one in enumerate(lines):
        angle = math.radians(28 + 52 * (position + 1) / (len(lines) + 1))
        a, b = _on_ray(one.curve, angle)
        style = "badge winner" if one.winner else "badge"
        parts.append(element("circle", cx=x(a), cy=y(b), r=7.5, class_=style))
        parts.append(text(x(a), y(b) + 3.6, str(one.number), style, "middle"))
    for one in lines:
        if one.point is not None:
            a, b = x(one.point[0]), y(one.point[1])
            parts.append(element("path", d=f"M{a - 5:.1f} {b:.1f}h10M{a:.1f} {b - 5:.1f}v10", class_="operating"))
    return drawing(size, size, label, parts)


def line_sample(number: int, winner: bool) -> Markup:
    """A short piece of an architecture's line for the key beside a plot."""
    stroke = line(1, 5, 33, 5, f"curve {series(number, winner)}")
    return element("svg", stroke, viewBox="0 0 34 10", class_="sample", aria_hidden="true")


def series(number: int, winner: bool) -> str:
    """The classes of an architecture's line: the accent for the winner, a dashed grey for others."""
    return "winner" if winner else f"other dash-{(number - 1) % 5 + 1}"


def metric_axis(estimates: Sequence[Estimate]) -> tuple[float, float]:
    """A common axis for metrics in [0, 1], from the tenth below the lowest bound to the one above the highest."""
    values = [v for e in estimates for v in (e.value, e.low, e.high) if v is not None]
    if not values:
        return 0.0, 1.0
    low = math.floor(min(values) * 10 + 1e-9) / 10
    high = math.ceil(max(values) * 10 - 1e-9) / 10
    if high - low < 0.2:
        low = max(0.0, high - 0.2)
    return round(low, 1), round(max(high, low + 0.2), 1)


def dot_whisker(estimate: Estimate, axis: tuple[float, float], *, winner: bool) -> Markup:
    """A dot at the value and a line over the interval, for one row of a table; empty axis where undefined."""
    x, height = _row_scale(axis), 44.0
    style = "whisker winner" if winner else "whisker"
    parts = [line(x(t), 0, x(t), height, "grid") for t in ticks(*axis, 5)]
    if estimate.low is not None and estimate.high is not None:
        parts.append(line(x(estimate.low), 22, x(estimate.high), 22, style))
        parts.extend(line(x(end), 18.5, x(end), 25.5, style) for end in (estimate.low, estimate.high))
    if estimate.value is not None:
        parts.append(element("circle", cx=x(estimate.value), cy=22, r=4.5, class_=style))
    return drawing(160, height, formatting.estimate(estimate), parts, "plot row")


def dot_whisker_axis(axis: tuple[float, float]) -> Markup:
    """The tick labels above a column of dot-and-whisker rows."""
    x = _row_scale(axis)
    parts = [text(x(t), 11, tick_text(t), "axis", "middle") for t in ticks(*axis, 5)]
    return element("svg", *parts, viewBox="0 0 160 14", class_="plot row", aria_hidden="true")


def stacked_bars(bars: Sequence[Bar], keys: Sequence[str], *, label: str) -> Markup:
    """Horizontal bars on one scale; a segment carries its name or count where there is room for it."""
    width, row, thickness = 420.0, 46.0, 20.0
    longest = max((sum(bar.counts) for bar in bars), default=0) or 1
    x = Scale(0, longest, 0, width)
    parts: list[Markup] = []
    for index, bar in enumerate(bars):
        y = index * row
        parts.append(text(0, y + 13, bar.title, "bar-title"))
        parts.append(text(width, y + 13, formatting.count(sum(bar.counts)), "bar-total", "end"))
        start = 0
        for position, (key, number) in enumerate(zip(keys, bar.counts, strict=True)):
            if not number:
                continue
            left, right = x(start), x(start + number)
            fill = f"fill-{position % 6 + 1}"
            hint = element("title", f"{key}: {formatting.counted(number, 'image')}")
            # One unit of paper between segments keeps them apart without colour.
            length = max(1.0, right - left - 1)
            parts.append(element("rect", hint, x=left, y=y + 19, width=length, height=thickness, class_=fill))
            room, short = right - left - 10, formatting.count(number)
            full = f"{key} {short}"
            inside = next((words for words in (full, short) if len(words) * _LETTER <= room), "")
            if inside:
                parts.append(text(left + 5, y + 33, inside, f"on-{fill}"))
            start += number
    return drawing(width, max(row * len(bars) - 4, 1), label, parts)


def confusion_matrix(
    confusion: Sequence[Sequence[int]], titles: Sequence[str], *, label: str, winner: bool
) -> Markup:
    """Rows are the truth, columns the most probable class; shade is the share of the row, text count and share."""
    size = len(titles)
    cell, tall, left, top = 78.0, 48.0, 90.0, 52.0
    parts = [
        text(left + size * cell / 2, 10, "predicted", "axis", "middle"),
        text(0, top - 8, "truth", "axis"),
    ]
    for i, title in enumerate(titles):
        words = _two_lines(title, 13)
        for k, word in enumerate(words):
            above, beside = top - 8 - (len(words) - 1 - k) * 12, top + (i + 0.5) * tall + 4
            parts.append(text(left + (i + 0.5) * cell, above, word, "name", "middle"))
            parts.append(text(left - 8, beside + (k - (len(words) - 1) / 2) * 12, word, "name", "end"))
        total = sum(confusion[i])
        for j, number in enumerate(confusion[i]):
            share = number / total if total else 0.0
            box = {"x": left + j * cell + 1, "y": top + i * tall + 1, "width": cell - 2, "height": tall - 2}
            parts.append(element("rect", **box, class_="cell"))
            parts.append(
                element("rect", **box, fill_opacity=f"{share:.3f}", class_="shade winner" if winner else "shade")
            )
            middle, below = left + (j + 0.5) * cell, formatting.percent(share) if total else "no image"
            parts.append(text(middle, top + i * tall + 24, formatting.count(number), "number", "middle"))
            parts.append(text(middle, top + i * tall + 38, below, "share", "middle"))
    return drawing(left + size * cell, top + size * tall, label, parts)


def _grid(x: Scale, y: Scale, x_ticks: Sequence[float], y_ticks: Sequence[float]) -> list[Markup]:
    parts = [line(x.start, y(t), x.end, y(t), "grid") for t in y_ticks]
    parts.extend(text(x.start - 6, y(t) + 3.5, tick_text(t), "axis", "end") for t in y_ticks)
    parts.extend(text(x(t), y.start + 15, tick_text(t), "axis", "middle") for t in x_ticks)
    parts.append(line(x.start, y.start, x.end, y.start, "base"))
    return parts


def _row_scale(axis: tuple[float, float]) -> Scale:
    return Scale(*axis, 12, 148)


def _on_ray(curve: RocCurve, angle: float) -> tuple[float, float]:
    """Where the curve meets the ray that leaves (1, 0) to the upper left at `angle` above the base line.

    The curve rises monotonically from (0, 0), below every ray, to (1, 1), above every ray; one crossing exists.
    """

    def above(a: float, b: float) -> float:
        return b * math.cos(angle) - (1 - a) * math.sin(angle)

    points = list(zip(curve.false_positive_rate, curve.sensitivity, strict=True))
    for (a0, b0), (a1, b1) in pairwise(points):
        before, after = above(a0, b0), above(a1, b1)
        if before <= 0 <= after and after > before:
            share = -before / (after - before)
            return a0 + share * (a1 - a0), b0 + share * (b1 - b0)
    return points[-1]


def _two_lines(title: str, limit: int) -> list[str]:
    """A title on one or two lines of at most `limit` letters; what does not fit ends in an ellipsis."""
    first, second = "", ""
    for word in title.split():
        if not second and len(f"{first} {word}".strip()) <= limit:
            first = f"{first} {word}".strip()
        elif not first:
            first = word
        else:
            second = f"{second} {word}".strip()
    return [
        part if len(part) <= limit else part[: limit - 1] + "\N{HORIZONTAL ELLIPSIS}"
        for part in (first, second)
        if part
    ]
