"""Finds what lies in two splits at once, and stops the run that would measure on it."""

from __future__ import annotations

import pandas as pd

from data_contracts.catalog import Catalog
from data_contracts.errors import DataGateError

LEAK_COLUMNS = ("file_a", "split_a", "file_b", "split_b", "group_id", "shared")
_LISTED = 10

# What a pair may share, the strongest evidence first. The group should cover the other two; they are looked at
# themselves because a split made elsewhere may not know the group.
_SHARED = (("image_id", "picture"), ("patient", "patient"), ("group_id", "identity group"))


def leakage(catalog: Catalog) -> list[str]:
    """The group ids that are in more than one split, sorted."""
    frame = catalog.frame
    splits = frame[(frame["split"] != "") & (frame["group_id"] != "")].groupby("group_id")["split"].nunique()
    return sorted(splits.index[splits > 1])


def leaking_pairs(catalog: Catalog) -> pd.DataFrame:
    """All pairs of rows in different splits that show one picture, one patient or one identity group.

    Returns LEAK_COLUMNS, one row per pair, sorted by files. group_id: that of the first file. shared: "picture",
    "patient" or "identity group", the first that holds. Rows in no split take part in no pair.
    """
    rows = catalog.frame[catalog.frame["split"] != ""]
    found = [_pairs(rows, column, shared) for column, shared in _SHARED]
    pairs = pd.concat(found, ignore_index=True).drop_duplicates(["file_a", "file_b"])
    return pairs.sort_values(["file_a", "file_b"], ignore_index=True)


def require_no_leak(catalog: Catalog) -> None:
    """Raise DataGateError listing the leaking pairs where there are any."""
    pairs = leaking_pairs(catalog)
    if pairs.empty:
        return
    name = _names(catalog.frame)
    listed = [
        f"{name[file_a]} ({split_a}) = {name[file_b]} ({split_b}), same {shared}"
        for file_a, split_a, file_b, split_b, _, shared in pairs.head(_LISTED).to_numpy(dtype=str).tolist()
    ]
    more = f"; and {len(pairs) - _LISTED:,} more pairs" if len(pairs) > _LISTED else ""
    raise DataGateError(
        f"The split leaks: {len(pairs):,} pairs of images lie in two splits: {'; '.join(listed)}{more}.",
        why="The test would ask for patients or pictures that the model has seen, and its result would be too good.",
        cure="Do not edit splits; build the data again with `lungline data build RECIPE`.",
    )


def _pairs(rows: pd.DataFrame, column: str, shared: str) -> pd.DataFrame:
    """The pairs that share a known value of `column`."""
    known = rows[rows[column] != ""]
    torn = known.groupby(column)["split"].transform("nunique") > 1
    sides = known.loc[torn, list(dict.fromkeys(["file", "split", "group_id", column]))].assign(key=known[column])
    pairs = sides.merge(sides, on="key", suffixes=("_a", "_b"))
    pairs = pairs[(pairs["split_a"] != pairs["split_b"]) & (pairs["file_a"] < pairs["file_b"])]
    return pairs.assign(group_id=pairs["group_id_a"], shared=shared)[list(LEAK_COLUMNS)]


def _names(frame: pd.DataFrame) -> dict[str, str]:
    """What an error may call each file: sources that know patients write them into file names."""
    with_patients = set(frame.loc[frame["patient"] != "", "source"])
    columns = [frame[column].tolist() for column in ("file", "source", "image_id")]
    return {
        file: f"{source}, image {image_id[:12]}" if source in with_patients else file
        for file, source, image_id in zip(*columns, strict=True)
    }
