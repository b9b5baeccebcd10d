"""Picture files that cost what radiographs cost to decode: slow shading and fine noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def write_pictures(
    folder: Path, count: int, size: tuple[int, int] = (1024, 1024), suffix: str = ".png", **options: Any
) -> None:
    """Grey pictures in two class folders; a 1024 x 1024 PNG has about 400 KB. size: width, height."""
    rng = np.random.default_rng(0)
    for number in range(count):
        shading = Image.fromarray(rng.integers(40, 216, (12, 12)).astype(np.uint8))
        smooth = np.asarray(shading.resize(size, Image.Resampling.BICUBIC), dtype=np.float64)
        noisy = np.clip(smooth + rng.normal(0, 1.2, smooth.shape), 0, 255).astype(np.uint8)
        path = folder / f"class_{number % 2}" / f"{number}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noisy).save(path, **options)
