"""What the decoders of all formats share: the limits they keep, the picture they give, the refusal they raise."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image
from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt

# Hashes and descriptors are taken of a picture whose shorter side is at least this, in pixels; see read_image.
REFERENCE_SIDE = 384


class DecodeLimits(BaseModel):
    """Which pictures are decoded at all; every bound is itself allowed.

    min_side, max_side in pixels; min_std in grey levels.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_side: PositiveInt = 32
    max_side: PositiveInt = 12_000
    max_megapixels: PositiveInt = 64
    max_file_megabytes: PositiveInt = 128
    min_std: PositiveFloat = 1.0


class UnreadableImage(Exception):
    """A file that must not enter the store. `reason` is the phrase the catalog keeps; it names no file."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Picture:
    """An upright 8-bit grey picture as decoded, before it is hashed and resized.

    grey: the picture that is hashed. larger: where a JPEG was decoded a second time for a store larger than
    REFERENCE_SIDE, that decoding; else `grey`. width, height: the whole upright picture in pixels. mode, format and
    conversions: see DecodedImage.
    """

    grey: Image.Image
    larger: Image.Image
    width: int
    height: int
    mode: str
    format: str
    conversions: tuple[str, ...]


def check_size(width: int, height: int, limits: DecodeLimits) -> None:
    """Raises UnreadableImage where a header claims a picture that is not decoded."""
    if min(width, height) < limits.min_side:
        raise UnreadableImage(f"below minimum size {limits.min_side} px: {width}x{height}")
    if max(width, height) > limits.max_side or width * height > limits.max_megapixels * 1e6:
        raise UnreadableImage(f"too large: {width}x{height}")
