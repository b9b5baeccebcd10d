"""The operating point: one threshold per class, chosen once on validation and never tuned again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from statsmodels.stats.proportion import proportion_confint

from models.evaluation.intervals import proportion
from models.evaluation.results import OperatingPoint
from models.evaluation.settings import EvaluationSettings


def choose_operating_points(
    truth: NDArray[np.int8],
    probabilities: NDArray[np.float64],
    class_names: Sequence[str],
    settings: EvaluationSettings,
) -> dict[str, OperatingPoint]:
    """The operating point of each class against the rest, by class name, from the validation split.

    truth (n, K): 1 the class is there, 0 it is not, -1 unknown, and such an image is left out of that class.
    probabilities (n, K). A class without a validation image is absent from the result.
    """
    known = truth >= 0
    return {
        name: choose_operating_point(truth[known[:, k], k] == 1, probabilities[known[:, k], k], settings)
        for k, name in enumerate(class_names)
        if (truth[:, k] == 1).any()
    }


def choose_operating_point(
    positive: NDArray[np.bool_], scores: NDArray[np.float64], settings: EvaluationSettings
) -> OperatingPoint:
    """The largest threshold that reaches the target sensitivity and the required Wilson lower bound.

    positive (n,), at least one true; scores (n,). The largest, because specificity only falls below it. The
    threshold is the score of a positive image, and images that tie with it are called positive too. With too
    few positives for the bound, the target alone decides and `assured` is False.
    """
    n_positive = int(positive.sum())
    required, assured = hits_required(n_positive, settings)
    threshold = float(np.sort(scores[positive])[::-1][required - 1])
    called = scores >= threshold
    hits = int((called & positive).sum())
    if assured:
        note = (
            f"{hits} of {n_positive} validation positives are found; at least {required} had to be for "
            f"a Wilson lower bound of {settings.required_lower_bound:g}."
        )
    else:
        note = (
            f"Validation holds {n_positive} positives; a Wilson lower bound of "
            f"{settings.required_lower_bound:g} needs at least {positives_required(settings)}, all found. "
            f"The threshold meets the target of {settings.target_sensitivity:g} on these images only."
        )
    return OperatingPoint(
        threshold=threshold,
        target_sensitivity=settings.target_sensitivity,
        sensitivity=proportion(hits, n_positive, undefined="no positive image in validation"),
        specificity=proportion(
            int((~called & ~positive).sum()),
            int((~positive).sum()),
            undefined="no negative image in validation",
        ),
        assured=assured,
        note=note,
    )


def hits_required(n_positive: int, settings: EvaluationSettings) -> tuple[int, bool]:
    """How many of n positives must be found, and whether that many assure the required lower bound.

    With the default settings 96 of 100: 95 reach the target, but their Wilson lower bound is 0.888.
    """
    hits = np.arange(1, n_positive + 1)
    # Compared as counts: 0.95 * 20 is 19 and must not fail on the last bit of 19 / 20.
    on_target = hits >= settings.target_sensitivity * n_positive - 1e-9
    lower = proportion_confint(hits, n_positive, alpha=0.05, method="wilson")[0]
    sure = on_target & (lower >= settings.required_lower_bound)
    assured = bool(sure.any())
    return int(hits[sure if assured else on_target][0]), assured


def positives_required(settings: EvaluationSettings) -> int:
    """The fewest positives with which the lower bound can be reached at all, every one of them found.

    The Wilson lower bound of n out of n is n / (n + z^2).
    """
    z_squared = NormalDist().inv_cdf(0.975) ** 2
    return math.ceil(settings.required_lower_bound * z_squared / (1 - settings.required_lower_bound))
