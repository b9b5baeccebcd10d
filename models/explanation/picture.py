"""One Grad-CAM picture as PNG: the grey image beside the same image with the map laid over it.

It can be read without seeing colour: a contour encloses where the map reaches half of its maximum, and a
cross marks the maximum. A bar shows the colours from zero to the maximum.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import label

TILE = 160  # pixels; pages show the picture about as wide as it is
GAP = 4  # white pixels between the two tiles, and before the colour bar
BAR = 8  # width of the colour bar, pixels
WIDTH = TILE + GAP + TILE + GAP + BAR

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
    """PNG bytes of the image, the image under its map, and the colour bar; TILE high, WIDTH wide.

    image (H, W) grey levels; cam (h, w) >= 0 over the same field of view, scaled here to its own maximum. An
    all-zero map leaves the second tile grey and has no bar. The same input gives the same bytes.
    """
    grey = np.asarray(Image.fromarray(image).resize((TILE, TILE), Image.Resampling.BICUBIC))
    plain = np.repeat(grey[:, :, None], 3, axis=2).astype(np.float64)
    white, no_bar = (np.full((TILE, width, 3), 255.0) for width in (GAP, BAR))
    marked = cam.max() > 0
    tiles = [plain, white, _covered(plain, cam) if marked else plain, white, _bar() if marked else no_bar]
    picture = np.concatenate(tiles, axis=1).round().astype(np.uint8)
    buffer = io.BytesIO()
    # Full colour, about 30 KB: a palette of 256 would halve it and draw steps that are not in the map.
    Image.fromarray(picture).save(buffer, format="PNG")
    return buffer.getvalue()


def peak(cam: NDArray[np.float32]) -> tuple[int, int]:
    """Row and column of the maximum of a map (H, W) that is not all zero; of equal maxima the first.

    Enlarging makes a maximum at the edge a plateau; this is the middle of it.
    """
    plateaus, _ = label(cam >= 0.999 * cam.max())
    first = plateaus.flat[int(cam.argmax())]
    row, column = np.median(np.argwhere(plateaus == first), axis=0).astype(int)
    return int(row), int(column)


def _covered(plain: NDArray[np.float64], cam: NDArray[np.float32]) -> NDArray[np.float64]:
    """The plain tile with the map's colours, its contour and its peak."""
    scaled = Image.fromarray((cam / cam.max()).astype(np.float32))
    strength = np.asarray(scaled.resize((TILE, TILE), Image.Resampling.BILINEAR), dtype=np.float32)
    covered = _coloured(plain, strength)
    _draw_contour(covered, strength)
    cross = _cross_at(*peak(strength))
    covered[_beside(cross) & ~cross] = 0
    covered[cross] = 255
    return covered


def _bar() -> NDArray[np.float64]:
    """The colours over mid grey from the maximum at the top to zero at the bottom, with the contour's height."""
    strength = np.repeat(np.linspace(1, 0, TILE, dtype=np.float32)[:, None], BAR, axis=1)
    bar = _coloured(np.full((TILE, BAR, 3), 128.0), strength)
    _draw_contour(bar, strength)
    return bar


def _coloured(plain: NDArray[np.float64], strength: NDArray[np.float32]) -> NDArray[np.float64]:
    """The picture (h, w, 3) under the colours of strength (h, w) in [0, 1], the more opaque the stronger."""
    positions = np.linspace(0, 1, len(_ANCHORS))
    colours = np.stack([np.interp(strength, positions, channel) for channel in _ANCHORS.T], axis=-1)
    alpha = _STRONGEST_ALPHA * np.clip((strength - _FAINT) / (1 - _FAINT), 0, 1)[:, :, None]
    coloured: NDArray[np.float64] = (1 - alpha) * plain + alpha * colours
    return coloured


def _draw_contour(picture: NDArray[np.float64], strength: NDArray[np.float32]) -> None:
    # White beside black: one of them shows on any grey.
    inside = strength >= _CONTOUR
    picture[inside & _beside(~inside)] = 255
    picture[~inside & _beside(inside)] = 0


def _cross_at(row: int, column: int) -> NDArray[np.bool_]:
    cross = np.zeros((TILE, TILE), dtype=np.bool_)
    cross[max(row - _ARM, 0) : row + _ARM + 1, column] = True
    cross[row, max(column - _ARM, 0) : column + _ARM + 1] = True
    return cross


def _beside(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The region and its four-neighbours; the edge of the picture is no border of a region."""
    padded = np.pad(region, 1, mode="edge")
    return region | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
