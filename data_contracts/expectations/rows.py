"""Which rows of a catalog a check looks at."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Literal

from data_contracts.catalog import DUPLICATE, KEPT, QUARANTINED

if TYPE_CHECKING:
    import pandas as pd

# labelled: kept and with a label; internal: labelled and not of a source that is only measured on; unused: kept and
# without a label; not_labelled: all that are not labelled; in_a_split: with any split, whether or not they should
# have one; train, val, test and external are labelled rows of that split; learned: of train or val.
Rows = Literal[
    "all",
    "kept",
    "quarantined",
    "duplicate",
    "labelled",
    "internal",
    "unused",
    "not_labelled",
    "in_a_split",
    "train",
    "val",
    "test",
    "external",
    "learned",
]


def select(frame: pd.DataFrame, rows: Rows, external_sources: Collection[str] = ()) -> pd.DataFrame:
    """The rows of a catalog's frame; raises KeyError where the column that decides is missing."""
    if rows == "all":
        return frame
    if rows == "in_a_split":
        return frame[frame["split"] != ""]
    if rows in (KEPT, QUARANTINED, DUPLICATE):
        return frame[frame["status"] == rows]
    kept = frame["status"] == KEPT
    labelled = kept & (frame["label"] != "")
    if rows == "labelled":
        return frame[labelled]
    if rows == "not_labelled":
        return frame[~labelled]
    if rows == "unused":
        return frame[kept & ~labelled]
    if rows == "internal":
        outside = frame["source"].isin(external_sources) | (frame["split"] == "external")
        return frame[labelled & ~outside]
    return frame[labelled & frame["split"].isin(["train", "val"] if rows == "learned" else [rows])]


def of_class(frame: pd.DataFrame, class_name: str) -> pd.DataFrame:
    """The rows whose label is the class or, in a multi-label task, names it."""
    shows = {cell: class_name in cell.split("|") for cell in frame["label"].unique()}
    return frame[frame["label"].map(shows).astype(bool)]


def one_per_label(frame: pd.DataFrame) -> pd.DataFrame:
    """A row for each class that an image of a multi-label task shows."""
    return frame.assign(label=frame["label"].str.split("|")).explode("label", ignore_index=True)
