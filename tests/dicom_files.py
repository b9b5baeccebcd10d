"""Makes DICOM radiographs for tests: a drawn picture and whatever the header is to say."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from scipy.ndimage import gaussian_filter

COMPUTED_RADIOGRAPHY = "1.2.840.10008.5.1.4.1.1.1"


def texture(width: int = 96, height: int = 80, seed: int = 0) -> np.ndarray:
    """(height, width) uint8 of smooth noise over nearly all grey levels."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(height, width)), 2)
    levels = (noise - noise.min()) / (noise.max() - noise.min())
    return np.rint(levels * 240 + 8).astype(np.uint8)


def radiograph(pixels: np.ndarray, syntax: str = ExplicitVRLittleEndian, **header: Any) -> Dataset:
    """A chest radiograph of `pixels`, (H, W) uint8, uint16, int16 or (H, W, 3) uint8; `header` overrides by keyword."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = COMPUTED_RADIOGRAPHY
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["lungline"])
    meta.TransferSyntaxUID = syntax
    dataset = Dataset()
    dataset.file_meta = meta
    bits = pixels.dtype.itemsize * 8
    facts = {
        "SOPClassUID": COMPUTED_RADIOGRAPHY,
        "Modality": "CR",
        "BodyPartExamined": "CHEST",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "SamplesPerPixel": 3 if pixels.ndim == 3 else 1,
        "PhotometricInterpretation": "RGB" if pixels.ndim == 3 else "MONOCHROME2",
        "BitsAllocated": bits,
        "BitsStored": header.get("BitsStored", bits),
        "HighBit": header.get("BitsStored", bits) - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        **({"PlanarConfiguration": 0} if pixels.ndim == 3 else {}),
        **header,
    }
    for keyword, value in facts.items():
        if value is not None:
            setattr(dataset, keyword, value)
    dataset.PixelData = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    return dataset


def saved(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def dicom(pixels: np.ndarray, **header: Any) -> bytes:
    """The bytes of the file that `radiograph` describes."""
    return saved(radiograph(pixels, **header))
