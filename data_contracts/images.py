"""Safe decoding: one image file in, one grey uint8 row and what is known of the picture out, or a named reason.

Nothing here trusts a file: its format is read from its content, its size from its header before a pixel is
decoded, and only Pillow's PNG and JPEG readers ever see it. No global state of Pillow is changed, so any number of
threads may decode at once.
"""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageChops
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt

from data_contracts.quality import Descriptors, describe, perceptual_hash

# Pillow warns of damaged metadata that it then skips; only the pixels and the orientation matter here. Set once,
# at import, because warnings.catch_warnings is not safe between threads.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

REFERENCE_SIDE = 384
RESIZE_RULE = f"stretched to a square: antialiased bilinear, reducing gap 2, reference side {REFERENCE_SIDE}"

_READERS: dict[str, type[ImageFile]] = {"PNG": PngImageFile, "JPEG": JpegImageFile}

# First bytes -> format. Only the first two are decoded; the others let the refusal say what the file is.
_SIGNATURES: dict[bytes, str] = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"RIFF": "WEBP",
    b"\x00\x00\x00\x0cjP": "JPEG 2000",
    b"%PDF": "PDF",
    b"PK\x03\x04": "ZIP",
}

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

# What Pillow's two readers raise on damaged bytes.
_READER_ERRORS = (
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
class DecodedImage:
    """One decoded picture.

    pixels: (size, size) uint8, the row of the store. image_id, phash: 64 hex digits each. width, height: the whole
    upright picture in pixels. mode: Pillow's mode of the file; a 16-bit file that uses fewer bits says so
    ("I;16/12"). format: PNG or JPEG, by content.
    """

    pixels: NDArray[np.uint8]
    image_id: str
    phash: str
    width: int
    height: int
    mode: str
    format: str
    descriptors: Descriptors

    def facts(self) -> dict[str, str | int | float]:
        """All but the pixels, by Catalog column."""
        return {
            "image_id": self.image_id,
            "phash": self.phash,
            "width": self.width,
            "height": self.height,
            "mode": self.mode,
            "format": self.format,
            **asdict(self.descriptors),
        }


def read_image(source: Path | bytes, *, size: int, limits: DecodeLimits) -> DecodedImage:
    """Decode one PNG or JPEG, a file or its content, to 8-bit grey, upright, stretched to size × size.

    Colour becomes ITU-R 601 luma, palettes are looked up, alpha is composited on black, CMYK is converted without
    inversion. 16-bit grey is scaled to 8 bit over the bits that its brightest pixel needs (16 bits: / 257).

    `image_id` is the sha256 of shape and pixels of the decoded picture, so other bytes with the same pixels have
    the same id. A PNG is hashed in full size. A JPEG is decoded straight to the smallest of 1, 1/2, 1/4, 1/8 of
    its size that leaves its shorter side at least REFERENCE_SIDE, and hashed as that: the scaled inverse DCT saves
    most of the work, and neither scale nor id depends on the size of the store. Only stores larger than
    REFERENCE_SIDE decode a JPEG a second time. Another Pillow may decode a JPEG to other pixels, so its version
    belongs into a store's key.

    The descriptors are those of the hashed picture, the perceptual hash is of its reduction to REFERENCE_SIDE.

    Raises UnreadableImage and nothing else, whatever the file holds.
    """
    data = _content(source, limits)
    kind = _recognise(data)
    try:
        image = _open(data, kind)
        _check_header(image, limits)
        if kind == "PNG":
            _open(data, kind).verify()  # Pillow decodes image data without looking at its checksums
            image.load()  # a PNG may give its orientation after the pixels
        turn = _turn(image)
        width, height = reversed(image.size) if turn in _SIDEWAYS else image.size
        picture, mode = _grey(image, turn, REFERENCE_SIDE)
        larger = picture
        if kind == "JPEG" and size > REFERENCE_SIDE:
            larger, _ = _grey(_open(data, kind), turn, size)
    except _READER_ERRORS as error:
        truncated = "truncated" in str(error).lower()
        raise UnreadableImage("truncated" if truncated else "damaged or not supported") from error

    reference = picture.reduce(max(1, min(picture.size) // REFERENCE_SIDE))
    large_enough = larger if size > REFERENCE_SIDE else reference
    pixels = np.asarray(large_enough.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0))
    histogram = picture.histogram()
    descriptors = describe(histogram, pixels)
    _check_contrast(histogram, descriptors, limits)
    digest = hashlib.sha256(f"{picture.width}x{picture.height}:".encode())
    digest.update(picture.tobytes())
    return DecodedImage(
        pixels=pixels,
        image_id=digest.hexdigest(),
        phash=perceptual_hash(reference),
        width=width,
        height=height,
        mode=mode,
        format=kind,
        descriptors=descriptors,
    )


def _content(source: Path | bytes, limits: DecodeLimits) -> bytes:
    try:
        if isinstance(source, Path) and source.exists() and not source.is_file():
            raise UnreadableImage("not a regular file")
        length = len(source) if isinstance(source, bytes) else source.stat().st_size
        if length > limits.max_file_megabytes * 1e6:
            raise UnreadableImage(f"too large: a file of {length / 1e6:.0f} MB")
        data = source if isinstance(source, bytes) else source.read_bytes()
    except OSError as error:
        raise UnreadableImage(f"file cannot be read: {error.strerror}") from error
    if not data:
        raise UnreadableImage("empty file")
    return data


def _recognise(data: bytes) -> str:
    kind = next((name for signature, name in _SIGNATURES.items() if data.startswith(signature)), None)
    if kind in _READERS:
        return kind
    if kind is not None:
        raise UnreadableImage(f"format not allowed: {kind}")
    if data[128:132] == b"DICM":
        raise UnreadableImage("format not allowed: DICOM")
    if data[:512].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise UnreadableImage("not an image (looks like an HTML page: failed download?)")
    raise UnreadableImage("not an image")


def _open(data: bytes, kind: str) -> ImageFile:
    # The reader class itself, not Image.open: that would try other formats and has a process-wide bomb limit.
    return _READERS[kind](io.BytesIO(data))


def _check_header(image: ImageFile, limits: DecodeLimits) -> None:
    width, height = image.size
    if min(width, height) < limits.min_side:
        raise UnreadableImage(f"below minimum size {limits.min_side} px: {width}x{height}")
    if max(width, height) > limits.max_side or width * height > limits.max_megapixels * 1e6:
        raise UnreadableImage(f"too large: {width}x{height}")
    if getattr(image, "is_animated", False):
        raise UnreadableImage("several frames")
    if image.mode == "1":
        raise UnreadableImage("two grey levels only (a mask?)")


def _check_contrast(histogram: list[int], descriptors: Descriptors, limits: DecodeLimits) -> None:
    levels = sum(count > 0 for count in histogram)
    if levels == 2:
        raise UnreadableImage("two grey levels only (a mask?)")
    if levels == 1 or descriptors.std < limits.min_std:
        raise UnreadableImage("no contrast")


def _turn(image: ImageFile) -> Image.Transpose | None:
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except _READER_ERRORS:
        return None  # damaged metadata says nothing of the pixels


def _grey(image: ImageFile, turn: Image.Transpose | None, side: int) -> tuple[Image.Image, str]:
    """8-bit grey upright pixels, for JPEG not decoded larger than `side` needs, and the mode the file has."""
    mode = image.mode
    image.draft("L", (side, side))
    if mode.startswith("I"):
        grey, bits = _eight_bit(image)
        mode = mode if bits == 16 else f"{mode}/{bits}"
    else:
        grey = _luma(image)
    return (grey if turn is None else grey.transpose(turn)), mode


def _luma(image: Image.Image) -> Image.Image:
    if "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode in ("RGBA", "LA"):
        return ImageChops.multiply(image.convert("L"), image.getchannel("A"))
    if image.mode in ("P", "CMYK"):
        image = image.convert("RGB")
    return image.convert("L")


def _eight_bit(image: Image.Image) -> tuple[Image.Image, int]:
    # Detectors give 10, 12 or 14 bits, stored in 16; over the full range such a picture would be nearly black.
    values = np.asarray(image).astype(np.uint32)
    bits = max(8, int(values.max()).bit_length())
    full_range = 2**bits - 1
    return Image.fromarray(((values * 255 + full_range // 2) // full_range).astype(np.uint8)), bits
