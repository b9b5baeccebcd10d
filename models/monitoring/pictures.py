"""Finds the pictures of scored images in the image stores of this workspace; the log itself keeps none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_contracts.catalog import KEPT
from models.reports.thumbnails import png

_WANTED = ["image_id", "status", "row", "width", "height"]


def pictures_of(image_ids: Sequence[str], stores: Path) -> dict[str, str]:
    """Image id -> base64 PNG, for those that some store holds. A store that cannot be read is passed over."""
    found: dict[str, str] = {}
    for folder in sorted(path for path in stores.glob("*") if path.is_dir() and not path.name.startswith(".")):
        missing = [one for one in image_ids if one not in found]
        if not missing:
            break
        try:
            table = pq.read_table(
                folder / "catalog.parquet",
                columns=_WANTED,
                filters=[("image_id", "in", missing), ("status", "==", KEPT)],
            )
            images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, pa.ArrowException):  # half a store has no picture to show
            continue
        for row in table.to_pylist():
            if row["row"] < len(images):
                found[row["image_id"]] = png(images[row["row"]], row["width"], row["height"])
    return found
