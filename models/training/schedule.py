"""The learning rate of each epoch."""

from __future__ import annotations

import math


def cosine_learning_rate(epochs_done: float, epochs: int, start: float, final: float) -> float:
    """Half a cosine from `start` at 0 epochs done to `final` at `epochs`, over all of them without restarts.

    final + (start - final) (1 + cos(pi t / T)) / 2: Loshchilov and Hutter, SGDR (2017), equation 5.
    """
    return final + (start - final) * (1 + math.cos(math.pi * epochs_done / epochs)) / 2
