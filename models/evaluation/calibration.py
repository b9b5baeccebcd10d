"""Whether a probability means what it says: Brier score, log loss, calibration error, slope, reliability curve."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_expit, logit
from scipy.stats import norm
from statsmodels.stats.proportion import proportion_confint

from models.evaluation.bootstrap import Groups, bootstrap, ratio
from models.evaluation.delong import Z
from models.evaluation.results import Calibration, Estimate, ReliabilityBin
from models.evaluation.temperature import EPSILON

BINS = 15  # Guo et al. 2017, ICML
IMAGES_PER_BIN = 10  # with fewer, the share of positives of a bin is little more than chance
# Below this Fisher information a coefficient has a standard error above 30: nothing was learned of it.
SMALLEST_INFORMATION = 1e-3


def calibration(
    positive: NDArray[np.bool_],
    probability: NDArray[np.float64],
    groups: Groups | None = None,
    *,
    bins: int = BINS,
    resamples: int = 2000,
    seed: int = 0,
) -> Calibration:
    """Calibration of probability (n,) in [0, 1] for positive (n,): one class against the rest, or the top label.

    For the top label give the highest probability of each image and whether its class is the true one. Brier and
    log loss carry intervals from resampling identity groups, slope and intercept Wald intervals (robust to groups
    of several images). Without images everything is undefined.
    """
    n = len(positive)
    groups = groups or Groups.each_image_alone(n)
    p = np.clip(probability, EPSILON, 1 - EPSILON)
    losses = np.stack([(probability - positive) ** 2, -np.where(positive, np.log(p), np.log1p(-p))])
    brier, log_loss = bootstrap(
        ratio(losses, np.ones_like(losses), groups),
        groups,
        n=n,
        resamples=resamples,
        seed=seed,
        undefined="no image",
    )
    curve = reliability_curve(positive, probability, bins)
    slope, intercept = slope_and_intercept(positive, probability, groups)
    return Calibration(
        n=n,
        brier=brier,
        log_loss=log_loss,
        ece=expected_calibration_error(curve),
        ece_debiased=expected_calibration_error(curve, debiased=True),
        slope=slope,
        intercept=intercept,
        curve=curve,
    )


def reliability_curve(
    positive: NDArray[np.bool_], probability: NDArray[np.float64], bins: int = BINS
) -> list[ReliabilityBin]:
    """At most `bins` bins of nearly equal numbers of images (Nixon et al. 2019), by rising probability.

    There are fewer where a bin would hold less than IMAGES_PER_BIN. Equal probabilities are never split, so the
    order of the images changes nothing. Intervals are Wilson's over images.
    """
    if len(positive) == 0:
        return []
    bins = max(1, min(bins, len(positive) // IMAGES_PER_BIN))
    edges = np.unique(np.quantile(probability, np.arange(1, bins) / bins, method="inverted_cdf"))
    bin_of_image = np.searchsorted(edges, probability, side="left")
    n = np.bincount(bin_of_image)
    filled = n > 0
    n = n[filled]
    hits = np.bincount(bin_of_image, weights=positive)[filled]
    mean = np.bincount(bin_of_image, weights=probability)[filled] / n
    low, high = proportion_confint(hits, n, method="wilson")
    return [
        ReliabilityBin(
            probability=float(mean[b]),
            positive=float(hits[b] / n[b]),
            low=float(low[b]),
            high=float(high[b]),
            n=int(n[b]),
        )
        for b in range(len(n))
    ]


def expected_calibration_error(curve: list[ReliabilityBin], *, debiased: bool = False) -> float | None:
    """Mean absolute gap between probability and share of positives, weighted by images, in [0, 1].

    debiased: less the part that chance puts there, each bin's share of positives taken as normal about its value
    with the binomial variance (Kumar, Liang & Ma 2019, NeurIPS, here with the folded normal's mean instead of
    simulation); not below 0. None for an empty curve.
    """
    if not curve:
        return None
    n = np.array([one.n for one in curve])
    share = np.array([one.positive for one in curve])
    gap = share - np.array([one.probability for one in curve])
    observed = float(np.average(np.abs(gap), weights=n))
    if not debiased:
        return observed
    deviation = np.sqrt(share * (1 - share) / n)
    z = np.divide(gap, deviation, out=np.zeros_like(gap), where=deviation > 0)
    again = np.where(deviation > 0, 2 * deviation * norm.pdf(z) + gap * (1 - 2 * norm.cdf(-z)), np.abs(gap))
    return max(0.0, 2 * observed - float(np.average(again, weights=n)))


def slope_and_intercept(
    positive: NDArray[np.bool_], probability: NDArray[np.float64], groups: Groups | None = None
) -> tuple[Estimate, Estimate]:
    """Logistic recalibration (Cox 1958): slope of the logit, and intercept with the slope held at 1.

    Wald 95 % intervals; with groups of several images from the cluster-robust covariance. Undefined where a
    class is empty, all probabilities are equal (slope), they separate the classes (slope), or all of them are as
    good as 0 or 1 (intercept).
    """
    n = len(positive)
    if not positive.any() or positive.all():
        missing = "negative" if n and positive.all() else "positive"
        nothing = Estimate(value=None, n=n, undefined=f"no {missing} image" if n else "no image")
        return nothing, nothing
    x = logit(np.clip(probability, EPSILON, 1 - EPSILON))
    groups = groups or Groups.each_image_alone(n)
    intercept = _coefficient(np.ones((n, 1)), positive, x, groups)
    if np.ptp(x) == 0:
        return Estimate(value=None, n=n, undefined="all probabilities are equal"), intercept
    if x[positive].min() >= x[~positive].max() or x[positive].max() <= x[~positive].min():
        return Estimate(value=None, n=n, undefined="the probabilities separate the classes"), intercept
    return _coefficient(np.column_stack([np.ones(n), x]), positive, np.zeros(n), groups), intercept


def _coefficient(
    design: NDArray[np.float64], positive: NDArray[np.bool_], offset: NDArray[np.float64], groups: Groups
) -> Estimate:
    """Last coefficient of a logistic regression by maximum likelihood.

    A trust region, because statsmodels' iteratively reweighted fit overflows where a confident answer is wrong.
    """
    sign = np.where(positive, 1.0, -1.0)

    def loss(coefficients: NDArray[np.float64]) -> float:
        return -float(log_expit(sign * (design @ coefficients + offset)).sum())

    def residual(coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(expit(design @ coefficients + offset) - positive, dtype=np.float64)

    def information(coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
        p = expit(design @ coefficients + offset)
        return np.asarray(design.T @ (design * (p * (1 - p))[:, None]), dtype=np.float64)

    fitted = minimize(
        loss,
        np.zeros(design.shape[1]),
        jac=lambda coefficients: design.T @ residual(coefficients),
        hess=information,
        method="trust-exact",
        options={"gtol": 1e-6},
    ).x
    n, seen = len(positive), information(fitted)
    if np.linalg.eigvalsh(seen)[0] < SMALLEST_INFORMATION:
        return Estimate(value=None, n=n, undefined="all probabilities are as good as 0 or 1")
    covariance, method = np.linalg.inv(seen), "wald"
    if groups.count < n:
        scores = groups.totals(design.T * residual(fitted))
        covariance = covariance @ (scores @ scores.T * groups.count / max(groups.count - 1, 1)) @ covariance
        method = "wald, cluster-robust"
    value, half = float(fitted[-1]), Z * float(np.sqrt(covariance[-1, -1]))
    return Estimate(value=value, low=value - half, high=value + half, n=n, method=method)
