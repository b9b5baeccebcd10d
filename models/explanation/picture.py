"""One Grad-CAM picture as PNG: the grey image beside the same image with the map laid over it.

It can be read without seeing colour: a contour encloses where the map reaches half of its maximum, and a
cross marks the maximum.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

TILE = 224  # pixels
GAP = 4  # white pixels between the two tiles

# RGB from weak to strong, evenly spaced: samples of viridis (Smith and van der Walt, CC0), whose lightness
# rises evenly for every kind of colour vision.
_ANCHORS = np.array(
    [
        (68, 1, 84),
        (71, 45, 123),
        (59, 82, 139),
        (44, 114, 142),
        (33, 145, 140),
        (40, 174, 128),
        (94, 201, 98),
        (173, 220, 48),
        (253, 231, 37),
    ],
    dtype=np.float64,
)
# Weak regions stay grey, or bilinear enlargement of a coarse map would tint the whole chest.
_FAINT = 0.25  # share of the maximum at which colour begins
_STRONGEST_ALPHA = 0.65  # anatomy stays visible below the strongest region
_CONTOUR = 0.5  # share of the maximum
_ARM = 3  # pixels from the centre of the cross to its ends


def draw_cam(image: NDArray[np.uint8], cam: NDArray[np.float32]) -> bytes:
    """PNG bytes of the image beside the image under its map; TILE high, 2 * TILE + GAP wide.

    image (H, W) grey levels; cam (h, w) >= 0 over the same field of view, scaled here to its own maximum. An
    all-zero map leaves the second tile grey. The same input gives the same bytes.
    """
    grey = np.asarray(Image.fromarray(image).resize((TILE, TILE), Image.Resampling.BICUBIC))
    plain = np.repeat(grey[:, :, None], 3, axis=2).astype(np.float64)
    covered = plain if cam.max() <= 0 else _covered(plain, cam)
    gap = np.full((TILE, GAP, 3), 255.0)
    picture = np.concatenate([plain, gap, covered], axis=1).round().astype(np.uint8)
    buffer = io.BytesIO()
    # Full colour, about 100 KB: a palette of 256 would halve it and draw steps that are not in the map.
    Image.fromarray(picture).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _covered(plain: NDArray[np.float64], cam: NDArray[np.float32]) -> NDArray[np.float64]:
    """The plain tile with the map's colours, the more opaque the stronger, its contour and its peak."""
    scaled = Image.fromarray((cam / cam.max()).astype(np.float32))
    strength = np.asarray(scaled.resize((TILE, TILE), Image.Resampling.BILINEAR), dtype=np.float64)
    positions = np.linspace(0, 1, len(_ANCHORS))
    colours = np.stack([np.interp(strength, positions, channel) for channel in _ANCHORS.T], axis=-1)
    alpha = _STRONGEST_ALPHA * np.clip((strength - _FAINT) / (1 - _FAINT), 0, 1)[:, :, None]
    covered: NDArray[np.float64] = (1 - alpha) * plain + alpha * colours
    # White beside black: one of them shows on any grey.
    inside = strength >= _CONTOUR
    covered[inside & _beside(~inside)] = 255
    covered[~inside & _beside(inside)] = 0
    # Enlarging makes a maximum at the edge of the map a plateau; the cross goes to the middle of it.
    row, column = np.median(np.argwhere(strength >= 0.999 * strength.max()), axis=0).astype(int)
    cross = _cross_at(row, column)
    covered[_beside(cross) & ~cross] = 0
    covered[cross] = 255
    return covered


def _cross_at(row: int, column: int) -> NDArray[np.bool_]:
    cross = np.zeros((TILE, TILE), dtype=np.bool_)
    cross[max(row - _ARM, 0) : row + _ARM + 1, column] = True
    cross[row, max(column - _ARM, 0) : column + _ARM + 1] = True
    return cross


def _beside(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The region and its four-neighbours; the edge of the picture is no border of a region."""
    padded = np.pad(region, 1, mode="edge")
    return region | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
