"""The Catalog: one row per image file that a source offered, from raw label to split, with nothing dropped.

Rows are never deleted on the way through the house. What may not be used keeps its row with a `status` and a
`reason`, so the counts always add up: offered = kept + quarantined + duplicate.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from data_contracts.errors import DataGateError

SCHEMA_VERSION = 2

KEPT = "kept"
QUARANTINED = "quarantined"
DUPLICATE = "duplicate"

# Column -> (dtype, value where nothing is known). Stages fill them in this order; unfilled columns hold the
# empty value, so every catalog has every column.
COLUMNS: dict[str, tuple[str, object]] = {
    # from the source adapter
    "source": ("str", ""),  # adapter name: radiography, mendeley, nih, …
    "release": ("str", ""),  # release of the dataset as the adapter recognised it
    "file": ("str", ""),  # POSIX path below the data folder; never absolute
    "raw_label": ("str", ""),  # the label exactly as the source wrote it
    "nodes": ("str", ""),  # ontology nodes asserted positive, joined by "|", sorted
    "label_method": ("str", ""),  # folder, report-nlp
    "patient": ("str", ""),  # "<source>:<id>" or "" where the source has no patient ids
    "view": ("str", ""),  # AP, PA or ""
    "age": ("float64", float("nan")),  # years at examination; NaN unknown
    "sex": ("str", ""),  # F, M or ""
    "flags": ("str", ""),  # what is doubtful about the row, joined by "|": age_implausible, label_disputed, …
    "official_split": ("str", ""),  # train_val or test where the source publishes a split, else ""
    "boxes": ("str", ""),  # JSON list of {"node", "x", "y", "w", "h"}, shares of width and height; "" without
    "mask_file": ("str", ""),  # lung mask below the data folder, or ""
    "licence": ("str", ""),
    # from the decode pass
    "status": ("str", KEPT),  # kept, quarantined, duplicate
    "reason": ("str", ""),  # why it is not kept; for duplicates: the file whose pixels it repeats
    "file_sha256": ("str", ""),
    "image_id": ("str", ""),  # sha256 of the decoded 8-bit grey pixels and their shape
    "row": ("int64", -1),  # row in the image store; -1 where not kept
    "phash": ("str", ""),  # 256-bit perceptual hash of the stored row, 64 hex digits
    "width": ("int64", 0),  # pixels, as decoded and before resizing
    "height": ("int64", 0),
    "mode": ("str", ""),  # Pillow mode of the file
    "format": ("str", ""),  # true format by content: PNG, JPEG, DICOM, …
    "conversion": ("str", ""),  # what decoding changed besides size, joined by "|": 16-bit scaled, rotated, …
    "mean": ("float64", float("nan")),  # descriptors of the decoded image, grey levels 0–255
    "std": ("float64", float("nan")),
    "p01": ("float64", float("nan")),
    "p50": ("float64", float("nan")),
    "p99": ("float64", float("nan")),
    "saturated": ("float64", float("nan")),  # share of pixels at 0 or 255
    "sharpness": ("float64", float("nan")),  # variance of the Laplacian of the stored row
    "border_energy": ("float64", float("nan")),  # std of the outer 5 % frame of the stored row
    # from identity
    "group_id": ("str", ""),  # images of one patient or one picture share it
    "label_conflict": ("bool", False),  # the group's copies of this picture carry different labels
    # from task and split
    "label": ("str", ""),  # class of the task, or ""; of a multi-label task: classes joined by "|", or none
    "unknown_classes": ("str", ""),  # classes of a multi-label task whose truth is not known, joined by "|"
    "excluded": ("str", ""),  # why a kept image has no class in this task
    "split": ("str", ""),  # train, val, test, external or ""
}
_DTYPES = {name: pd.api.types.pandas_dtype(dtype) for name, (dtype, _) in COLUMNS.items()}


@dataclass(frozen=True, slots=True)
class Catalog:
    """All images of a run with what is known of each.

    frame: exactly the columns of COLUMNS, in that order, one row per offered file, sorted by (source, file).
    """

    frame: pd.DataFrame

    @classmethod
    def of(cls, frame: pd.DataFrame) -> Self:
        """A Catalog from a frame that may lack columns and text (filled with the empty value) but has no others."""
        unknown = sorted(set(frame.columns) - set(COLUMNS))
        if unknown:
            raise DataGateError(
                f"Catalog columns {unknown} are not in schema version {SCHEMA_VERSION}.",
                why="Steps downstream would not know what they mean.",
                cure="Add them to data_contracts/catalog.py with a type and an empty value.",
            )
        filled = {}
        for name, (dtype, empty) in COLUMNS.items():
            column = frame[name] if name in frame else pd.Series([empty] * len(frame), index=frame.index)
            if dtype == "str" and column.hasnans:
                column = column.fillna(str(empty))
            filled[name] = (column if column.dtype == _DTYPES[name] else column.astype(_DTYPES[name])).array
        ordered = pd.DataFrame(filled).sort_values(["source", "file"], kind="stable")
        return cls(ordered.reset_index(drop=True))

    @property
    def kept(self) -> pd.DataFrame:
        """The rows that are in the image store, by store row."""
        return self.frame[self.frame["status"] == KEPT].sort_values("row")

    def counts(self) -> dict[str, int]:
        """How many files were offered, kept, quarantined and duplicate; the last three sum to the first."""
        status = self.frame["status"]
        return {
            "offered": len(self.frame),
            KEPT: int((status == KEPT).sum()),
            QUARANTINED: int((status == QUARANTINED).sum()),
            DUPLICATE: int((status == DUPLICATE).sum()),
        }

    def content_hash(self) -> str:
        """sha256 over all cells: equal exactly when two catalogs say the same of the same images."""
        digest = hashlib.sha256(f"catalog-{SCHEMA_VERSION} {len(self.frame)}".encode())
        for name in COLUMNS:
            digest.update(f"\n{name}:".encode())
            digest.update(_bytes_of(self.frame[name]))
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Write parquet with the schema version inside; the final name appears only when the file is complete."""
        table = pa.Table.from_pandas(self.frame, preserve_index=False)
        table = table.replace_schema_metadata({"lungline_catalog": str(SCHEMA_VERSION)})
        part = path.with_name(path.name + ".part")
        pq.write_table(table, part)
        os.replace(part, path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a catalog written by `save`.

        Raises DataGateError where the file has another schema version.
        """
        table = pq.read_table(path)
        version = (table.schema.metadata or {}).get(b"lungline_catalog", b"?").decode()
        if version != str(SCHEMA_VERSION):
            raise DataGateError(
                f"{path.name} has catalog schema version {version}; this program reads {SCHEMA_VERSION}.",
                why="Columns may have changed their meaning between versions.",
                cure="Build the data again with `lungline data build RECIPE`.",
            )
        return cls.of(table.to_pandas())


def _bytes_of(column: pd.Series) -> bytes:
    """What a column says, the same for the same cells: lengths of texts and the texts, or little-endian numbers."""
    if column.dtype == "float64":
        values = column.to_numpy(dtype="<f8", copy=True)
        values[np.isnan(values)] = np.nan  # one bit pattern for what is no number
        return values.tobytes()
    if column.dtype != "str":
        return column.to_numpy(dtype="<i8").tobytes()
    texts = pa.concat_arrays(pa.chunked_array(pa.array(column, type=pa.large_string())).chunks)
    _, ends, text = texts.buffers()
    offsets = np.frombuffer(ends, dtype="<i8")[texts.offset : texts.offset + len(texts) + 1]
    return np.diff(offsets).tobytes() + bytes(memoryview(text or b"")[offsets[0] : offsets[-1]])
