"""Safe decoding: one image file in, one grey uint8 row and what is known of the picture out, or a named reason.

Nothing here trusts a file: its format is read from its content, its size from its header before a pixel is
decoded, and only Pillow's PNG and JPEG readers and pydicom ever see it. No global state of Pillow is changed, so any
number of threads may decode at once.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_contracts.dicom import read_dicom
from data_contracts.input_checks import InputFlag, input_flags
from data_contracts.picture import REFERENCE_SIDE, DecodeLimits, Picture, UnreadableImage
from data_contracts.quality import Descriptors, describe, perceptual_hash
from data_contracts.raster import READERS, read_raster

__all__ = [
    "REFERENCE_SIDE",
    "RESIZE_RULE",
    "DecodeLimits",
    "DecodedImage",
    "UnreadableImage",
    "decoder_versions",
    "read_image",
]

RESIZE_RULE = f"stretched to a square: antialiased bilinear, reducing gap 2, reference side {REFERENCE_SIDE}"

# First bytes -> format. Only PNG and JPEG are decoded; the others let the refusal say what the file is.
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


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """One decoded picture.

    pixels: (size, size) uint8, the row of the store. image_id, phash: 64 hex digits each. width, height: the whole
    upright picture in pixels. mode: Pillow's mode of the file, or DICOM's photometric interpretation; a 16-bit file
    that uses fewer bits says so ("I;16/12", "MONOCHROME2/12"). format: PNG, JPEG or DICOM, by content. conversions:
    what decoding changed besides size, in order: "16-bit scaled", "alpha composited", "rotated", … flags: what is
    doubtful about the picture, see input_checks.
    """

    pixels: NDArray[np.uint8]
    image_id: str
    phash: str
    width: int
    height: int
    mode: str
    format: str
    conversions: tuple[str, ...]
    flags: tuple[InputFlag, ...]
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
            "conversion": "|".join(self.conversions),
            "flags": "|".join(self.flags),
            **asdict(self.descriptors),
        }


def read_image(source: Path | bytes, *, size: int, limits: DecodeLimits) -> DecodedImage:
    """Decode one PNG, JPEG or DICOM, a file or its content, to 8-bit grey, upright, stretched to size × size.

    Colour becomes ITU-R 601 luma, palettes are looked up, alpha is composited on black, CMYK is converted without
    inversion. 16-bit grey is scaled to 8 bit over the bits that its brightest pixel needs (16 bits: / 257). What a
    DICOM header says of its grey levels is done as `dicom.read_dicom` describes.

    `image_id` is the sha256 of shape and pixels of the decoded picture, so other bytes with the same pixels have
    the same id. PNG and DICOM are hashed in full size. A JPEG is decoded straight to the smallest of 1, 1/2, 1/4, 1/8
    of its size that leaves its shorter side at least REFERENCE_SIDE, and hashed as that: the scaled inverse DCT saves
    most of the work, and neither scale nor id depends on the size of the store. Only stores larger than
    REFERENCE_SIDE decode a JPEG a second time. Another Pillow may decode a JPEG to other pixels, so the versions of
    the decoders belong into a store's key.

    The descriptors are those of the hashed picture, the perceptual hash is of its reduction to REFERENCE_SIDE.

    Raises UnreadableImage and nothing else, whatever the file holds.
    """
    data = _content(source, limits)
    kind = _recognise(data)
    picture = read_dicom(data, limits) if kind == "DICOM" else read_raster(data, kind, size, limits)
    return _described(picture, size, limits)


def decoder_versions() -> dict[str, str]:
    """Name -> version of the libraries that decode pictures, "" where one is not installed; part of a store's key.

    Another version may decode a file to other pixels, or read what could not be read before.
    """
    installed = {}
    for name in ("pillow", "pydicom", "pylibjpeg", "pylibjpeg-openjpeg"):
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            installed[name] = ""
    return installed


def _described(picture: Picture, size: int, limits: DecodeLimits) -> DecodedImage:
    grey = picture.grey
    reference = grey.reduce(max(1, min(grey.size) // REFERENCE_SIDE))
    large_enough = picture.larger if size > REFERENCE_SIDE else reference
    pixels = np.asarray(large_enough.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0))
    histogram = grey.histogram()
    descriptors = describe(histogram, pixels)
    _check_contrast(histogram, descriptors, limits)
    digest = hashlib.sha256(f"{grey.width}x{grey.height}:".encode())
    digest.update(grey.tobytes())
    return DecodedImage(
        pixels=pixels,
        image_id=digest.hexdigest(),
        phash=perceptual_hash(reference),
        width=picture.width,
        height=picture.height,
        mode=picture.mode,
        format=picture.format,
        conversions=picture.conversions,
        flags=tuple(input_flags(pixels)),
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
    # A DICOM file may begin with anything, even the signature of a TIFF; its mark is at byte 128.
    if data[128:132] == b"DICM" and not data.startswith(tuple(s for s, n in _SIGNATURES.items() if n in READERS)):
        return "DICOM"
    kind = next((name for signature, name in _SIGNATURES.items() if data.startswith(signature)), None)
    if kind in READERS:
        return kind
    if kind is not None:
        raise UnreadableImage(f"format not allowed: {kind}")
    if data[:512].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise UnreadableImage("not an image (looks like an HTML page: failed download?)")
    raise UnreadableImage("not an image")


def _check_contrast(histogram: list[int], descriptors: Descriptors, limits: DecodeLimits) -> None:
    levels = sum(count > 0 for count in histogram)
    if levels == 2:
        raise UnreadableImage("two grey levels only (a mask?)")
    if levels == 1 or descriptors.std < limits.min_std:
        raise UnreadableImage("no contrast")
