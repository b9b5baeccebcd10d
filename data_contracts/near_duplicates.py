"""Finding the same picture twice: cheap fingerprints propose pairs, aligned correlation of the pictures decides.

Chest radiographs resemble each other, so no fingerprint alone can tell a copy from another patient. And copies are
cropped, padded and stretched (collections cut off burnt-in text), which changes up to half the bits of a
perceptual hash. So there are two fingerprints, one that endures blur and one that endures cropping, and the
pictures of a proposed pair are laid over each other, shift and scale of either axis free, before they are
compared. Rotation and mirroring are not searched for, and a frame added around a picture can hide a copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.floating[Any]]

_SIDE = 64


class _Stage(NamedTuple):
    """One round of alignment of pictures shrunk to `side` pixels.

    blur: structure broader than this Gaussian standard deviation, in pixels, is what all chests share, so it is
    subtracted. margin: the frame, in halves of the side, that is not compared: near a border the blur sees
    different surroundings in a picture and in its crop. steps: Gauss-Newton steps.
    """

    side: int
    blur: float
    margin: float
    steps: int


_STAGES = (_Stage(32, 4.0, 0.0, 6), _Stage(_SIDE, 4.0, 0.06, 4), _Stage(_SIDE, 2.0, 0.06, 4))
_SPECTRUM_BLUR = 4.0
_MOST_SCALING, _MOST_SHIFT = 1.3, 0.3  # shift in halves of the side
_LEAST_OVERLAP = 0.6
_BANDS = 10
_BAND_RANGE = (1.5, 28.0)  # cycles per picture
_AT_ONCE = 256  # pictures or pairs
_PARTS, _PART_BITS = 4, 16  # of a short hash
_TILE = (32, 8192)  # hashes against hashes
_CELLS_AT_ONCE = 2**22  # of the matrix of all pairs, which is never held whole


def find_near_duplicates(
    hashes: Sequence[str],
    images: NDArray[np.uint8],
    rows: NDArray[np.int64],
    *,
    max_hash_distance: int,
    min_spectrum_similarity: float,
    min_correlation: float,
) -> pd.DataFrame:
    """All pairs that show the same picture.

    hashes: N perceptual hashes of 64 hex digits. images: (M, H, W) uint8, may be a memory map. rows: (N,) the row
    of images that belongs to each hash. A pair is proposed where at most max_hash_distance of 256 bits differ or
    the cosine of the spectra is at least min_spectrum_similarity, and confirmed where the aligned pictures
    correlate with at least min_correlation.

    Returns first, second (int64 positions, first < second), hash_distance (bits) and correlation, one row per
    pair, sorted by position. Every pair is looked at: time grows with N squared, memory by some 10 KiB per image.
    """
    words = np.frombuffer(bytes.fromhex("".join(hashes)), dtype=np.uint64).reshape(-1, 4)
    thumbnails = _thumbnails(images)[rows]
    proposed = np.concatenate(
        [
            pairs_by_hash(words, max_hash_distance),
            _pairs_by_spectrum(_spectra(thumbnails), min_spectrum_similarity),
        ]
    )
    proposed = np.unique(proposed, axis=0)
    correlation = np.zeros(len(proposed))
    for start in range(0, len(proposed), _AT_ONCE):
        first, second = proposed[start : start + _AT_ONCE].T
        correlation[start : start + _AT_ONCE] = _aligned_correlation(
            thumbnails[first], thumbnails[second], min_correlation
        )
    confirmed = correlation >= min_correlation
    return pd.DataFrame(
        {
            "first": proposed[confirmed, 0],
            "second": proposed[confirmed, 1],
            "hash_distance": _distances(words, proposed[confirmed]),
            "correlation": correlation[confirmed],
        }
    )


def pairs_by_hash(words: NDArray[np.uint64], max_distance: int) -> NDArray[np.int64]:
    """All pairs (M, 2) of hashes (N, W words of 64 bits, W at most 4) that differ in at most max_distance bits.

    Every pair is compared, in tiles that fit into the processor's cache, and half of the words rule out nearly all.
    For 256 bits at distance 48 an index finds no fewer candidates: it leaves 3 of the 16 bits of a band to be wrong.
    Where it leaves at most 2, as 64 bits at distance 8, an index is used.
    """
    if words.shape[1] == 1 and max_distance < 3 * _PARTS:
        return _pairs_by_band(words[:, 0], max_distance)
    found = [np.zeros((0, 2), np.int64)]
    half = max(1, words.shape[1] // 2)
    halves, others = np.ascontiguousarray(words.T[:half]), words[:, half:]
    height, width = _TILE
    for top in range(0, len(words), height):
        for left in range(top, len(words), width):
            rows, columns = halves[:, top : top + height, None], halves[:, None, left : left + width]
            distance = np.bitwise_count(rows[0] ^ columns[0])
            for word in range(1, half):
                distance += np.bitwise_count(rows[word] ^ columns[word])
            # Much faster than np.nonzero on two axes, as hardly any pair is near.
            near = np.flatnonzero(distance <= max_distance)
            first, second = top + near // distance.shape[1], left + near % distance.shape[1]
            more = np.bitwise_count(others[first] ^ others[second]).sum(axis=1, dtype=np.uint16)
            keep = (distance.ravel()[near] + more <= max_distance) & (first < second)
            if keep.any():
                found.append(np.stack([first[keep], second[keep]], axis=1))
    return np.concatenate(found)


def _pairs_by_band(hashes: NDArray[np.uint64], max_distance: int) -> NDArray[np.int64]:
    """The same for hashes (N,) of 64 bits, by multi-index hashing (Norouzi, Punjani and Fleet 2012).

    Of four bands of 16 bits at least one differs in no more than a quarter of the distance, so looking up every value
    that near in each band misses no pair.
    """
    values = np.arange(2**_PART_BITS)
    masks = values[np.bitwise_count(values) <= max_distance // _PARTS]
    found = [np.zeros((0, 2), np.int64)]
    for band in range(_PARTS):
        keys = ((hashes >> np.uint64(_PART_BITS * band)) & np.uint64(2**_PART_BITS - 1)).astype(np.int64)
        order = np.argsort(keys, kind="stable")
        ends = np.cumsum(np.bincount(keys, minlength=2**_PART_BITS))
        sizes = np.diff(ends, prepend=0)
        for mask in masks:
            wanted = keys ^ mask
            count = sizes[wanted]
            first = np.repeat(np.arange(len(hashes)), count)
            within = np.arange(len(first)) - np.repeat(np.cumsum(count) - count, count)
            second = order[np.repeat(ends[wanted] - count, count) + within]
            near = (first < second) & (np.bitwise_count(hashes[first] ^ hashes[second]) <= max_distance)
            found.append(np.stack([first[near], second[near]], axis=1))
    return np.unique(np.concatenate(found), axis=0)


def _distances(words: NDArray[np.uint64], pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Differing bits of each pair."""
    bits: NDArray[np.int64] = np.bitwise_count(words[pairs[:, 0]] ^ words[pairs[:, 1]]).sum(axis=1, dtype=np.int64)
    return bits


