"""The layers that are watched, the columns that belong to each, and the table of a layer cut from scored images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np
import pandas as pd
from scipy.special import entr

from data_contracts.expectations.window import DESCRIPTORS, probability_columns

Layer = Literal["acquisition", "descriptors", "embedding", "outputs", "contract"]
LAYERS: tuple[Layer, ...] = get_args(Layer)

TITLES: dict[Layer, str] = {
    "acquisition": "how the images were taken and sent",
    "descriptors": "what the images look like",
    "embedding": "what the network sees in them",
    "outputs": "what the model answers",
    "contract": "what may not be scored",
}

# By so much a whole window may be shifted before it counts: a change of brightness by one percent is one of 2.55 grey
# levels, and harms nothing.
TOLERANCES: Mapping[str, float] = MappingProxyType(
    {**dict.fromkeys(("mean", "std", "p01", "p50", "p99", "border_energy"), 3.0), "chest_likeness": 0.01}
)
# The share of pixels at 0 or 255 is not judged: one grey level of offset empties it in every image at once.
_JUDGED_DESCRIPTORS = tuple(name for name in DESCRIPTORS if name != "saturated")

ASPECT = "aspect"  # width / height
ENTROPY = "entropy"  # of the answer, in nats; of several independent classes the mean of their entropies
PREDICTED = "predicted"  # the most probable class


@dataclass(frozen=True, slots=True)
class LayerColumns:
    """The columns of a layer, in order. categorical ones are text, "" unknown; numeric ones floats, NaN unknown."""

    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.numeric, *self.categorical)


def columns_of(layer: Layer, class_names: Sequence[str], *, multi_label: bool = False) -> LayerColumns:
    """What is compared in a layer; nothing in "embedding", which is vectors, and "contract", which is counts."""
    if layer == "acquisition":
        return LayerColumns(("width", "height", ASPECT, "age"), ("mode", "format", "view", "source", "sex"))
    if layer == "descriptors":
        return LayerColumns((*_JUDGED_DESCRIPTORS, "chest_likeness"))
    if layer == "outputs":
        predicted = () if multi_label else (PREDICTED,)
        return LayerColumns((*probability_columns(class_names), ENTROPY), predicted)
    return LayerColumns()


def layer_table(
    frame: pd.DataFrame, layer: Layer, class_names: Sequence[str], *, multi_label: bool = False
) -> pd.DataFrame:
    """The columns of a layer that the frame has or that can be made of it, clean and in order; the rows as given.

    numeric: float64, with NaN for whatever is no finite number and for sizes of 0. categorical: text, with "" for
    whatever is unknown. Columns that the frame lacks are absent.
    """
    columns = columns_of(layer, class_names, multi_label=multi_label)
    made = {name: _numbers(frame[name]) for name in columns.numeric if name in frame}
    for name in ("width", "height"):
        if name in made:
            made[name] = made[name].where(made[name] > 0)
    if layer == "acquisition" and {"width", "height"} <= made.keys():
        made[ASPECT] = made["width"] / made["height"]
    made |= {name: _texts(frame[name]) for name in columns.categorical if name in frame}
    if layer == "outputs" and set(probability_columns(class_names)) <= made.keys():
        made |= _answers(made, class_names, multi_label=multi_label)
    return pd.DataFrame({name: made[name] for name in columns.names if name in made}, index=frame.index)


def refused(frame: pd.DataFrame) -> pd.Series:
    """(n,) bool, with the index of the frame: the images that were not scored. None where no column says so."""
    if "refused" not in frame:
        return pd.Series(False, index=frame.index)
    return _texts(frame["refused"]) != ""


def scored(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows that were scored."""
    return frame[~refused(frame)]


def _answers(
    table: dict[str, pd.Series], class_names: Sequence[str], *, multi_label: bool
) -> dict[str, pd.Series]:
    probabilities = pd.DataFrame({name: table[name] for name in probability_columns(class_names)})
    p = np.clip(probabilities.to_numpy(np.float64), 0.0, 1.0)
    index = probabilities.index
    if multi_label:
        return {ENTROPY: pd.Series((entr(p) + entr(1 - p)).mean(axis=1), index=index)}
    known = ~np.isnan(p).any(axis=1)
    best = np.where(known, np.where(known[:, None], p, 0.0).argmax(axis=1), -1)
    names = np.array([*class_names, ""], dtype=object)[best]
    return {
        ENTROPY: pd.Series(entr(p).sum(axis=1), index=index),
        PREDICTED: pd.Series(names, index=index, dtype="str"),
    }


def _numbers(column: pd.Series) -> pd.Series:
    numbers = pd.to_numeric(column, errors="coerce").astype("float64")
    return numbers.where(np.isfinite(numbers))


def _texts(column: pd.Series) -> pd.Series:
    return column.astype("str").where(column.notna(), "").str.strip()
