"""Changes to stored images that a network should, or should not, mind.

Each takes uint8 grey levels (B, S, S) and gives as many of the same kind; nothing is drawn by chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Images = NDArray[np.uint8]
Levels = NDArray[np.floating]

CENTRE = 0.60  # of the area, 77 % of the side; Maguolo and Nanni 2021 black out the middle with most of the lungs
CORNER = 0.15  # of the side
_LETTER_HEIGHT = 0.07  # of the side; lead markers on real films are about this high
_BRIGHT = 245  # grey level of a lead marker

MARKERS = ("corners blanked", "R pasted", "L pasted", "text pasted")
_PASTED = {"R pasted": ("R", "left"), "L pasted": ("L", "right"), "text pasted": ("PORTABLE", "left")}

Affine = tuple[tuple[float, float, float], tuple[float, float, float]]


def centre_mask(size: int) -> NDArray[np.bool_]:
    """(size, size) True in the middle square with CENTRE of the area."""
    edge = round(size * (1 - CENTRE**0.5) / 2)
    mask = np.zeros((size, size), dtype=bool)
    mask[edge : size - edge, edge : size - edge] = True
    return mask


def black_centre(images: Images) -> Images:
    """The middle square black."""
    return np.where(centre_mask(images.shape[1]), np.uint8(0), images)


def replaced(images: Images, where: NDArray[np.bool_], filling: Levels) -> Images:
    """The images with `filling` (S, S), the average picture, where `where` (B, S, S) is True.

    An average picture says nothing of one patient, and a network minds it less than an even area.
    """
    return np.where(where, np.rint(filling).astype(np.uint8), images)


def marked(images: Images, kind: str) -> Images:
    """A kind of MARKERS: both upper and lower corners dark, or letters in an upper corner."""
    if kind in _PASTED:
        return np.where(_letters(images.shape[1], *_PASTED[kind]), np.uint8(_BRIGHT), images)
    size = images.shape[1]
    edge = round(size * CORNER)
    corners = np.zeros((size, size), dtype=bool)
    for rows in (slice(None, edge), slice(size - edge, None)):
        corners[rows, :edge] = corners[rows, size - edge :] = True
    # The image's own dark level: a corner of pure black would be a mark of its own.
    dark = np.percentile(images, 1, axis=(1, 2)).astype(np.uint8)
    return np.where(corners, dark[:, None, None], images)


@cache
def _letters(size: int, text: str, side: str) -> NDArray[np.bool_]:
    """Where the letters are: in the upper corner of that side, in Pillow's built-in bitmap font."""
    font = ImageFont.load_default_imagefont()
    left, top, right, bottom = font.getbbox(text)
    written = Image.new("L", (int(right - left), int(bottom - top)))
    ImageDraw.Draw(written).text((-left, -top), text, fill=255, font=font)
    written = written.crop(written.getbbox())
    scale = max(size * _LETTER_HEIGHT / written.height, 0.5)
    height, width = max(4, round(written.height * scale)), min(size // 2, max(3, round(written.width * scale)))
    dots = np.asarray(written.resize((width, height), Image.Resampling.BILINEAR)) > 100
    margin = max(1, round(size * 0.04))
    mask = np.zeros((size, size), dtype=bool)
    start = margin if side == "left" else size - margin - width
    mask[margin : margin + height, start : start + width] = dots
    return mask


def geometries(mirrored: bool) -> dict[str, Affine]:
    """Small changes of geometry by name, output to input position in coordinates from -1 to 1.

    mirrored: with a mirror image, which is harmless only to a network that was trained on mirror images.
    """
    cosine, sine = float(np.cos(np.deg2rad(5))), float(np.sin(np.deg2rad(5)))
    found: dict[str, Affine] = {
        "5 % cropped": ((0.95, 0.0, 0.0), (0.0, 0.95, 0.0)),
        "turned by +5 degrees": ((cosine, -sine, 0.0), (sine, cosine, 0.0)),
        "turned by -5 degrees": ((cosine, sine, 0.0), (-sine, cosine, 0.0)),
    }
    return found | ({"mirrored": ((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0))} if mirrored else {})


def moved(images: Images, affine: Affine) -> Images:
    """The images resampled bilinearly; what comes into view repeats the nearest border pixel, as in training."""
    import torch
    from torch.nn.functional import grid_sample

    from models.training.augmentation import sampling_grid

    levels = torch.from_numpy(np.require(images, requirements=["C", "W"])).to(torch.float32)[:, None]
    grid = sampling_grid(torch.tensor(affine).expand(len(images), 2, 3), *images.shape[1:])
    sampled = grid_sample(levels, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return sampled[:, 0].round_().clamp_(0, 255).to(torch.uint8).numpy()


def histograms(images: Images) -> NDArray[np.float64]:
    """(B, 256) share of pixels at each grey level."""
    counts = np.stack([np.bincount(image.ravel(), minlength=256) for image in images])
    return np.asarray(counts / images[0].size, dtype=np.float64)


def with_histogram(images: Images, wanted: Sequence[NDArray[np.float64]]) -> Images:
    """Each image's grey levels changed, in their order, to be as frequent as `wanted` (256,) says."""
    changed = np.empty_like(images)
    levels = np.arange(256)
    for i, (own, other) in enumerate(zip(histograms(images), wanted, strict=True)):
        # Half of a level's pixels lie below its middle, so a matched image matches itself.
        below, reached = (np.cumsum(shares) - shares / 2 for shares in (own, other))
        changed[i] = np.rint(np.interp(below, reached, levels)).astype(np.uint8)[images[i]]
    return changed
