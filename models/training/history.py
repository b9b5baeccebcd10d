"""The learning curve of one training: what each epoch measured."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class EpochRecord(BaseModel):
    """epoch counts from 1. train_loss and val_loss are what the epoch's phase minimises, each class weighed.

    val_macro_auc: unweighted mean one-vs-rest ROC AUC, None if undefined. val_accuracy: of the answers that are known;
    both None in a phase that only reconstructs. The four parts of the losses, unweighed against each other, are there
    where a network reconstructs its input: classification, and the mean squared error of the reconstruction.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    epoch: int
    learning_rate: float
    train_loss: float
    val_loss: float
    val_macro_auc: float | None
    val_accuracy: float | None
    train_classification_loss: float | None = None
    train_reconstruction_loss: float | None = None
    val_classification_loss: float | None = None
    val_reconstruction_loss: float | None = None


class PhaseRecord(BaseModel):
    """Which epochs trained what: everything, head, reconstruction, classifier or joint."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    first_epoch: int
    last_epoch: int


class TrainingHistory(BaseModel):
    """All epochs in order and the one whose weights were kept.

    stopped_early is the reason, or empty; selection says in words what chose best_epoch; phases cover the planned
    epochs; notes say what went otherwise than the recipe asked.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: list[EpochRecord]
    best_epoch: int
    stopped_early: str = ""
    selection: str = ""
    phases: list[PhaseRecord] = []
    notes: list[str] = []
