"""Finds, on the reference alone, what the statistics come to without drift, and so where each layer's limit lies.

Windows are drawn from the reference by whole identity groups, and each is compared with the images that are *not* in
it. A window compared with the reference it was drawn from would be compared with itself: it would look more alike
than any new window can, the limit would come out too low and the monitor would cry wolf. Drawn without replacement,
window and rest are two disjoint samples of one population, as a later window and the reference are if nothing has
changed; their difference then has the same variance, sigma² (1/n + 1/m), as that of two independent samples. Whole
groups, because images of a patient are alike: a window of 300 images of 100 patients scatters more than one of 300
patients. Of one group a few images take part at most, in the reference and in windows: a reference cannot show what a
patient does to a window who is a fifth of it and has no like in the reference.

A window of more than half the reference cannot be drawn so. Then half is drawn, which is enough: every statistic
here is in a form whose distribution without drift does not depend on n and m (a p-value, or MMD² over 1/n + 1/m).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from data_contracts.drift.columns import common_values, surprises_of_numbers, surprises_of_texts
from data_contracts.drift.contract import is_refused_or_flagged
from data_contracts.drift.layers import TOLERANCES, Layer, columns_of, layer_table
from data_contracts.drift.mmd import resampled_discrepancies
from data_contracts.drift.profile import ReferenceProfile, groups_of
from data_contracts.drift.settings import MonitorSettings
from data_contracts.drift.statistics import Members, Numbers, more_than_before_p, surprise

FORMAT_VERSION: Literal[1] = 1

# A reference of fewer images or groups says too little of how windows scatter.
LEAST_REFERENCE_IMAGES = 60
LEAST_REFERENCE_GROUPS = 20
LARGEST_REFERENCE = 8_000  # images; of a larger one a sample of groups is resampled
LARGEST_KERNEL = 4_000  # rows on a side; memory grows with their square
_AT_ONCE = 250  # windows
_GRID = 1.15  # sizes that differ by less share their limits
_SCALES = (0.05, 2.0)
# The share of resampled windows at which a column's surprise is made to be what it should be.
_MATCHED = 0.01


class LayerNull(BaseModel):
    """One layer without drift.

    null: its statistic in each resampled window, falling. scales: column -> factor that makes its surprise the
    stated one where images depend on each other or values are tied.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    null: tuple[float, ...]
    scales: dict[str, float] = {}

    def limit(self, rate: float) -> float:
        """What the statistic exceeds in at most this share of windows without drift."""
        allowed = math.floor(rate * (len(self.null) + 1))
        return self.null[max(0, allowed - 1)]

    def p_value(self, value: float) -> float:
        """Share of windows without drift that show as much; the window itself counts as one of them."""
        return (1 + sum(drawn >= value for drawn in self.null)) / (len(self.null) + 1)


