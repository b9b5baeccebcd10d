"""How good the network is on the validation images after an epoch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.metrics import roc_auc_score
from torch import nn

from data_contracts.errors import ModelGateError
from models.preprocessing import Preprocessing
from models.training.batches import LabelledRows, consecutive_batches, read_images
from models.training.device import Compute


@dataclass(frozen=True, slots=True)
class ValidationScores:
    """loss: mean per image, classes weighed as in training. macro_auc: None where a class has no image."""

    loss: float
    macro_auc: float | None
    accuracy: float


def validate(
    model: nn.Module,
    images: NDArray[np.uint8],
    val: LabelledRows,
    weights: NDArray[np.float64],
    *,
    preprocessing: Preprocessing,
    compute: Compute,
    batch_size: int,
    epoch: int,
) -> ValidationScores:
    """Scores of `model` on the validation images, in the precision of training.

    Raises ModelGateError where the network answers with numbers that are not finite.
    """
    logits = _logits(model, images, val.rows, preprocessing, compute, batch_size)
    broken = val.rows[~np.isfinite(logits).all(axis=1)]
    if len(broken):
        raise ModelGateError(
            f"After epoch {epoch} the network's output is not finite for {len(broken)} of {len(val)} "
            f"validation images (first store row: {broken[0]}).",
            why="The weights have diverged; nothing learned from here on would mean anything.",
            cure="Lower learning_rate or gradient_clip, or set `precision: fp32`.",
        )
    log_probabilities = log_softmax(logits, axis=1)
    image_weights = weights[val.labels]
    losses = -log_probabilities[np.arange(len(val)), val.labels]
    return ValidationScores(
        loss=float(np.average(losses, weights=image_weights)),
        macro_auc=macro_auc(val.labels, np.exp(log_probabilities)),
        accuracy=float((log_probabilities.argmax(axis=1) == val.labels).mean()),
    )


def macro_auc(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> float | None:
    """Unweighted mean one-vs-rest ROC AUC over the K columns; None unless every class has an image.

    Two or more classes are given, so each then also has an image of another class.
    """
    classes = range(probabilities.shape[1])
    if any(not (labels == c).any() for c in classes):
        return None
    return float(np.mean([roc_auc_score(labels == c, probabilities[:, c]) for c in classes]))


@torch.inference_mode()
def _logits(
    model: nn.Module,
    images: NDArray[np.uint8],
    rows: NDArray[np.int64],
    preprocessing: Preprocessing,
    compute: Compute,
    batch_size: int,
) -> NDArray[np.float64]:
    model.eval()
    parts = []
    with compute.autocast():
        for batch in consecutive_batches(rows, batch_size):
            inputs = preprocessing.apply(read_images(images, batch, compute.device))
            parts.append(model(inputs))
    logits: NDArray[np.float64] = torch.cat(parts).to("cpu", torch.float64).numpy()
    return logits
