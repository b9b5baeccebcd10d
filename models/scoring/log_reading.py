"""Reads the files of a prediction log: first where rows lie, which is cheap, then those rows as they were written."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from models.scoring.log_rows import frame_of
from models.scoring.partition import SUFFIX, DamagedPartition, read_columns, read_partition, replaced_by

DAY_FOLDER = "day="
# Which image a row is about, and where in the log it lies.
PLACE = ("image_key", "image_id", "taken_on", "scored_at", "version", "bundle")
_IMAGE = ["bundle", "image_key"]
_ROW = [*_IMAGE, "scored_at"]
_ORDER = ["taken_on", "scored_at", "image_key"]


@dataclass(frozen=True, slots=True)
class Days:
    """UTC days from `since` on, `until` excluded; None where nothing bounds them."""

    since: date | None = None
    until: date | None = None

    def within(self, days: pd.Series) -> pd.Series:
        """For each day, written YYYY-MM-DD, whether it is one of them."""
        inside = pd.Series(True, index=days.index)
        if self.since is not None:
            inside &= days >= self.since.isoformat()
        return inside if self.until is None else inside & (days < self.until.isoformat())


ALWAYS = Days()


@dataclass(frozen=True, slots=True)
class LogReading:
    """What the log holds. frame: see `log_columns`, sorted by (taken_on, scored_at, image_key), each image once for
    each bundle. damaged: files that were passed over, as day folder and name. duplicates: rows of the frame's images
    that were left out because the image had been scored before by the same bundle.
    """

    frame: pd.DataFrame
    damaged: tuple[str, ...]
    duplicates: int


def read_places(folder: Path, version: str | None, taken: Days, scored: Days) -> LogReading:
    """The rows of a version, or of all, that were taken and scored on these days, with the columns PLACE only.

    Damage outside these columns is not seen. Raises FileNotFoundError where a file was merged meanwhile, other
    OSErrors where the disk refuses.
    """
    files = _files(folder, scored)
    # An image may have been answered before, on another day: rows about the same images are looked at everywhere.
    images = None if taken == ALWAYS else _images_taken(files, version, taken)
    tables, damaged = _tables(files, PLACE, images)
    frame = pa.concat_tables(table.select(PLACE) for table in tables).to_pandas() if tables else pd.DataFrame()
    frame = frame.reindex(columns=list(PLACE)).astype("str")
    if version is not None:
        frame = frame[frame["version"] == version]
    repeated = frame.sort_values("scored_at", kind="stable").duplicated(_IMAGE).sort_index()
    wanted = taken.within(frame["taken_on"])
    return LogReading(_in_order(frame[wanted & ~repeated]), damaged, int((wanted & repeated).sum()))


def read_rows(folder: Path, places: pd.DataFrame) -> LogReading:
    """The whole rows at those places. Files are read only where they hold one of them. Raises as `read_places`."""
    days = set(places["scored_at"].str[:10])
    files = [path for path in _files(folder, ALWAYS) if _day(path.parent) in days]
    tables, damaged = _tables(files, None, pa.array(places["image_key"].unique().tolist(), pa.string()))
    frame = frame_of(tables)
    asked = pd.MultiIndex.from_frame(frame[_ROW]).isin(pd.MultiIndex.from_frame(places[_ROW]))
    return LogReading(_in_order(frame[asked].drop_duplicates(_ROW)), damaged, 0)


def day_folder(folder: Path, day: str) -> Path:
    """Where what was scored on a UTC day lies."""
    return folder / f"{DAY_FOLDER}{day}"


def _files(folder: Path, scored: Days) -> list[Path]:
    found = pd.Series(sorted(folder.glob(f"{DAY_FOLDER}*/*{SUFFIX}")), dtype="object")
    if scored == ALWAYS or found.empty:
        return list(found)
    return list(found[scored.within(found.map(lambda path: _day(path.parent)).astype("str"))])


def _day(folder: Path) -> str:
    return folder.name.removeprefix(DAY_FOLDER)


def _images_taken(files: list[Path], version: str | None, taken: Days) -> pa.Array:
    """Keys of the images that were taken on these days. What is damaged is left to whoever reads it next."""
    keys: list[pa.ChunkedArray] = []
    for path in files:
        try:
            table = read_columns(path, ["version", "taken_on"])
            inside = taken.within(table["taken_on"].to_pandas()).to_numpy()
            if version is not None:
                inside = inside & pc.equal(table["version"], version).to_numpy()
            if inside.any():
                keys.append(read_columns(path, ["image_key"])["image_key"].filter(pa.array(inside)))
        except DamagedPartition:
            continue
    chunks = [chunk for key in keys for chunk in key.chunks]
    return pc.unique(pa.chunked_array(chunks, pa.string()))


def _tables(
    files: list[Path], columns: tuple[str, ...] | None, images: pa.Array | None
) -> tuple[list[pa.Table], tuple[str, ...]]:
    """Of each sound file the rows about these images, or all; and the names of the files that are damaged.

    columns: None for all, which sees every damage of a file.
    """
    damaged, replaced, found = [], set(), {}
    for path in files:
        try:
            if images is not None and not pc.any(_about(read_columns(path, ["image_key"]), images)).as_py():
                continue
            table = read_partition(path) if columns is None else read_columns(path, columns)
        except DamagedPartition:
            damaged.append(f"{path.parent.name}/{path.name}")
            continue
        replaced |= replaced_by(table)
        found[path.name] = table if images is None else table.filter(_about(table, images))
    return [table for name, table in found.items() if name not in replaced], tuple(damaged)


def _about(table: pa.Table, images: pa.Array) -> pa.ChunkedArray:
    return pc.is_in(table["image_key"], value_set=images)


def _in_order(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sort_values(_ORDER, kind="stable").reset_index(drop=True)
