"""How much each class counts in the loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data_contracts.errors import DataGateError, UsageProblem
from models.output import Output

ClassWeights = Literal["balanced", "none"] | Mapping[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class ClassBalance:
    """positive, negative: (J,) weights of a true and of a false answer, one per logit; softmax has no false ones."""

    output: Output
    positive: NDArray[np.float64]
    negative: NDArray[np.float64]


def class_balance(
    targets: NDArray[np.int8],
    class_names: list[str],
    output: Output,
    weights: ClassWeights,
    shares: NDArray[np.float64] | None = None,
) -> ClassBalance:
    """The weights of the answers under a loss.

    targets: (n, K) of 1, 0 and -1 unknown, of the training images. shares: (n,) how often an epoch draws each image,
    summing to 1; None: all alike. balanced is n / (K n_c) for softmax, and n_negative / n_positive for the true
    answers of the other two, as torch's pos_weight, both in images as they are drawn: sampling that balances the
    classes leaves nothing to weigh. Raises DataGateError where a class has no training image, or for a multi-label
    task none without it; UsageProblem for weights of classes the task does not have.
    """
    # Whole numbers where all are drawn alike: no rounding.
    drawn = np.ones(len(targets)) if shares is None else shares
    present, absent = ((drawn[:, None] * (targets == truth)).sum(axis=0) for truth in (1, 0))
    _require_images(present, class_names, "of")
    if output == "sigmoid":
        _require_images(absent, class_names, "known to be without")
    named = _named_weights(weights, class_names)
    if output == "softmax":
        positive = drawn.sum() / (len(class_names) * present) if weights == "balanced" else named
        return ClassBalance(output, positive, np.zeros_like(positive))
    if output == "binary":
        true = np.array([present[0] / present[1]]) if weights == "balanced" else named[1:]
        return ClassBalance(output, true, np.ones(1) if weights == "balanced" else named[:1])
    true = absent / present if weights == "balanced" else named
    return ClassBalance(output, true, np.ones(len(class_names)))


def _named_weights(weights: ClassWeights, class_names: list[str]) -> NDArray[np.float64]:
    """(K,) the weights a recipe names, 1 where it names none."""
    named = weights if isinstance(weights, Mapping) else {}
    if unknown := sorted(set(named) - set(class_names)):
        raise UsageProblem(
            f"class_weights names {', '.join(unknown)}, which the task does not have.",
            why="The weight would be lost in silence.",
            cure=f"Use the task's classes: {', '.join(class_names)}.",
        )
    return np.array([named.get(name, 1.0) for name in class_names])


def _require_images(share: NDArray[np.float64], class_names: list[str], relation: str) -> None:
    if empty := [name for name, part in zip(class_names, share, strict=True) if not part > 0]:
        raise DataGateError(
            f"No training image {relation} class {', '.join(empty)}.",
            why="A network cannot learn to tell what it never sees, and would still report a probability for it.",
            cure="Add such images, choose a task without the class, or look at the split in the report.",
        )
