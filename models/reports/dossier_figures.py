"""Draws paired differences for the dossier: a dot, its interval, the zero line and the margin that was declared."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from models.evaluation.comparison import NonInferiority
from models.reports.svg import Scale, drawing, element, line, text, tick_text, ticks, widened

_WIDTH, _HEIGHT = 160.0, 44.0
_WIDEST = 0.5  # a difference beyond is drawn at the edge: its row says the number


def difference_axis(judged: Sequence[NonInferiority]) -> tuple[float, float]:
    """The axis that all rows share: every interval and every margin lies on it."""
    ends = [v for one in judged for v in (one.difference.low, one.difference.high, -one.margin) if v is not None]
    low, high = widened(min([*ends, -0.05]), max([*ends, 0.05]))
    return max(low, -_WIDEST), min(high, _WIDEST)


def difference_row(judged: NonInferiority, axis: tuple[float, float]) -> Markup:
    """One difference; challenger better to the right."""
    x, observed = _scale(axis), judged.difference
    place = [None if v is None else x(min(max(v, axis[0]), axis[1])) for v in (observed.low, observed.high)]
    style = "whisker winner" if judged.passed else "whisker"
    parts = [line(x(0), 0, x(0), _HEIGHT, "base"), line(x(-judged.margin), 0, x(-judged.margin), _HEIGHT, "best")]
    if place[0] is not None and place[1] is not None:
        parts.append(line(place[0], 22, place[1], 22, style))
        parts.extend(line(end, 18.5, end, 25.5, style) for end in place if end is not None)
    if observed.value is not None:
        value = min(max(observed.value, axis[0]), axis[1])
        parts.append(element("circle", cx=x(value), cy=22, r=4.5, class_=style))
    return drawing(_WIDTH, _HEIGHT, f"{judged.verdict}: {judged.why}", parts, "plot row")


def axis_row(axis: tuple[float, float]) -> Markup:
    """The tick labels above a column of such rows."""
    x = _scale(axis)
    marks = ticks(*axis, 6)
    parts = [text(x(t), 11, tick_text(t).replace("-", "\N{MINUS SIGN}"), "axis", "middle") for t in marks]
    return element("svg", *parts, viewBox="0 0 160 14", class_="plot row", aria_hidden="true")


def _scale(axis: tuple[float, float]) -> Scale:
    return Scale(*axis, 12, _WIDTH - 12)
