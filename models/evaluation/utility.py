"""What a test is worth where it is used: predictive values, net benefit, and the images needed to know either."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from data_contracts.errors import UsageProblem
from models.evaluation.bootstrap import Groups, bootstrap, ratio
from models.evaluation.delong import Z
from models.evaluation.results import Estimate, NetBenefit, PredictiveValues

PREVALENCES = (0.01, 0.05, 0.10, 0.50)  # from screening to a ward of suspected cases
RISK_THRESHOLDS = (0.05, 0.10, 0.20, 0.30, 0.50)
SENSITIVITY_HALF_WIDTH, AUC_HALF_WIDTH = 0.05, 0.03
SAFE_VALUES = (0.05, 0.95)
_PLANNED_RATIOS = (0.01, 100.0)  # of negatives to positives; beyond, no more help comes from the larger side
_MOST_IMAGES = 10_000_000  # where the search for a sample size gives up


def ppv_at(sensitivity: float, specificity: float, prevalence: float) -> float | None:
    """Chance that a positive call is right (Bayes), None where nothing would be called positive. All in [0, 1]."""
    true, false = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    return true / (true + false) if true + false > 0 else None


def npv_at(sensitivity: float, specificity: float, prevalence: float) -> float | None:
    """Chance that a negative call is right, None where nothing would be called negative."""
    return ppv_at(specificity, sensitivity, 1 - prevalence)


def predictive_values(
    sensitivity: Estimate, specificity: Estimate, prevalences: Sequence[float] = PREVALENCES
) -> list[PredictiveValues]:
    """PPV and NPV at stated prevalences, whatever the class shares of the images they were measured on.

    The interval joins the lower bounds of sensitivity and specificity, and the upper ones. Both predictive
    values grow with both, so it covers at least as often as the narrower method of Mercaldo et al. 2007, and it
    exists where that fails, at a specificity of exactly 1.
    """
    never = ("no image would be called positive", "no image would be called negative")
    return [
        PredictiveValues(
            prevalence=prevalence,
            ppv=_at_prevalence(ppv_at, sensitivity, specificity, prevalence, never[0]),
            npv=_at_prevalence(npv_at, sensitivity, specificity, prevalence, never[1]),
        )
        for prevalence in prevalences
    ]


def _at_prevalence(
    value_at: Callable[[float, float, float], float | None],
    sensitivity: Estimate,
    specificity: Estimate,
    prevalence: float,
    never: str,
) -> Estimate:
    n = sensitivity.n + specificity.n
    if sensitivity.value is None or specificity.value is None:
        return Estimate(value=None, n=n, undefined=sensitivity.undefined or specificity.undefined)
    value = value_at(sensitivity.value, specificity.value, prevalence)
    if value is None:
        return Estimate(value=None, n=n, undefined=never)
    if sensitivity.low is None or sensitivity.high is None or specificity.low is None or specificity.high is None:
        return Estimate(value=value, n=n, method="no interval: sensitivity or specificity has none")
    low = value_at(sensitivity.low, specificity.low, prevalence)
    high = value_at(sensitivity.high, specificity.high, prevalence)
    return Estimate(
        value=value,
        low=0.0 if low is None else low,  # 0 / 0 at a corner: the bound says nothing
        high=1.0 if high is None else high,
        n=n,
        method="joined bounds of sensitivity and specificity",
    )


def net_benefit(true_positives: int, false_positives: int, n: int, threshold: float) -> float:
    """TP / n - FP / n * t / (1 - t) at risk threshold t in (0, 1); Vickers & Elkin 2006, Med Decis Making 26:565."""
    return (true_positives - false_positives * _odds(threshold)) / n


def net_benefit_of_treating_all(prevalence: float, threshold: float) -> float:
    """What calling every patient positive is worth; calling nobody positive is worth 0."""
    return prevalence - (1 - prevalence) * _odds(threshold)


def decision_curve(
    positive: NDArray[np.bool_],
    probability: NDArray[np.float64],
    groups: Groups | None = None,
    *,
    thresholds: Sequence[float] = RISK_THRESHOLDS,
    resamples: int = 2000,
    seed: int = 0,
) -> list[NetBenefit]:
    """Net benefit at risk thresholds in (0, 1), with intervals from resampling identity groups.

    positive (n,), probability (n,) calibrated: a patient is called positive where it is at least the threshold.
    Undefined without images.
    """
    n = len(positive)
    groups = groups or Groups.each_image_alone(n)
    called = probability >= np.asarray(thresholds)[:, None]
    odds = np.array([_odds(threshold) for threshold in thresholds])[:, None]
    worth = np.where(positive, 1.0, -odds) * called
    estimates = bootstrap(
        ratio(worth, np.ones_like(worth), groups),
        groups,
        n=n,
        resamples=resamples,
        seed=seed,
        undefined="no image",
    )
    return [
        NetBenefit(
            threshold=t,
            model=estimate,
            treat_all=net_benefit_of_treating_all(float(positive.mean()), t) if n else None,
        )
        for t, estimate in zip(thresholds, estimates, strict=True)
    ]


def images_for_proportion(expected: float, half_width: float) -> int:
    """Positives needed to know a sensitivity (or negatives for a specificity) to +- half_width at 95 %.

    Buderer 1996, Academic Emergency Medicine 3:895. expected in (0, 1).
    """
    return math.ceil(Z**2 * expected * (1 - expected) / half_width**2)


def hanley_mcneil_error(auc: float, n_positive: int, n_negative: int) -> float:
    """Standard error of an ROC AUC under exponential scores; Hanley & McNeil 1982, Radiology 143:29."""
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = (n_positive - 1) * (q1 - auc**2) + (n_negative - 1) * (q2 - auc**2)
    return math.sqrt((auc * (1 - auc) + spread) / (n_positive * n_negative))


def images_for_auc(expected: float, half_width: float, negatives_per_positive: float = 1.0) -> tuple[int, int]:
    """Fewest positives, with their negatives, that give an AUC to +- half_width at 95 % (Hanley & McNeil 1982).

    expected in [0.5, 1). Raises UsageProblem where ten million positives would not do.
    """

    def enough(n_positive: int) -> bool:
        n_negative = math.ceil(n_positive * negatives_per_positive)
        return Z * hanley_mcneil_error(expected, n_positive, n_negative) <= half_width

    few, many = 1, 2
    while not enough(many):
        few, many = many, many * 2
        if many > _MOST_IMAGES:
            raise UsageProblem(
                f"No collection is large enough for an AUC of {expected:g} to within {half_width:g}.",
                why="The width of the interval falls with the square root of the number of images.",
                cure="Ask for a wider interval.",
            )
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if enough(middle) else (middle, many)
    return many, math.ceil(many * negatives_per_positive)


def sample_size_note(sensitivity: Estimate, roc_auc: Estimate, n_positive: int, n_negative: int) -> str:
    """How many images it would take to know both well, beside how many there are; "" where neither is defined.

    Values close to 0 and 1 are planned for as SAFE_VALUES, because a perfect score would seem to need no image.
    """
    said = []
    if sensitivity.value is not None:
        expected = float(np.clip(sensitivity.value, *SAFE_VALUES))
        needed = images_for_proportion(expected, SENSITIVITY_HALF_WIDTH)
        said.append(
            f"To know a sensitivity of about {expected:.2f} to within {SENSITIVITY_HALF_WIDTH:g} takes "
            f"{needed:,} positive images; there are {n_positive:,}."
        )
    if roc_auc.value is not None:
        expected = min(max(roc_auc.value, 1 - roc_auc.value), SAFE_VALUES[1])
        ratio_here = float(np.clip(n_negative / n_positive, *_PLANNED_RATIOS))
        positives, negatives = images_for_auc(expected, AUC_HALF_WIDTH, ratio_here)
        said.append(
            f"To know an AUC of about {expected:.2f} to within {AUC_HALF_WIDTH:g} takes {positives:,} positive and "
            f"{negatives:,} negative images; there are {n_positive:,} and {n_negative:,}."
        )
    return " ".join(said)


def _odds(threshold: float) -> float:
    if not 0 < threshold < 1:
        raise UsageProblem(
            f"A risk threshold of {threshold:g} is not between 0 and 1.",
            why="It says how many false alarms one found patient is worth: t / (1 - t).",
            cure="Give thresholds such as 0.05 or 0.2.",
        )
    return threshold / (1 - threshold)
