"""The lung masks that came with the images, read from the raw data folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_contracts.picture import DecodeLimits, UnreadableImage
from data_contracts.raster import read_raster
from models.explanation.faithfulness.lung_energy import LungMask

_LIMITS = DecodeLimits(min_side=8)
_SIGNATURES = {b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG"}
_LUNG = 128  # grey level from which a pixel is lung; JPEG and resizing leave levels between 0 and 255


def masks_of_catalog(kept: pd.DataFrame, data_dir: Path | None) -> LungMask:
    """Reads the file that the catalog's column mask_file names for a store row.

    kept: catalog rows with `row` and `mask_file`. None, and not an error, where there is no such file, or where it
    is damaged or too large: a check with fewer images says so by its n.
    """
    file_of_row = dict(zip(kept["row"], kept["mask_file"], strict=True))

    def lung_mask(row: int) -> NDArray[np.bool_] | None:
        file = file_of_row.get(row, "")
        return read_mask(data_dir / file) if data_dir is not None and file else None

    return lung_mask


def read_mask(path: Path) -> NDArray[np.bool_] | None:
    """(h, w) True where there is lung; None where the file is no readable PNG or JPEG or shows no lung at all."""
    try:
        if path.stat().st_size > _LIMITS.max_file_megabytes * 1e6:
            return None
        data = path.read_bytes()
        kind = next((kind for signature, kind in _SIGNATURES.items() if data.startswith(signature)), None)
        if kind is None:
            return None
        mask: NDArray[np.bool_] = np.asarray(read_raster(data, kind, 1, _LIMITS).grey) >= _LUNG
    except (OSError, UnreadableImage):
        return None
    return mask if mask.any() else None
