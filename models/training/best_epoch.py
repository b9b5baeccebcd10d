"""Which epoch's weights are kept, and when to stop looking for better ones."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from models.training.history import EpochRecord

# Differences below this are noise of the order of one swapped pair of images.
MINIMUM_GAIN = 1e-4


class BestEpoch:
    """Remembers the weights of the best epoch offered so far.

    An epoch is better by validation macro AUC; where two are equal to 1e-4, or the AUC is undefined, by the
    lower validation loss of the classification. Small validation sets reach an AUC of 1 long before the network is
    done, hence the second rule. record: that of the best epoch, None before the first offer; epochs_since: how many
    were no better.
    """

    def __init__(self) -> None:
        self.record: EpochRecord | None = None
        self.weights: dict[str, torch.Tensor] = {}
        self.epochs_since = 0

    @property
    def epoch(self) -> int:
        """The number of the best epoch; 0 before the first offer."""
        return self.record.epoch if self.record else 0

    def offer(self, record: EpochRecord, model: nn.Module) -> None:
        """Copy the model's weights if this epoch is the best, else count it."""
        if self.record is None or _is_better(record, self.record):
            self.record = record
            self.weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
            self.epochs_since = 0
        else:
            self.epochs_since += 1

    def recall(self, record: EpochRecord | None, weights: Mapping[str, torch.Tensor], epochs_since: int) -> None:
        """Take up where an interrupted training was."""
        self.record, self.weights, self.epochs_since = record, dict(weights), epochs_since

    def restore(self, model: nn.Module) -> None:
        """Put the best epoch's weights into the model."""
        model.load_state_dict(self.weights)


def _is_better(record: EpochRecord, best: EpochRecord) -> bool:
    if record.val_macro_auc is not None and best.val_macro_auc is not None:
        gain = record.val_macro_auc - best.val_macro_auc
        if abs(gain) > MINIMUM_GAIN:
            return gain > 0
    return _classification_loss(record) < _classification_loss(best) - MINIMUM_GAIN


def _classification_loss(record: EpochRecord) -> float:
    # A joint loss also holds the reconstruction; only the classification is comparable between phases.
    return record.val_loss if record.val_classification_loss is None else record.val_classification_loss
