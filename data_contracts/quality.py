"""Per-image descriptors and the perceptual hash; validation, identity and drift all read these same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Pictures are shrunk by a whole factor to at least this side before hashing: the Lanczos filter inside the hash
# would otherwise cost more than decoding a large radiograph.
_HASHED_SIDE = 128
_BORDER_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Descriptors:
    """What one picture looks like, in grey levels 0–255; the fields are columns of the Catalog.

    mean, std, p01, p50, p99: of all pixels; p50 is the smallest level that at least half of the pixels do not
    exceed, p01 and p99 likewise. saturated: share of pixels at 0 or 255, in [0, 1]. sharpness: variance of the
    4-neighbour Laplacian of the stored row, in grey levels squared. border_energy: standard deviation of the outer
    5 % frame of the stored row.
    """

    mean: float
    std: float
    p01: float
    p50: float
    p99: float
    saturated: float
    sharpness: float
    border_energy: float


def describe(histogram: Sequence[int], row: NDArray[np.uint8]) -> Descriptors:
    """Descriptors from the 256-bin histogram of a picture and its stored row.

    histogram: pixel counts per grey level, not all zero. row: (H, W) uint8, at least 3 × 3.
    """
    counts = np.asarray(histogram, dtype=np.int64)
    total = int(counts.sum())
    levels = np.arange(256)
    mean = float(counts @ levels) / total
    cumulative = np.cumsum(counts)
    p01, p50, p99 = (float(np.searchsorted(cumulative, share * total)) for share in (0.01, 0.50, 0.99))
    return Descriptors(
        mean=mean,
        std=float(np.sqrt(counts @ (levels - mean) ** 2 / total)),
        p01=p01,
        p50=p50,
        p99=p99,
        saturated=float(counts[0] + counts[255]) / total,
        sharpness=_sharpness(row),
        border_energy=_border_energy(row),
    )


def perceptual_hash(picture: Image.Image) -> str:
    """256-bit perceptual hash (imagehash.phash, hash_size 16) of an 8-bit grey picture, as 64 hex digits."""
    factor = max(1, min(picture.size) // _HASHED_SIDE)
    return str(imagehash.phash(picture.reduce(factor), hash_size=16))


def _sharpness(row: NDArray[np.uint8]) -> float:
    levels = row.astype(np.int16)
    neighbours = levels[:-2, 1:-1] + levels[2:, 1:-1] + levels[1:-1, :-2] + levels[1:-1, 2:]
    return float((neighbours - 4 * levels[1:-1, 1:-1]).var())


def _border_energy(row: NDArray[np.uint8]) -> float:
    height, width = row.shape
    y, x = max(1, round(height * _BORDER_SHARE)), max(1, round(width * _BORDER_SHARE))
    frame = (row[:y], row[-y:], row[y:-y, :x], row[y:-y, -x:])
    return float(np.concatenate([side.ravel() for side in frame]).std())
