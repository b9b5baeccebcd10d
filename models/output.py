"""What a network's numbers mean: how many it gives for a task, and how they become probabilities."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

# softmax: one logit per class, exactly one class is true. sigmoid: one logit per class, any number may be true.
# binary: one logit, that of the second of two classes.
Output = Literal["softmax", "sigmoid", "binary"]


def output_count(output: Output, classes: int) -> int:
    """How many logits the network has for that many classes."""
    return 1 if output == "binary" else classes


def to_probabilities(logits: NDArray[np.float64], output: Output) -> NDArray[np.float64]:
    """(n, output_count) logits -> (n, K) probabilities, one column per class in task order."""
    if output == "softmax":
        return np.asarray(softmax(logits, axis=1), dtype=np.float64)
    positive = np.asarray(expit(logits), dtype=np.float64)
    # 1 - expit(x) loses digits where x is large; expit(-x) does not.
    return positive if output == "sigmoid" else np.concatenate([expit(-logits), positive], axis=1)