def _pairs_by_spectrum(spectra: Floats, min_similarity: float) -> NDArray[np.int64]:
    """All pairs (M, 2) of unit vectors with at least this cosine."""
    found = [np.zeros((0, 2), np.int64)]
    step = max(1, _CELLS_AT_ONCE // max(1, len(spectra)))
    for start in range(0, len(spectra), step):
        found.append(_upper(spectra[start : start + step] @ spectra[start:].T >= min_similarity) + start)
    return np.concatenate(found)


def _upper(near: NDArray[np.bool_]) -> NDArray[np.int64]:
    pairs = np.argwhere(near)
    return pairs[pairs[:, 1] > pairs[:, 0]]


def _spectra(thumbnails: NDArray[np.uint8]) -> Floats:
    """Unit vectors (N, 242) that hardly change under shift, crop and contrast.

    The magnitude of the Fourier transform ignores shift; averaging it in bands of constant width in log frequency,
    along either axis, absorbs some scaling (the idea of Fourier-Mellin registration: Reddy & Chatterji 1996).
    """
    filters = _bands()
    window = np.hanning(_SIDE).astype(np.float32)
    blur = _blurring(_SIDE, _SPECTRUM_BLUR)
    spectra = np.zeros((len(thumbnails), 2 * len(filters) ** 2), np.float32)
    for start in range(0, len(thumbnails), _AT_ONCE):
        detail = _detail(thumbnails[start : start + _AT_ONCE].astype(np.float32), blur)
        local_contrast = np.sqrt((blur @ detail**2 @ blur.T).clip(0))
        windowed = detail / (local_contrast + 2) * window[:, None] * window
        magnitude = np.abs(np.fft.rfft2(windowed)).astype(np.float32)
        # Rows 0 … 32 are the frequencies of one diagonal direction, rows 0, 63 … 32 those of the other.
        falling = magnitude[:, : _SIDE // 2 + 1]
        rising = magnitude[:, -np.arange(_SIDE // 2 + 1)]
        bands = np.log(0.5 + np.stack([filters @ falling @ filters.T, filters @ rising @ filters.T], axis=1))
        vectors = bands.reshape(len(bands), -1)
        vectors -= vectors.mean(axis=1, keepdims=True)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-6)
        spectra[start : start + len(vectors)] = vectors / lengths
    return spectra


def _bands() -> Floats:
    """(11, 33) averaging filters over the frequencies 0 … 32: the lowest two, then triangles in log frequency."""
    frequency = np.arange(_SIDE // 2 + 1)
    corners = np.geomspace(*_BAND_RANGE, _BANDS + 2)
    filters = [(frequency < 2).astype(np.float64)]
    for low, peak, high in zip(corners, corners[1:], corners[2:], strict=False):
        triangle = np.minimum((frequency - low) / (peak - low), (high - frequency) / (high - peak)).clip(0)
        filters.append(triangle if triangle.any() else (frequency == round(peak)).astype(np.float64))
    averaging: Floats = np.stack([weights / weights.sum() for weights in filters]).astype(np.float32)
    return averaging


def _aligned_correlation(
    first: NDArray[np.uint8], second: NDArray[np.uint8], minimum: float
) -> NDArray[np.float64]:
    """Correlation of each pair of pictures after laying the second over the first, in [-1, 1].

    first, second: (B, 64, 64). A pair below `minimum` at one stage goes no further: finer detail agrees less.
    """
    correlation = np.full(len(first), -1.0)
    near = np.arange(len(first))
    warp: Floats = np.tile(np.array([1, 0, 1, 0], np.float32), (len(first), 1))
    for stage in _STAGES:
        if not len(near):
            break
        blur = _blurring(stage.side, stage.blur)
        details = [_detail(_shrunk(thumbnails[near], stage.side), blur) for thumbnails in (first, second)]
        correlation[near], warp = _align(details[0], details[1], warp, stage)
        above = correlation[near] >= minimum
        near, warp = near[above], warp[above]
    return correlation


def _align(first: Floats, second: Floats, warp: Floats, stage: _Stage) -> tuple[Floats, Floats]:
    """The best correlation met on the way, and its warp, over the steps of a stage.

    warp: (B, 4) = scale and shift along x, scale and shift along y: the point x of `first` is the point
    scale · x + shift of `second`, both from -1 to 1. Inverse compositional Lucas-Kanade: Baker & Matthews (2004),
    "Lucas-Kanade 20 Years On", section 3.2, so the derivatives are those of `first` and are taken once.
    """
    side = first.shape[-1]
    grid = np.linspace(-1, 1, side, dtype=np.float32)
    template = _standardised(first, np.ones_like(first))
    slope_y, slope_x = np.gradient(template, 2 / (side - 1), axis=(1, 2))
    descent = np.stack([slope_x * grid, slope_x, slope_y * grid[:, None], slope_y], axis=1)
    descent = descent.reshape(len(first), 4, -1)
    hessian = descent @ descent.transpose(0, 2, 1)
    damping = 1e-3 * np.trace(hessian, axis1=1, axis2=2)[:, None, None] / 4 + 1e-6
    solver = np.linalg.inv(hessian + damping * np.eye(4, dtype=np.float32)) @ descent

    best, best_warp = np.full(len(first), -1, np.float32), warp
    reach = 1 - stage.margin + 1e-4
    for step in range(stage.steps + 1):
        x, y = warp[:, 0:1] * grid + warp[:, 1:2], warp[:, 2:3] * grid + warp[:, 3:4]
        inside_x, inside_y = ((np.abs(at) <= reach) & (np.abs(grid) <= reach) for at in (x, y))
        inside = (inside_y[:, :, None] & inside_x[:, None, :]).astype(np.float32)
        overlap = inside.mean((1, 2))
        moved = _standardised(_sampling(y) @ second @ _sampling(x).transpose(0, 2, 1), inside)
        correlation = (_standardised(first, inside) * moved).mean((1, 2)) / np.maximum(overlap, 1e-6)
        correlation[overlap < _LEAST_OVERLAP] = -1
        better = correlation > best
        best = np.where(better, correlation, best)
        best_warp = np.where(better[:, None], warp, best_warp)
        if step < stage.steps:
            residual = (moved - template) * inside
            move = (solver @ residual.reshape(len(first), -1, 1))[:, :, 0]
            scale = (warp[:, ::2] / (1 + move[:, ::2].clip(-0.2, 0.2))).clip(1 / _MOST_SCALING, _MOST_SCALING)
            shift = (warp[:, 1::2] - scale * move[:, 1::2]).clip(-_MOST_SHIFT, _MOST_SHIFT)
            warp = np.stack([scale[:, 0], shift[:, 0], scale[:, 1], shift[:, 1]], axis=1)
    return best, best_warp


def _sampling(points: Floats) -> Floats:
    """Linear interpolation at `points` (B, S), from -1 to 1, as matrices (B, S, S); 0 outside."""
    side = points.shape[-1]
    position = (points + 1) * ((side - 1) / 2)
    weights: Floats = (1 - np.abs(position[:, :, None] - np.arange(side, dtype=np.float32))).clip(0)
    return weights


def _standardised(pictures: Floats, inside: Floats) -> Floats:
    """Mean 0 and standard deviation 1 where inside is 1; 0 elsewhere."""
    count = np.maximum(inside.sum((1, 2), keepdims=True), 1)
    centred: Floats = (pictures - (pictures * inside).sum((1, 2), keepdims=True) / count) * inside
    centred /= np.sqrt((centred**2).sum((1, 2), keepdims=True) / count + 1e-6)
    return centred


def _detail(pictures: Floats, blur: Floats) -> Floats:
    """The pictures less their blurred selves."""
    return pictures - blur @ pictures @ blur.T


def _blurring(side: int, width: float) -> Floats:
    """(side, side) Gaussian blur along one axis; at the borders it averages over what there is."""
    offset = np.arange(side, dtype=np.float32)
    weights: Floats = np.exp(-((offset[:, None] - offset) ** 2) / (2 * width**2))
    weights /= weights.sum(axis=1, keepdims=True)
    return weights


def _thumbnails(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(N, 64, 64) uint8 averages of the images."""
    thumbnails = np.zeros((len(images), _SIDE, _SIDE), np.uint8)
    for thumbnail, image in zip(thumbnails, images, strict=True):
        thumbnail[:] = np.asarray(Image.fromarray(image).resize((_SIDE, _SIDE), Image.Resampling.BOX))
    return thumbnails


def _shrunk(thumbnails: NDArray[np.uint8], side: int) -> Floats:
    """(B, side, side) averages of square blocks of pixels."""
    factor = _SIDE // side
    blocks = thumbnails.reshape(-1, side, factor, side, factor)
    shrunk: Floats = blocks.mean(axis=(2, 4), dtype=np.float32)
    return shrunk
