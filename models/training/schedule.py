"""The learning rate of each epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence

from models.training.settings import TrainingSettings


def cosine_learning_rate(epochs_done: float, epochs: int, start: float, final: float) -> float:
    """Half a cosine from `start` at 0 epochs done to `final` at `epochs`, over all of them without restarts.

    final + (start - final) (1 + cos(pi t / T)) / 2: Loshchilov and Hutter, SGDR (2017), equation 5.
    """
    return final + (start - final) * (1 + math.cos(math.pi * epochs_done / epochs)) / 2


def step_learning_rate(epochs_done: int, drops: Sequence[int], start: float) -> float:
    """A tenth of the learning rate after each epoch named in `drops`."""
    return start / math.pow(10, sum(epochs_done >= drop for drop in drops))


def learning_rate(settings: TrainingSettings, epoch: int) -> float:
    """The learning rate of this epoch, counted from 1 over all phases: thawing a network does not start it anew."""
    if settings.schedule == "step":
        return step_learning_rate(epoch - 1, settings.drop_epochs, settings.learning_rate)
    return cosine_learning_rate(epoch - 1, settings.epochs, settings.learning_rate, settings.final_learning_rate)
