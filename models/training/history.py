"""The learning curve of one training: what each epoch measured."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class EpochRecord(BaseModel):
    """epoch counts from 1. Losses are means per image with each class weighed as in training.

    val_macro_auc is the unweighted mean one-vs-rest ROC AUC, None if undefined.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    epoch: int
    learning_rate: float
    train_loss: float
    val_loss: float
    val_macro_auc: float | None
    val_accuracy: float


class TrainingHistory(BaseModel):
    """All epochs in order and the one whose weights were kept.

    stopped_early is the reason, or empty; selection says in words what chose best_epoch.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: list[EpochRecord]
    best_epoch: int
    stopped_early: str = ""
    selection: str = ""
