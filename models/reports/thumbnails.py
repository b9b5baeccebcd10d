"""Small grey pictures for a page, as base64 PNG: from the image store, or decoded anew where a file was refused.

Only pixels reach the page. Metadata of a file are read by the decoder for its orientation and never copied.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_contracts.picture import DecodeLimits, UnreadableImage

if TYPE_CHECKING:
    from data_contracts.catalog import Catalog
    from data_contracts.image_store import ImageStore

LONGER_SIDE = 128  # pixels
# Looser than the store's: a picture that was refused as too small or too flat may be looked at.
_LIMITS = DecodeLimits(min_side=8, min_std=0.1, max_side=8_000, max_megapixels=40, max_file_megabytes=40)
# Refused because the pixels may name a patient: not to be shown either.
_NEVER_SHOWN = "burned-in annotation"


class Thumbnails:
    """Pictures of a catalog's rows; "" stands for a picture that cannot be shown.

    store: None where there is none at hand. data_dir: where the catalog's files lie, None where that is not known;
    needed for quarantined files only.
    """

    def __init__(self, catalog: Catalog, store: ImageStore | None, data_dir: Path | None) -> None:
        self._images = store.images if store else None
        self._root = data_dir.resolve() if data_dir else None
        kept = catalog.kept
        shapes = zip(kept["row"], kept["width"], kept["height"], strict=True)
        self._kept = dict(zip(kept["image_id"], shapes, strict=True))

    def of_image(self, image_id: str) -> str:
        """The kept picture with this id, in the shape it had before it was stored as a square."""
        if self._images is None or image_id not in self._kept:
            return ""
        row, width, height = self._kept[image_id]
        return png(self._images[row], width, height) if row < len(self._images) else ""

    def of_refused(self, file: str, reason: str) -> str:
        """A quarantined file, where it is a picture after all."""
        if self._root is None or reason == _NEVER_SHOWN:
            return ""
        from data_contracts.images import read_image

        path = (self._root / file).resolve()
        if not path.is_relative_to(self._root) or not path.is_file():
            return ""
        try:
            image = read_image(path, size=LONGER_SIDE, limits=_LIMITS)
        except UnreadableImage:
            return ""
        return png(image.pixels, image.width, image.height)


def png(pixels: NDArray[np.uint8], width: int, height: int) -> str:
    """Base64 of a PNG of the square `pixels` in the proportions of width : height, LONGER_SIDE pixels long."""
    scale = LONGER_SIDE / max(width, height, 1)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(pixels)).resize(size, Image.Resampling.BOX).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()
