"""Tables of scored images made from random numbers, for the tests of drift."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_contracts.expectations.window import DESCRIPTORS

CLASSES = ("healthy", "sick", "other")


def scored_images(
    n: int, seed: int = 0, *, per_group: int = 2, shift: float = 0.0, dimensions: int = 24
) -> tuple[pd.DataFrame, NDArray[np.float32]]:
    """n images of n / per_group groups and their (n, dimensions) embeddings.

    Images of a group are alike. shift: of every descriptor and of the embeddings, in standard deviations.
    """
    rng = np.random.default_rng(seed)
    group = np.arange(n) // per_group
    own = rng.normal(size=(group.max() + 1, dimensions))[group]
    seen = 0.6 * own + 0.8 * rng.normal(size=(n, dimensions)) + shift
    sure = rng.dirichlet((4, 2, 1), n)
    frame = pd.DataFrame(
        {
            "image_id": [f"{seed:032x}{i:032x}" for i in range(n)],
            "group_id": [f"{seed}-{number}" for number in group],
            "source": rng.choice(["nih", "mendeley"], n, p=[0.7, 0.3]),
            "view": rng.choice(["AP", "PA", ""], n),
            "age": rng.normal(55, 15, n).clip(0, 100),
            "sex": rng.choice(["F", "M"], n),
            "width": rng.choice([1024, 1500, 2000], n),
            "height": rng.choice([1024, 2000], n),
            "mode": "L",
            "format": "PNG",
            "flags": "",
            "label": rng.choice(CLASSES, n),
            "chest_likeness": rng.normal(0.8, 0.05, n),
        }
    )
    frame[list(DESCRIPTORS)] = 100 + 20 * seen[:, : len(DESCRIPTORS)]
    frame[[f"p_{name}" for name in CLASSES]] = sure
    return frame, seen.astype(np.float32)
