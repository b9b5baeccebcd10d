"""The picture plane: pixels, the anatomy coordinates they show, and three ways to put density on them.

Anatomy coordinates are (u, v) with the spine at u = 0: u grows to the right of the picture (the patient's left), v
grows downwards, and an unrotated, unshifted picture shows −1 … 1 of both.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Field = NDArray[np.float32]
# Points to put on the canvas: u, v and mass, all of one shape.
Stroke = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Pose:
    """How the patient stands before the detector: rotation, shift in picture halves, and magnification."""

    rotation_degrees: float
    shift_u: float
    shift_v: float
    scale_u: float
    scale_v: float

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Self:
        magnification = rng.normal(1.05, 0.055)
        aspect = rng.normal(0.0, 0.035)
        return cls(
            rotation_degrees=float(np.clip(rng.normal(0.0, 2.4), -6, 6)),
            shift_u=float(np.clip(rng.normal(0.0, 0.045), -0.12, 0.12)),
            shift_v=float(np.clip(rng.normal(0.0, 0.06), -0.15, 0.15)),
            scale_u=float(np.clip(magnification + aspect, 0.90, 1.22)),
            scale_v=float(np.clip(magnification - aspect, 0.90, 1.22)),
        )


@cache
def _spline_weights(size: int, cells: int) -> Field:
    """(size, cells + 3) cubic B-spline weights that turn a grid of values into a smooth line of `size` pixels."""
    position = (np.arange(size) + 0.5) / size * cells
    knot = np.floor(position).astype(int)
    t = position - knot
    weights = np.zeros((size, cells + 3), dtype=np.float32)
    pieces = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    for offset, piece in enumerate(pieces):
        weights[np.arange(size), knot + offset] = piece / 6
    return weights


class Canvas:
    """A square of `size` × `size` pixels seen in one pose; every field it returns is (size, size) float32."""

    def __init__(self, size: int, pose: Pose) -> None:
        self.size = size
        self.pixel = 2.0 / size / (pose.scale_u * pose.scale_v) ** 0.5  # side of a pixel in anatomy units
        angle = np.deg2rad(pose.rotation_degrees)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        self._to_anatomy = np.diag([1 / pose.scale_u, 1 / pose.scale_v]) @ turn
        self._to_picture = np.linalg.inv(self._to_anatomy)
        self._shift = np.array([pose.shift_u, pose.shift_v])
        side = (np.arange(size) + 0.5) / size * 2 - 1
        x, y = side[None, :] - self._shift[0], side[:, None] - self._shift[1]
        (uu, uv), (vu, vv) = self._to_anatomy
        self.u: Field = (uu * x + uv * y).astype(np.float32)
        self.v: Field = (vu * x + vv * y).astype(np.float32)

    def deposit(self, strokes: Iterable[Stroke]) -> Field:
        """Spread point masses over the pixels they fall on (bilinearly), as density per anatomy area."""
        size = self.size
        u, v, amount = (np.concatenate([np.ravel(part) for part in parts]) for parts in zip(*strokes, strict=True))
        picture = self._to_picture @ np.stack([u, v]) + self._shift[:, None]
        column, row = (picture + 1) / 2 * size - 0.5
        inside = np.flatnonzero((column >= 0) & (column < size - 1) & (row >= 0) & (row < size - 1))
        column, row, mass = column[inside], row[inside], amount[inside]
        left, top = column.astype(np.int64), row.astype(np.int64)
        column, row = column - left, row - top
        index = top * size + left
        low, high = mass * row, mass * (1 - row)
        total = np.zeros(size * size)
        for step, share in (
            (0, high * (1 - column)),
            (1, high * column),
            (size, low * (1 - column)),
            (size + 1, low * column),
        ):
            total += np.bincount(index + step, weights=share, minlength=size * size)
        density: Field = (total / self.pixel**2).reshape(size, size).astype(np.float32)
        return density

    def blur(self, field: Field, sigma: float) -> Field:
        """Gaussian blur with sigma in anatomy units."""
        blurred: Field = ndimage.gaussian_filter(field, sigma / self.pixel, truncate=3.0, mode="nearest")
        return blurred

    def mottle(self, rng: np.random.Generator, grain: float) -> Field:
        """Smooth noise of mean 0 and standard deviation about 1 whose blobs measure about `grain`."""
        cells = max(2, round(1.3 / grain))
        values = rng.standard_normal((cells + 3, cells + 3)).astype(np.float32)
        weights = _spline_weights(self.size, cells)
        # A cubic B-spline average of unit noise has variance ≈ 0.479 per direction.
        noise: Field = (weights @ values @ weights.T / np.float32(0.479)).astype(np.float32)
        return noise


def smoothstep(field: Field, low: float, high: float) -> Field:
    """0 below `low`, 1 above `high`, smooth between; with low > high it falls instead."""
    t: Field = np.clip((field - np.float32(low)) * np.float32(1 / (high - low)), 0, 1)
    return t * t * (3 - 2 * t)
