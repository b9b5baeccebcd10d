"""What earlier builds learned of image files: found by path while a file is untouched, by content wherever it lies.

Beside the stores lies one index for each data folder and set of sources, `known-<key>.parquet`: for each file its
size, times of change and hash. It is read in place of the files themselves, as git reads its index: a file is
untouched where all of them are as they were, and where its last change was not so recent when it was read that a
later one could bear the same time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data_contracts.catalog import DUPLICATE, KEPT, Catalog
from data_contracts.errors import DataGateError

# What the decode pass learns of a file; kept with the row and reused while the file's bytes stay the same.
DECODED_COLUMNS = (
    *("status", "reason", "image_id", "phash", "width", "height", "mode", "format", "conversion", "flags"),
    *("mean", "std", "p01", "p50", "p99", "saturated", "sharpness", "border_energy"),
)
FILE_COLUMNS = ("file_sha256", "row", *DECODED_COLUMNS)
Facts = dict[str, Any]  # a file's values by Catalog column, FILE_COLUMNS complete

_CLOCK_STEP_NS = 2_000_000_000  # the coarsest file systems (FAT) note times in steps of 2 s


class Stamp(NamedTuple):
    """What tells without reading it that a file was changed: bytes, and nanoseconds since 1970."""

    size: int
    mtime_ns: int
    ctime_ns: int  # cannot be set back, as archives and `cp -p` do with mtime

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    def is_conclusive(self) -> bool:
        """Whether a change from now on would show in the stamp."""
        return time.time_ns() - max(self.mtime_ns, self.ctime_ns) > _CLOCK_STEP_NS


@dataclass(frozen=True, slots=True, eq=False)
class StoredRows:
    """The pixels of an earlier store: its images.npy, mapped into memory."""

    file: Path
    images: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Known:
    """A file that was decoded before. rows, row: where its pixels are; None and -1 where only the facts are known."""

    facts: Facts
    rows: StoredRows | None
    row: int


class KnownFiles:
    """Everything that stores of one resize rule know; empty until something is remembered."""

    def __init__(self) -> None:
        self._untouched: dict[str, tuple[Stamp, str]] = {}
        self._decoded: dict[str, tuple[tuple[Any, ...], StoredRows | None, int]] = {}

    @classmethod
    def of_indexes(cls, indexes: Iterable[Path], data_dir: Path) -> Self:
        """What the indexes say, the last one first of all; those whose store is gone or damaged say nothing.

        Paths count only where they were met below the same data folder, contents wherever they were met.
        """
        known = cls()
        for index in indexes:
            try:
                table = pq.read_table(index)
                facts = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
                known._add_store(index.parent / facts["store"])
            except (OSError, ValueError, KeyError, DataGateError):
                continue
            if facts["data_dir"] == str(data_dir.resolve()):
                columns = (table[name].to_pylist() for name in ("file", *Stamp._fields, "file_sha256"))
                for file, size, mtime_ns, ctime_ns, file_sha256 in zip(*columns, strict=True):
                    known._untouched[file] = Stamp(size, mtime_ns, ctime_ns), file_sha256
        return known

    def __len__(self) -> int:
        """How many contents are known."""
        return len(self._decoded)

    def remember(self, file: str, stamp: Stamp | None, facts: Facts) -> None:
        """A file whose pixels are not needed again."""
        file_sha256 = facts["file_sha256"]
        if file_sha256:
            self._decoded[file_sha256] = tuple(facts[name] for name in DECODED_COLUMNS), None, -1
            if stamp is not None:
                self._untouched[file] = stamp, file_sha256

    def by_path(self, file: str, stamp: Stamp) -> Known | None:
        """What is known of a file that was not touched since it was read."""
        before, file_sha256 = self._untouched.get(file, (None, ""))
        return self.by_content(file_sha256) if before == stamp else None

    def by_content(self, file_sha256: str) -> Known | None:
        values, rows, row = self._decoded.get(file_sha256, (None, None, -1))
        if values is None:
            return None
        facts = dict(zip(DECODED_COLUMNS, values, strict=True))
        return Known({"file_sha256": file_sha256, "row": -1, **facts}, rows, row)

    def _add_store(self, folder: Path) -> None:
        rows = StoredRows(folder / "images.npy", np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False))
        frame = Catalog.load(folder / "catalog.parquet").frame
        kept = frame[frame["status"] == KEPT]
        row_of = dict(zip(kept["image_id"], kept["row"], strict=True))
        if rows.images.ndim != 3 or len(rows.images) != len(row_of) or rows.images.dtype != np.uint8:
            raise DataGateError(
                f"{folder} holds {rows.images.shape} {rows.images.dtype} and lists {len(row_of)} images.",
                why="Rows would not belong to the images they are listed with.",
                cure="Remove the folder; the store is rebuilt from the raw data.",
            )
        # A duplicate's pixels are those of the file that it repeats; whether it repeats one again, the build says.
        decoded = frame[frame["file_sha256"] != ""]
        repeats = decoded["status"] == DUPLICATE
        decoded = decoded.assign(
            status=decoded["status"].mask(repeats, KEPT), reason=decoded["reason"].mask(repeats, "")
        )
        contents = zip(*(decoded[name].tolist() for name in DECODED_COLUMNS), strict=True)
        for file_sha256, image_id, values in zip(
            decoded["file_sha256"], decoded["image_id"], contents, strict=True
        ):
            row = row_of.get(image_id, -1)
            self._decoded[file_sha256] = values, rows if row >= 0 else None, row


def write_index(place: Path, store: str, data_dir: Path, files: Iterable[tuple[str, Stamp | None, str]]) -> None:
    """Replace the index. files: path, stamp and hash; those without a stamp must be read again and are left out."""
    lines = [
        (file, *stamp, file_sha256) for file, stamp, file_sha256 in files if stamp is not None and file_sha256
    ]
    table = pa.Table.from_pandas(
        pd.DataFrame(lines, columns=["file", *Stamp._fields, "file_sha256"]), preserve_index=False
    ).replace_schema_metadata({"store": store, "data_dir": str(data_dir.resolve())})
    part = place.with_name(place.name + ".part")
    pq.write_table(table, part)
    os.replace(part, place)
