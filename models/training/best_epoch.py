"""Which epoch's weights are kept, and when to stop looking for better ones."""

from __future__ import annotations

import torch
from torch import nn

from models.training.history import EpochRecord

# Differences below this are noise of the order of one swapped pair of images.
MINIMUM_GAIN = 1e-4


class BestEpoch:
    """Remembers the weights of the best epoch offered so far.

    An epoch is better by validation macro AUC; where two are equal to 1e-4, or the AUC is undefined, by the
    lower validation loss. Small validation sets reach an AUC of 1 long before the network is done, hence the
    second rule.
    """

    def __init__(self) -> None:
        self._best: EpochRecord | None = None
        self._weights: dict[str, torch.Tensor] = {}
        self.epochs_since = 0

    @property
    def epoch(self) -> int:
        """The number of the best epoch; 0 before the first offer."""
        return self._best.epoch if self._best else 0

    def offer(self, record: EpochRecord, model: nn.Module) -> None:
        """Copy the model's weights if this epoch is the best, else count it."""
        if self._best is None or _is_better(record, self._best):
            self._best = record
            self._weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
            self.epochs_since = 0
        else:
            self.epochs_since += 1

    def restore(self, model: nn.Module) -> None:
        """Put the best epoch's weights into the model."""
        model.load_state_dict(self._weights)


def _is_better(record: EpochRecord, best: EpochRecord) -> bool:
    if record.val_macro_auc is not None and best.val_macro_auc is not None:
        gain = record.val_macro_auc - best.val_macro_auc
        if abs(gain) > MINIMUM_GAIN:
            return gain > 0
    return record.val_loss < best.val_loss - MINIMUM_GAIN
