"""What the images of each source look like: one small histogram per source for every descriptor."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from models.reports.svg import Scale, drawing, element, line, text, tick_text, ticks

if TYPE_CHECKING:
    import pandas as pd

_BINS = 32
_SHOWN = (0.005, 0.995)  # quantiles between which a histogram is drawn: a few odd images would squeeze all others


class _Descriptor(NamedTuple):
    """A column, what a person calls it, its unit, and whether its axis is logarithmic."""

    column: str
    title: str
    unit: str
    logarithmic: bool = False


_DESCRIPTORS = (
    _Descriptor("mean", "Brightness", "mean grey level"),
    _Descriptor("std", "Contrast", "standard deviation, grey levels"),
    _Descriptor("p01", "Darkest 1 %", "grey level"),
    _Descriptor("p50", "Middle", "median grey level"),
    _Descriptor("p99", "Brightest 1 %", "grey level"),
    _Descriptor("sharpness", "Sharpness", "variance of the Laplacian", logarithmic=True),
    _Descriptor("border_energy", "Border", "standard deviation of the edges"),
    _Descriptor("width", "Width", "pixels", logarithmic=True),
    _Descriptor("height", "Height", "pixels", logarithmic=True),
)


class Histogram(BaseModel):
    """One descriptor, a row per source. edges: bins + 1 values, in the descriptor's unit.

    shares: source -> share of its images in each bin. medians: source -> median of all its images.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    unit: str
    logarithmic: bool
    edges: list[float]
    shares: dict[str, list[float]]
    medians: dict[str, float]


def descriptor_histograms(kept: pd.DataFrame) -> list[Histogram]:
    """The histograms of the kept images; descriptors that were not measured are left out."""
    found = (_histogram(kept, descriptor) for descriptor in _DESCRIPTORS)
    return [histogram for histogram in found if histogram is not None]


def _histogram(kept: pd.DataFrame, descriptor: _Descriptor) -> Histogram | None:
    values = kept[["source", descriptor.column]].dropna()
    if descriptor.logarithmic:
        values = values[values[descriptor.column] > 0]
    if values.empty:
        return None
    low, high = (float(v) for v in values[descriptor.column].quantile(_SHOWN))
    if not low < high:
        low, high = (low / 2, low * 2) if descriptor.logarithmic else (low - 1, low + 1)
    edges: NDArray[np.float64] = (np.geomspace if descriptor.logarithmic else np.linspace)(low, high, _BINS + 1)
    shares, medians = {}, {}
    for source, rows in values.groupby("source"):
        measured = rows[descriptor.column].to_numpy(np.float64)
        counts, _ = np.histogram(measured, edges)
        shares[str(source)] = [round(float(count) / len(measured), 5) for count in counts]
        medians[str(source)] = float(np.median(measured))
    return Histogram(
        title=descriptor.title,
        unit=descriptor.unit,
        logarithmic=descriptor.logarithmic,
        edges=[float(edge) for edge in edges],
        shares=shares,
        medians=medians,
    )


def ridges(histogram: Histogram) -> Markup:
    """The histograms one above the other on a common axis, each with its source, its median and its own scale."""
    width, row, top, tall = 300.0, 50.0, 18.0, 28.0
    low, high = histogram.edges[0], histogram.edges[-1]
    change = np.log10 if histogram.logarithmic else np.asarray
    x = Scale(float(change(low)), float(change(high)), 0, width)
    positions = [x(float(change(edge))) for edge in histogram.edges]
    marks = _marks(low, high, histogram.logarithmic)
    base = row * len(histogram.shares)
    parts = [line(x(float(change(mark))), top, x(float(change(mark))), base, "grid") for mark in marks]
    for index, (source, shares) in enumerate(histogram.shares.items()):
        floor = row * (index + 1)
        parts.append(_ridge(positions, shares, floor, tall / (max(shares) or 1)))
        parts.append(line(0, floor, width, floor, "base"))
        median = histogram.medians[source]
        middle = min(max(x(float(change(median))), 0), width)
        parts.append(line(middle, floor - tall, middle, floor, "median"))
        parts.append(text(0, floor - tall - 5, source, "name"))
        parts.append(text(width, floor - tall - 5, f"median {_short(median)}", "axis", "end"))
    for mark in marks:
        at = x(float(change(mark)))
        anchor = "start" if at < 10 else "end" if at > width - 10 else "middle"
        parts.append(text(at, base + 14, tick_text(mark), "axis", anchor))
    said = "; ".join(f"{source} {_short(median)}" for source, median in histogram.medians.items())
    label = f"{histogram.title} ({histogram.unit}) of the kept images by source, medians: {said}."
    return drawing(width, base + 18, label, parts)


def _ridge(positions: list[float], shares: list[float], floor: float, scale: float) -> Markup:
    """A filled outline with flat steps."""
    steps = [f"M{positions[0]:.1f} {floor:.1f}"]
    for left, right, share in zip(positions, positions[1:], shares, strict=False):
        height = floor - share * scale
        steps.append(f"L{left:.1f} {height:.1f}L{right:.1f} {height:.1f}")
    steps.append(f"L{positions[-1]:.1f} {floor:.1f}Z")
    return element("path", d="".join(steps), class_="ridge")


def _marks(low: float, high: float, logarithmic: bool) -> list[float]:
    """Round positions on the axis: 1, 2 and 5 times powers of ten where it is logarithmic, thinned to at most six."""
    if not logarithmic:
        return ticks(low, high, 5)
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        marks = [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]
        if len(marks) <= 6:
            return marks
    return marks


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