class Calibration(BaseModel):
    """The layers without drift. drawn: images of the resampled windows, at most; resamples: how many there were."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal[1] = FORMAT_VERSION
    drawn: int
    resamples: int
    layers: dict[Layer, LayerNull]


def too_small(profile: ReferenceProfile) -> str:
    """Why nothing can be compared with this reference; "" where something can."""
    images, groups = len(profile.frame), len(np.unique(groups_of(profile.frame)))
    if images >= LEAST_REFERENCE_IMAGES and groups >= LEAST_REFERENCE_GROUPS:
        return ""
    return (
        f"the reference holds {images} images of {groups} identity groups; at least {LEAST_REFERENCE_IMAGES} images "
        f"of {LEAST_REFERENCE_GROUPS} groups are needed to know how windows scatter"
    )


def limits_for(
    profile: ReferenceProfile, n: int, settings: MonitorSettings, cache: Path | None = None
) -> Calibration:
    """What windows of about n images come to without drift; the profile is not `too_small`.

    cache: folder in which results are kept by profile, size and settings; None keeps nothing. A damaged file there is
    made again.
    """
    drawn = _size(n, min(int(profile.compared.sum()), LARGEST_REFERENCE))
    made_from = [FORMAT_VERSION, profile.content_hash, drawn, settings.resamples, settings.seed, settings.layers]
    made_from += [sorted(TOLERANCES.items())]
    if cache is None:
        return _calibrated(profile, drawn, settings)
    path = cache / f"drift-limits-{hashlib.sha256(json.dumps(made_from).encode()).hexdigest()[:24]}.json"
    try:
        return Calibration.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        calibration = _calibrated(profile, drawn, settings)
    cache.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(calibration.model_dump_json(), encoding="utf-8")
    os.replace(part, path)
    return calibration


def draw_windows(groups: NDArray[np.int64], size: int, count: int, rng: np.random.Generator) -> Members:
    """(n, count) who is in which window: whole groups in random order while they fit into `size` images.

    A window holds at least one group, be it larger.
    """
    sizes = np.bincount(groups)
    order = rng.random((len(sizes), count)).argsort(axis=0)
    taken = sizes[order].cumsum(axis=0) <= size
    taken[0] = True
    chosen = np.empty_like(taken)
    np.put_along_axis(chosen, order, taken, axis=0)
    return chosen[groups]


def _size(n: int, reference: int) -> int:
    """The next smaller size of a geometric grid, at most half the reference."""
    step = math.floor(math.log(max(n, 1)) / math.log(_GRID) + 1e-9)
    return max(1, min(round(_GRID**step), reference // 2))


def _calibrated(profile: ReferenceProfile, drawn: int, settings: MonitorSettings) -> Calibration:
    rng = np.random.default_rng([settings.seed, drawn])
    rows = _sample(groups_of(profile.frame), profile.compared, rng)
    groups = pd.factorize(groups_of(profile.frame)[rows])[0].astype(np.int64)
    frame, projected = profile.frame.iloc[rows], profile.projected[rows]
    comparable = ~profile.fitted[rows] & np.isfinite(projected).all(axis=1)
    batches = list(_batches(groups, drawn, settings.resamples, rng))
    layers: dict[Layer, LayerNull] = {}
    for layer in settings.layers:
        if layer == "embedding":
            if projected.shape[1]:
                layers[layer] = _embedding(projected, comparable, batches, profile.bandwidth)
        elif layer == "contract":
            layers[layer] = _contract(frame, batches)
        else:
            table = layer_table(frame, layer, profile.class_names, multi_label=profile.multi_label)
            names = columns_of(layer, profile.class_names, multi_label=profile.multi_label)
            layers[layer] = _table(table, names.categorical, batches, drawn)
    return Calibration(drawn=drawn, resamples=settings.resamples, layers=layers)


def _sample(groups: NDArray[np.int64], compared: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int64]:
    """The places of the rows that windows are compared with; where there are too many, of a sample of groups."""
    rows = np.flatnonzero(compared)
    if len(rows) <= LARGEST_REFERENCE:
        return rows
    return rows[draw_windows(groups[rows], LARGEST_REFERENCE, 1, rng)[:, 0]]


def _batches(
    groups: NDArray[np.int64], drawn: int, count: int, rng: np.random.Generator
) -> Iterator[NDArray[np.bool_]]:
    for start in range(0, count, _AT_ONCE):
        yield draw_windows(groups, drawn, min(_AT_ONCE, count - start), rng)


def _table(table: pd.DataFrame, categorical: tuple[str, ...], batches: list[Members], drawn: int) -> LayerNull:
    """The largest surprise among the columns, each corrected first."""
    largest = np.zeros(sum(batch.shape[1] for batch in batches))
    scales = {}
    for name in table.columns:
        if name in categorical:
            values = table[name].to_numpy(dtype=object)
            common, columns = common_values(values, drawn), len(table.columns)
            both = [surprises_of_texts(values, batch, common=common, columns=columns) for batch in batches]
            found = np.concatenate([of_common for of_common, _ in both])
            largest = np.maximum(largest, np.concatenate([of_rare for _, of_rare in both]))
        else:
            numbers = table[name].to_numpy(np.float64)
            tolerance = TOLERANCES.get(name, 0.0)
            found = np.concatenate(
                [surprises_of_numbers(numbers, batch, tolerance=tolerance) for batch in batches]
            )
        scales[name] = _scale(found)
        largest = np.maximum(largest, found * scales[name])
    return LayerNull(null=_falling(largest), scales=scales)


def _scale(found: Numbers) -> float:
    """What the 99 % quantile of the surprises has to be multiplied by to become 2, as it should be.

    -log10 p of both tests grows linearly with a factor on their statistic, so one factor corrects the whole tail: a
    design effect (Rao and Scott 1981) measured where it matters. 1 for a column that shows next to nothing.
    """
    expected = -math.log10(_MATCHED)
    at_tail = float(np.quantile(found, 1 - _MATCHED))
    return 1.0 if at_tail < expected / 20 else float(np.clip(expected / at_tail, *_SCALES))


def _embedding(
    projected: NDArray[np.float32], comparable: NDArray[np.bool_], batches: list[Members], bandwidth: float
) -> LayerNull:
    usable = np.flatnonzero(comparable)
    usable = usable[np.linspace(0, len(usable) - 1, min(len(usable), LARGEST_KERNEL)).astype(np.int64)]
    found = []
    for batch in batches:
        members = batch[usable]
        n = members.sum(axis=0)
        m = len(usable) - n
        enough = (n > 1) & (m > 1)
        squares = resampled_discrepancies(projected[usable], members[:, enough], bandwidth)
        found.append(squares / (1 / n[enough] + 1 / m[enough]))
    return LayerNull(null=_falling(np.concatenate(found)))


def _contract(frame: pd.DataFrame, batches: list[Members]) -> LayerNull:
    flagged = is_refused_or_flagged(frame)
    found = []
    for batch in batches:
        n, now = batch.sum(axis=0), batch[flagged].sum(axis=0)
        found.append(surprise(more_than_before_p(now, n, flagged.sum() - now, len(flagged) - n)))
    return LayerNull(null=_falling(np.concatenate(found)))


def _falling(found: Numbers) -> tuple[float, ...]:
    return tuple(np.sort(found)[::-1].tolist())
