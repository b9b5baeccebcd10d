"""What happens to a finished picture: a shortcut stamped on it, or another scanner's way of taking it."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy import ndimage

Pixels = NDArray[np.uint8]

# Letters of 5 × 7 dots, as lead markers on the cassette.
_GLYPHS = {
    "R": "####. #...# #...# ####. #.#.. #..#. #...#",
    "L": "#.... #.... #.... #.... #.... #.... #####",
    "3": "####. ....# ....# .###. ....# ....# ####.",
    "A": ".###. #...# #...# ##### #...# #...# #...#",
    "P": "####. #...# #...# ####. #.... #.... #....",
    "5": "##### #.... ####. ....# ....# #...# .###.",
}
VARIANTS = len(_GLYPHS)


class ShortcutKind(StrEnum):
    """What is stamped on the picture."""

    NONE = "none"
    MARKER = "marker"  # a bright letter in an upper corner; another letter and corner for each variant
    BORDER = "border"  # a thin bright frame; brighter for each variant, none for variant 0
    COLLIMATOR = "collimator"  # black edges; wider for each variant, none for variant 0


class ShortcutSettings(BaseModel):
    """A mark that gives the source, or even the disease, away, for testing the shortcut audit.

    strength: share of images 0 … 1 whose mark follows the rule; the others carry a random one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: ShortcutKind = ShortcutKind.NONE
    follows: Literal["source", "disease"] = "source"
    strength: float = Field(default=1.0, ge=0, le=1)


def stamp(pixels: Pixels, kind: ShortcutKind, variant: int) -> Pixels:
    """The square picture with this variant (0 … VARIANTS − 1) of the mark."""
    stamped = pixels.copy()
    size = len(pixels)
    if kind is ShortcutKind.MARKER:
        rows = list(_GLYPHS.values())[variant].split()
        dots = np.array([[dot == "#" for dot in row] for row in rows])
        dot_side = max(1, size // 96)
        letter = np.kron(dots, np.ones((dot_side, dot_side), dtype=bool))
        height, width = letter.shape
        margin = max(2, size // 28)
        left = margin if variant % 2 == 0 else size - margin - width
        stamped[margin : margin + height, left : left + width][letter] = 245
    elif kind is ShortcutKind.BORDER and variant > 0:
        frame = np.ones((size, size), dtype=bool)
        edge = max(1, size // 64)
        frame[edge:-edge, edge:-edge] = False
        stamped[frame] = 110 + 28 * variant
    elif kind is ShortcutKind.COLLIMATOR and variant > 0:
        edge = max(1, round(size * 0.018 * variant))
        stamped[:edge] = stamped[-edge:] = 2
        stamped[:, :edge] = stamped[:, -edge:] = 2
    return stamped


class AcquisitionShift(BaseModel):
    """How another scanner or another technician would change the picture; the default changes nothing.

    gain and offset act on grey levels around mid grey, gamma on their share of 255. blur: sigma in percent of the
    picture's side. noise: standard deviation in grey levels. quarter_turns: counter-clockwise. crop: share of
    the side cut from each edge before the rest is enlarged again.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    gain: float = Field(default=1.0, gt=0, le=4)
    offset: float = Field(default=0.0, ge=-255, le=255)
    gamma: float = Field(default=1.0, gt=0, le=5)
    blur: float = Field(default=0.0, ge=0, le=10)
    noise: float = Field(default=0.0, ge=0, le=100)
    inverted: bool = False
    quarter_turns: int = Field(default=0, ge=0, le=3)
    crop: float = Field(default=0.0, ge=0, le=0.4)

    def apply(self, pixels: Pixels, rng: np.random.Generator) -> Pixels:
        """The shifted picture of a square one; rng gives the noise only."""
        if self == AcquisitionShift():
            return pixels
        grey: NDArray[np.floating] = self._cropped(pixels, order=1).astype(np.float32)
        if self.blur:
            grey = ndimage.gaussian_filter(grey, self.blur / 100 * len(grey))
        grey = (grey - 127.5) * np.float32(self.gain) + np.float32(127.5 + self.offset)
        grey = 255 * (np.clip(grey, 0, 255) / 255) ** np.float32(self.gamma)
        if self.noise:
            grey = grey + np.float32(self.noise) * rng.standard_normal(grey.shape, dtype=np.float32)
        shifted = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
        return np.ascontiguousarray(np.rot90(255 - shifted if self.inverted else shifted, self.quarter_turns))

    def apply_to_mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Where the mask lies in the shifted picture."""
        if not self.crop and not self.quarter_turns:
            return mask
        cropped = self._cropped(mask.astype(np.uint8), order=0).astype(bool)
        return np.ascontiguousarray(np.rot90(cropped, self.quarter_turns))

    def _cropped(self, pixels: Pixels, order: int) -> Pixels:
        if not self.crop:
            return pixels
        size = len(pixels)
        cut = min(round(self.crop * size), (size - 2) // 2)
        inner = pixels[cut : size - cut, cut : size - cut]
        enlarged: Pixels = ndimage.zoom(inner, size / len(inner), order=order, mode="nearest", grid_mode=True)
        return enlarged
