"""How good the network is on the validation images after an epoch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import nn

from data_contracts.errors import ModelGateError
from models.output import to_probabilities
from models.preprocessing import Preprocessing
from models.training.batches import LabelledRows, consecutive_batches
from models.training.class_balance import ClassBalance
from models.training.device import Compute
from models.training.objectives import Objective


class Reader(Protocol):
    """What images, or features of them, are read from: a `Feed`, or `FrozenFeatures`."""

    def stream(self, batches: Iterable[NDArray[np.int64]]) -> Iterator[torch.Tensor]:
        """What is kept of one batch of store rows after another."""
        ...


@dataclass(frozen=True, slots=True)
class ValidationScores:
    """loss: what the phase minimises, classes weighed as in training. macro_auc: None where a class has no image.

    accuracy: share of known answers that are right. classification, reconstruction: the two terms of the loss; None
    where the phase lacks one.
    """

    loss: float
    macro_auc: float | None
    accuracy: float | None
    classification: float | None
    reconstruction: float | None


def validate(
    model: nn.Module,
    feed: Reader,
    val: LabelledRows,
    balance: ClassBalance,
    *,
    reconstruction_weight: float = 0.0,
    preprocessing: Preprocessing | None,
    compute: Compute,
    batch_size: int,
    epoch: int,
) -> ValidationScores:
    """Scores of `model` on the validation images, in the precision of training.

    preprocessing: of what `feed` reads; None where that is the model's input already. Raises ModelGateError where the
    network answers with numbers that are not finite.
    """
    objective = Objective.of(
        balance, torch.device("cpu"), reconstruction_weight=reconstruction_weight, dtype=torch.float64
    )
    logits, errors = _answers(model, feed, val.rows, objective, preprocessing, compute, batch_size)
    broken = val.rows[~(np.isfinite(logits).all(axis=1) & np.isfinite(errors))]
    if len(broken):
        raise ModelGateError(
            f"After epoch {epoch} the network's output is not finite for {len(broken)} of {len(val)} "
            f"validation images (first store row: {broken[0]}).",
            why="The weights have diverged; nothing learned from here on would mean anything.",
            cure="Lower learning_rate or gradient_clip, or set `precision: fp32`.",
        )
    reconstruction = float(errors.mean()) if reconstruction_weight else None
    if reconstruction_weight == 1:
        return ValidationScores(float(errors.mean()), None, None, None, reconstruction)
    losses, weights = objective.entries(torch.from_numpy(logits), torch.from_numpy(val.targets))
    weighed = float((losses * weights).sum()), float(weights.sum())
    probabilities = to_probabilities(logits, balance.output)
    return ValidationScores(
        loss=objective.mean(*weighed, reconstruction or 0.0),
        macro_auc=macro_auc(val.targets, probabilities),
        accuracy=_accuracy(val.targets, probabilities, balance.output == "sigmoid"),
        classification=weighed[0] / weighed[1] if weighed[1] else None,
        reconstruction=reconstruction,
    )


def macro_auc(targets: NDArray[np.int8], probabilities: NDArray[np.float64]) -> float | None:
    """Unweighted mean one-vs-rest ROC AUC over the K columns; None unless every class has images with and without it.

    targets: (n, K); an image whose truth is unknown for a class is left out of that class's AUC.
    """
    aucs = []
    for truth, score in zip(targets.T, probabilities.T, strict=True):
        known = truth >= 0
        if len(np.unique(truth[known])) < 2:
            return None
        aucs.append(roc_auc_score(truth[known] == 1, score[known]))
    return float(np.mean(aucs))


def undefined_classes(targets: NDArray[np.int8], class_names: list[str]) -> list[str]:
    """The classes without a positive or without a known negative image: their AUC is undefined."""
    return [name for name, truth in zip(class_names, targets.T, strict=True) if not {0, 1} <= set(truth.tolist())]


def _accuracy(targets: NDArray[np.int8], probabilities: NDArray[np.float64], multi_label: bool) -> float | None:
    if not multi_label:
        return float((probabilities.argmax(axis=1) == targets.argmax(axis=1)).mean())
    known = targets >= 0
    return float(((probabilities >= 0.5) == (targets == 1))[known].mean()) if known.any() else None


@torch.inference_mode()
def _answers(
    model: nn.Module,
    feed: Reader,
    rows: NDArray[np.int64],
    objective: Objective,
    preprocessing: Preprocessing | None,
    compute: Compute,
    batch_size: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n, J) logits and (n,) reconstruction errors, 0 where the phase does not reconstruct."""
    model.eval()
    parts, errors = [], []
    with compute.autocast():
        for images in feed.stream(consecutive_batches(rows, batch_size)):
            inputs = images if preprocessing is None else preprocessing.apply(images)
            logits, error = objective.answers(model, inputs)
            parts.append(logits)
            errors.append(logits.new_zeros(len(logits)) if error is None else error)
    first, second = (torch.cat(some).to("cpu", torch.float64).numpy() for some in (parts, errors))
    return first, second
