"""Decodes PNG and JPEG with Pillow's readers of these two formats, to 8-bit grey, upright."""

from __future__ import annotations

import io
import struct
import warnings
import zlib

import numpy as np
from PIL import ExifTags, Image, ImageChops
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from data_contracts.picture import REFERENCE_SIDE, DecodeLimits, Picture, UnreadableImage, check_size

# Pillow warns of damaged metadata that it then skips; only the pixels and the orientation matter here. Set once,
# at import, because warnings.catch_warnings is not safe between threads.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

READERS: dict[str, type[ImageFile]] = {"PNG": PngImageFile, "JPEG": JpegImageFile}

_TURNS: dict[int, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = {_TURNS[orientation] for orientation in (5, 6, 7, 8)}

# What Pillow's readers raise on damaged bytes.
READER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
)


def read_raster(data: bytes, kind: str, size: int, limits: DecodeLimits) -> Picture:
    """The picture of a PNG or JPEG, decoded as read_image describes; raises UnreadableImage.

    kind: a key of READERS. size: side of the store in pixels.
    """
    try:
        image = _open(data, kind)
        _check_header(image, limits)
        if kind == "PNG":
            _open(data, kind).verify()  # Pillow decodes image data without looking at its checksums
            image.load()  # a PNG may give its orientation after the pixels
        turn = _turn(image)
        width, height = reversed(image.size) if turn in _SIDEWAYS else image.size
        grey, mode, conversions = _grey(image, turn, REFERENCE_SIDE)
        larger = grey
        if kind == "JPEG" and size > REFERENCE_SIDE:
            larger, _, _ = _grey(_open(data, kind), turn, size)
    except READER_ERRORS as error:
        truncated = "truncated" in str(error).lower()
        raise UnreadableImage("truncated" if truncated else "damaged or not supported") from error
    return Picture(grey, larger, width, height, mode, kind, conversions)


def _open(data: bytes, kind: str) -> ImageFile:
    # The reader class itself, not Image.open: that would try other formats and has a process-wide bomb limit.
    return READERS[kind](io.BytesIO(data))


def _check_header(image: ImageFile, limits: DecodeLimits) -> None:
    check_size(*image.size, limits)
    if getattr(image, "is_animated", False):
        raise UnreadableImage("several frames")
    if image.mode == "1":
        raise UnreadableImage("two grey levels only (a mask?)")


def _turn(image: ImageFile) -> Image.Transpose | None:
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except READER_ERRORS:
        return None  # damaged metadata says nothing of the pixels


def _grey(image: ImageFile, turn: Image.Transpose | None, side: int) -> tuple[Image.Image, str, tuple[str, ...]]:
    """8-bit grey upright pixels, for JPEG not decoded larger than `side` needs; the file's mode; what was changed."""
    mode = image.mode
    image.draft("L", (side, side))
    if mode.startswith("I"):
        grey, bits = _eight_bit(image)
        changes = [f"{bits}-bit scaled"]
        mode = mode if bits == 16 else f"{mode}/{bits}"
    else:
        grey, changes = _luma(image, mode)
    if turn is not None:
        grey = grey.transpose(turn)
        changes.append("rotated")
    return grey, mode, tuple(changes)


def _luma(image: Image.Image, mode: str) -> tuple[Image.Image, list[str]]:
    changes = {"P": ["palette"], "CMYK": ["CMYK"], "L": [], "LA": []}.get(mode, ["colour to grey"])
    if "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode in ("RGBA", "LA"):
        return ImageChops.multiply(image.convert("L"), image.getchannel("A")), [*changes, "alpha composited"]
    if image.mode in ("P", "CMYK"):
        image = image.convert("RGB")
    return image.convert("L"), changes


def _eight_bit(image: Image.Image) -> tuple[Image.Image, int]:
    # Detectors give 10, 12 or 14 bits, stored in 16; over the full range such a picture would be nearly black.
    values = np.asarray(image).astype(np.uint32)
    bits = max(8, int(values.max()).bit_length())
    full_range = 2**bits - 1
    return Image.fromarray(((values * 255 + full_range // 2) // full_range).astype(np.uint8)), bits
