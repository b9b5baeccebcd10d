"""How much each class counts in the loss."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data_contracts.errors import DataGateError


def class_weights(
    labels: NDArray[np.int64], class_names: list[str], mode: Literal["balanced", "none"]
) -> NDArray[np.float64]:
    """(K,) weights with mean 1 over the training images: n / (K n_c) when balanced, else all 1.

    Raises DataGateError where a class has no training image.
    """
    counts = np.bincount(labels, minlength=len(class_names))
    empty = [name for name, count in zip(class_names, counts, strict=True) if count == 0]
    if empty:
        raise DataGateError(
            f"No training image of class {', '.join(empty)}.",
            why="A network cannot learn a class it never sees, and would still report a probability for it.",
            cure="Add images of that class, choose a task without it, or look at the split in the report.",
        )
    if mode == "none":
        return np.ones(len(class_names))
    return len(labels) / (len(class_names) * counts)
