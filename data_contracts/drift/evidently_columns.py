"""Which columns of a layer Evidently can be given, cleaned and of bearable size; every column left out is a note."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_contracts.drift.contract import reasons
from data_contracts.drift.layers import Layer, columns_of, layer_table, scored
from data_contracts.drift.profile import ReferenceProfile

# A histogram of this many images is as good as one of all.
SAMPLE = 5_000
# Principal components drawn; they are ordered by the variance they hold.
COMPONENTS_SHOWN = 4
# A bar for each of 300 sources tells nobody anything.
MOST_CATEGORIES = 20
UNKNOWN, OTHERS = "unknown", "others"
REASON = "refused or in doubt"


@dataclass(frozen=True, slots=True)
class DrawnColumns:
    """The same columns of reference and window, none of them empty. notes: left-out column -> why."""

    reference: pd.DataFrame
    window: pd.DataFrame
    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    notes: dict[str, str]


def drawn_columns(
    layer: Layer, profile: ReferenceProfile, window: pd.DataFrame, embeddings: NDArray[np.float32] | None
) -> DrawnColumns:
    """What there is to draw of a layer.

    window: rows as in the prediction log; embeddings (m, d) of its m scored rows, in their order. A column that is
    empty, or is known on one side only, or has one and the same value on both, is left out with a note. At most
    SAMPLE rows of each side are kept, always the same ones.
    """
    tables = _tables(layer, profile, window, embeddings)
    notes: dict[str, str] = {}
    numeric, categorical = [], []
    for name in dict.fromkeys([*_expected(layer, profile), *tables[0].columns, *tables[1].columns]):
        reason = _left_out(name, *tables)
        if reason:
            notes[name] = reason
        elif pd.api.types.is_float_dtype(tables[0][name]):
            numeric.append(name)
        else:
            categorical.append(name)
    folded = {name: _few_categories(tables[0][name], tables[1][name]) for name in categorical}
    kept = [
        table[[*numeric, *categorical]].assign(**{name: columns[side] for name, columns in folded.items()})
        for side, table in enumerate(tables)
    ]
    return DrawnColumns(_sample(kept[0]), _sample(kept[1]), tuple(numeric), tuple(categorical), notes)


def _expected(layer: Layer, profile: ReferenceProfile) -> Sequence[str]:
    return columns_of(layer, profile.class_names, multi_label=profile.multi_label).names


def _tables(
    layer: Layer, profile: ReferenceProfile, window: pd.DataFrame, embeddings: NDArray[np.float32] | None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    if layer == "embedding":
        return _components(profile.projected, profile.frame), _window_components(profile, window, embeddings)
    if layer == "contract":
        return _refusals(profile.frame), _refusals(window)
    names, several = profile.class_names, profile.multi_label
    reference = layer_table(_ordered(profile.frame), layer, names, multi_label=several)
    rows = scored(window) if layer == "outputs" else window
    return reference, layer_table(_ordered(rows), layer, names, multi_label=several)


def _window_components(
    profile: ReferenceProfile, window: pd.DataFrame, embeddings: NDArray[np.float32] | None
) -> pd.DataFrame:
    rows = scored(window)
    if embeddings is None or embeddings.shape != (len(rows), len(profile.mean)):
        return pd.DataFrame()
    return _components(profile.project(embeddings), rows)


def _components(projected: NDArray[np.float32], frame: pd.DataFrame) -> pd.DataFrame:
    shown = min(COMPONENTS_SHOWN, projected.shape[1])
    columns = {f"component {k + 1}": projected[:, k].astype(np.float64) for k in range(shown)}
    return _ordered(pd.DataFrame(columns, index=frame.index).assign(image_id=frame["image_id"]))[list(columns)]


def _refusals(frame: pd.DataFrame) -> pd.DataFrame:
    why = pd.Series(reasons(frame), index=frame.index, dtype="str")
    return _ordered(frame.assign(**{REASON: why.where(why != "", "nothing")}))[[REASON]]


def _ordered(frame: pd.DataFrame) -> pd.DataFrame:
    """By image id: ids are hashes, so that the first so many rows are a sample without any preference."""
    return frame.sort_values("image_id", kind="stable") if "image_id" in frame else frame


def _left_out(name: str, reference: pd.DataFrame, window: pd.DataFrame) -> str:
    """Why a column cannot be compared by eye; "" where it can."""
    sides = {"the reference": reference, "the window": window}
    absent = [side for side, table in sides.items() if name not in table]
    if absent:
        return f"absent in {' and '.join(absent)}"
    empty = [side for side, table in sides.items() if not _known(table[name]).any()]
    if empty:
        return f"unknown for every image in {' and '.join(empty)}"
    values = set(reference[name][_known(reference[name])].unique()) | set(
        window[name][_known(window[name])].unique()
    )
    if len(values) == 1:
        return "one and the same value in every image"
    return ""


def _known(column: pd.Series) -> pd.Series:
    return column.notna() & (column.astype("str") != "")


def _few_categories(*columns: pd.Series) -> list[pd.Series]:
    """The columns with rare values folded into one, by how often they occur on both sides together."""
    named = [column.where(_known(column), UNKNOWN) for column in columns]
    counts = pd.concat(named).value_counts()
    common = sorted(counts.index, key=lambda value: (-counts[value], value))[:MOST_CATEGORIES]
    return [column.where(column.isin(common), OTHERS).str.replace("<", "‹", regex=False) for column in named]


def _sample(table: pd.DataFrame) -> pd.DataFrame:
    return table.head(SAMPLE).reset_index(drop=True)
