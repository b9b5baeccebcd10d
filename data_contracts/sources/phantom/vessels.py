"""The vessel trees that fan out from the two hila: the lung markings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_contracts.sources.phantom.anatomy import Anatomy, LungShape
from data_contracts.sources.phantom.canvas import Canvas, Field, Stroke
from data_contracts.sources.phantom.randomness import Stream, random_stream

_POINTS = (24, 18, 14, 10, 8, 7)  # per branch of each generation


@dataclass(frozen=True, slots=True)
class Branches:
    """Branches of one generation of one lung: u and v are (branches, points), all `width` thick."""

    u: NDArray[np.float64]
    v: NDArray[np.float64]
    width: NDArray[np.float64]  # (branches,)


Trees = tuple[list[Branches], list[Branches]]  # of the patient's right and left lung, thick generations first


def grow_vessels(anatomy: Anatomy, seed: int, patient: int) -> Trees:
    """The vessel trees of a patient."""
    rng = random_stream(seed, Stream.VESSELS, patient)
    return _grow(anatomy.right, -1, rng), _grow(anatomy.left, 1, rng)


def _grow(shape: LungShape, side: int, rng: np.random.Generator) -> list[Branches]:
    stems = 12
    # Directions fan from nearly straight up to down along the heart; 0 points laterally, + points down.
    heading = np.linspace(-1.45, 1.50, stems) + rng.normal(0, 0.14, stems)
    a = np.full(stems, shape.hilum_a) + rng.normal(0, 0.012, stems)
    v = shape.hilum_v + 0.02 + 0.17 * np.sin(heading) * np.abs(np.sin(heading)) + rng.normal(0, 0.03, stems)
    width = rng.uniform(0.026, 0.044, stems) * (1 + 0.15 * np.sin(heading))
    length = rng.uniform(0.15, 0.24, stems) * (1 + 0.25 * np.abs(np.sin(heading)))
    levels = []
    for points in _POINTS:
        along = np.linspace(0, 1, points)
        bend = rng.normal(0, 0.42, heading.size)
        direction = heading[:, None] + bend[:, None] * along[None, :]
        step = (length / points)[:, None]
        path_a = a[:, None] + np.cumsum(np.cos(direction) * step, axis=1)
        path_v = v[:, None] + np.cumsum(np.sin(direction) * step, axis=1)
        levels.append(Branches(side * path_a, path_v, width))
        fork = np.stack([rng.uniform(0.10, 0.45, heading.size), -rng.uniform(0.10, 0.60, heading.size)])
        fork *= rng.choice([-1, 1], heading.size)
        heading = (direction[:, -1] + fork).ravel()
        a, v = np.tile(path_a[:, -1], 2), np.tile(path_v[:, -1], 2)
        width = (width * np.array([[0.80], [0.62]])).ravel() * rng.uniform(0.85, 1.1, heading.size)
        length = (length * np.array([[0.92], [0.70]])).ravel() * rng.uniform(0.7, 1.2, heading.size)
    return levels


def draw_vessels(canvas: Canvas, trees: Trees, generations: slice = slice(None)) -> Field:
    """Blood the beam crosses in the branches, before it is cut to the aerated lung."""
    pairs = list(zip(trees[0][generations], trees[1][generations], strict=True))
    total = np.zeros((canvas.size, canvas.size), dtype=np.float32)
    for first in range(0, len(pairs), 2):  # two generations are near enough in width to share one blur
        branches = [tree for pair in pairs[first : first + 2] for tree in pair]
        width = float(np.concatenate([b.width for b in branches]).mean())
        total += canvas.blur(canvas.deposit([_stroke(b, canvas) for b in branches]), 0.32 * width)
    return total


def _stroke(branches: Branches, canvas: Canvas) -> Stroke:
    """Points along the branches, about one per pixel, with the blood between them."""
    pitch = np.hypot(np.gradient(branches.u, axis=1), np.gradient(branches.v, axis=1))
    fill = max(1, int(np.ceil(float(pitch.max()) / canvas.pixel)))
    mass = np.pi / 4 * branches.width[:, None] ** 2 * _refine(pitch, fill) / fill
    return _refine(branches.u, fill), _refine(branches.v, fill), mass


def _refine(path: NDArray[np.float64], fill: int) -> NDArray[np.float64]:
    """The path with `fill` points per step, linearly between."""
    if fill == 1:
        return path
    points = path.shape[1]
    at = np.linspace(0, points - 1, (points - 1) * fill + 1)
    low = np.minimum(at.astype(int), points - 2)
    share = at - low
    refined: NDArray[np.float64] = path[:, low] * (1 - share) + path[:, low + 1] * share
    return refined
