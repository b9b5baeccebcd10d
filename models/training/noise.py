"""Noise fields for augmentation: windows at random places of one long sequence of normal draws.

Drawing a field anew for each image took longer than all other augmentation together. A window is a copy. Where two
windows of 2^22 draws overlap, the images under them differ, so nothing can be learned from it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

_PLACES = 1 << 22
# Any fixed number that no recipe's seed is combined with elsewhere.
_STREAM = 7


def noise_fields(seed: int, places: NDArray[np.float64], images: torch.Tensor) -> torch.Tensor:
    """(B, H, W) standard normal float32 for images of that shape, on their device. places: (B,) in [0, 1)."""
    pixels = images[0].numel()
    sequence = _sequence(seed, pixels, images.device)
    starts = (places * _PLACES).astype(np.int64).tolist()
    return torch.stack([sequence[start : start + pixels] for start in starts]).view_as(images)


@lru_cache(maxsize=2)
def _sequence(seed: int, pixels: int, device: torch.device) -> torch.Tensor:
    draws = np.random.default_rng((seed, _STREAM)).standard_normal(_PLACES + pixels, dtype=np.float32)
    return torch.from_numpy(draws).to(device)
