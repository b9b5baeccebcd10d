"""Small pieces of SVG: escaped elements, numbers with fixed places, scales and ticks.

All plots are text built here, so equal input gives equal bytes and no plotting library is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup

_NO_RANGE = 1e-6  # values closer than this are drawn as equal: no tick could tell them apart


def coordinate(value: float) -> str:
    """A position in user units with at most one decimal, so that equal plots are equal bytes."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def element(tag: str, *children: str, **attributes: str | float) -> Markup:
    """One element; attribute names write _ for - and drop a trailing _ (class_).

    Values and text children are escaped, children that are Markup are not.
    """
    written = Markup("").join(
        Markup(' {}="{}"').format(
            name.rstrip("_").replace("_", "-"), value if isinstance(value, str) else coordinate(value)
        )
        for name, value in attributes.items()
    )
    if not children:
        return Markup("<{}{}/>").format(tag, written)
    return Markup("<{0}{1}>{2}</{0}>").format(tag, written, Markup("").join(children))


def text(x: float, y: float, content: str, class_: str = "", anchor: str = "start") -> Markup:
    """A label with its baseline at y; anchor is start, middle or end."""
    return element("text", content, x=x, y=y, text_anchor=anchor, class_=class_)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def polyline(points: Iterable[tuple[float, float]], class_: str) -> Markup:
    """An open line through the points, in order."""
    path = " ".join(f"{coordinate(x)},{coordinate(y)}" for x, y in points)
    return element("polyline", points=path, class_=class_)


def drawing(width: float, height: float, label: str, parts: Iterable[Markup], class_: str = "plot") -> Markup:
    """A scalable figure with a text alternative; `width` is also the width at which its letters are 1:1."""
    box = f"0 0 {coordinate(width)} {coordinate(height)}"
    return element("svg", *parts, viewBox=box, class_=class_, role="img", aria_label=label)


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear map from [low, high] in data to [start, end] in user units."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def ticks(low: float, high: float, at_most: int = 5, whole: bool = False) -> list[float]:
    """Round positions (1, 2 or 5 times a power of ten) within [low, high]; whole numbers only if `whole`."""
    step = _round_step((high - low) / max(1, at_most - 1))
    if whole:
        step = max(1.0, step)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def tick_text(value: float) -> str:
    """A tick as short as it can be: 0, 0.5, 20."""
    return f"{value:.4g}"


def widened(low: float, high: float) -> tuple[float, float]:
    """The smallest round range that holds [low, high] and is never empty."""
    if high - low < _NO_RANGE:
        low, high = low - 0.5, high + 0.5
    step = _round_step((high - low) / 4)
    return round(math.floor(low / step + 1e-9) * step, 10), round(math.ceil(high / step - 1e-9) * step, 10)


def _round_step(at_least: float) -> float:
    """The smallest 1, 2 or 5 times a power of ten that is not below `at_least` > 0."""
    power = 10.0 ** math.floor(math.log10(at_least))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= at_least * (1 - 1e-9))
