"""ROC AUC with its DeLong variance, for independent images and for several images of one patient.

Fast form: a placement needs two binary searches, so n images cost O(n log n) instead of one comparison per pair
of a positive and a negative. The installed MLstatkit gives the paired test alone, without covariances, without
clusters and twenty times slower; the tests hold this module to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import norm

from data_contracts.errors import ModelGateError
from models.evaluation.bootstrap import Groups
from models.evaluation.results import Estimate

Z = float(norm.ppf(0.975))
# Above this AUC, and with fewer images than this on one side, the symmetric interval covers too rarely and can
# leave [0, 1]; Qin & Hotilovac 2008, Statistical Methods in Medical Research 17:207.
HIGH_AUC = 0.90
FEW_IMAGES = 50


@dataclass(frozen=True, slots=True)
class RocAreas:
    """ROC AUCs of M scores of the same images, auc (M,), and their covariance (M, M).

    The covariance is nan where one side has a single identity group: its spread cannot be seen.
    disjoint_pairs: how many pairs of a positive and a negative can be formed of which no two share a group.
    """

    auc: NDArray[np.float64]
    covariance: NDArray[np.float64]
    n_positive: int
    n_negative: int
    disjoint_pairs: int


def placements(
    positive: NDArray[np.bool_], scores: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of negatives each positive outscores (m,), and of positives that outscore each negative (n,).

    Ties count half. Sun & Xu 2014, IEEE Signal Processing Letters 21:1389.
    """
    above, below = scores[positive], scores[~positive]
    sorted_above, sorted_below = np.sort(above), np.sort(below)
    beats = np.searchsorted(sorted_below, above, "left") + np.searchsorted(sorted_below, above, "right")
    beaten = np.searchsorted(sorted_above, below, "left") + np.searchsorted(sorted_above, below, "right")
    return beats / (2 * len(below)), 1 - beaten / (2 * len(above))


def roc_areas(positive: NDArray[np.bool_], scores: NDArray[np.float64], groups: Groups | None = None) -> RocAreas:
    """AUCs and covariance of DeLong, DeLong & Clarke-Pearson 1988 (Biometrics 44:837).

    positive (n,) with both values present; scores (n,) or (n, M), higher means more likely positive. With
    groups, images of one group are correlated evidence: Obuchowski 1997 (Biometrics 53:567), which is DeLong's
    covariance where every group is one image. Raises ModelGateError where a score is not finite.
    """
    columns = scores.reshape(len(positive), -1)
    if not np.isfinite(columns).all():
        raise ModelGateError(
            f"{int((~np.isfinite(columns)).sum())} scores are not finite.",
            why="An image without a score has no rank, and the AUC would depend on where it was put.",
            cure="Look at the learning curve of the model; train again with a lower learning rate.",
        )
    if groups is None:
        groups = Groups.each_image_alone(len(positive))
    pairs = [placements(positive, column) for column in columns.T]
    auc = np.array([beats.mean() for beats, _ in pairs])
    of_positives, of_negatives = groups.at(positive), groups.at(~positive)
    x = of_positives.totals(np.stack([beats for beats, _ in pairs]) - auc[:, None])
    y = of_negatives.totals(np.stack([beaten for _, beaten in pairs]) - auc[:, None])
    m, n = int(positive.sum()), int((~positive).sum())
    with_positive, with_negative, total = (_groups_seen(part) for part in (of_positives, of_negatives, groups))
    covariance = (
        _small_sample(with_positive) * (x @ x.T) / m**2
        + _small_sample(with_negative) * (y @ y.T) / n**2
        + _small_sample(total) * (x @ y.T + y @ x.T) / (m * n)
    )
    disjoint = min(with_positive, with_negative, total // 2)
    return RocAreas(auc, covariance, m, n, disjoint)


def auc_estimate(
    positive: NDArray[np.bool_], scores: NDArray[np.float64], groups: Groups | None = None
) -> Estimate:
    """ROC AUC of one score (n,) with its 95 % interval, undefined where a class is empty.

    method: "delong" (or "obuchowski" with groups), with "-logit" where the interval was formed on the logit
    scale. An AUC of exactly 1 or 0 has no variance, yet is no certainty: its interval is that of k successes
    in k disjoint pairs. Every pair in order implies these k in order, and a model of true AUC A orders
    independent pairs so with a chance of at most A^k; hence the Clopper-Pearson bound holds, conservatively.
    """
    n = len(positive)
    if not positive.any() or positive.all():
        missing = "negative" if n and positive.all() else "positive"
        return Estimate(value=None, n=n, undefined=f"no {missing} image" if n else "no image")
    areas = roc_areas(positive, scores, groups)
    auc, variance = float(areas.auc[0]), float(areas.covariance[0, 0])
    if auc in (0, 1):
        bound = certainty_bound(areas.disjoint_pairs)
        low, high = (bound, 1.0) if auc == 1 else (0.0, 1 - bound)
        method = f"clopper-pearson over {areas.disjoint_pairs} disjoint pairs"
        return Estimate(value=auc, low=low, high=high, n=n, method=method)
    if not np.isfinite(variance):
        return Estimate(value=auc, n=n, method="no interval: a side has images of one identity group only")
    if variance <= 0:
        return Estimate(value=auc, n=n, method="no interval: the scores do not vary")
    method = "delong" if groups is None else "obuchowski"
    half = Z * np.sqrt(variance)
    if max(auc, 1 - auc) > HIGH_AUC or min(areas.n_positive, areas.n_negative) < FEW_IMAGES:
        method += "-logit"
        half_logit = half / (auc * (1 - auc))  # delta method
        low, high = expit(logit(auc) - half_logit), expit(logit(auc) + half_logit)
    else:
        low, high = max(0.0, auc - half), min(1.0, auc + half)
    return Estimate(value=auc, low=float(low), high=float(high), n=n, method=method)


def certainty_bound(successes: int) -> float:
    """Lower 95 % Clopper-Pearson bound of k successes in k trials, in [0, 1): 0.025 ** (1 / k), 0 for none."""
    return float(0.025 ** (1 / successes)) if successes else 0.0


def _groups_seen(groups: Groups) -> int:
    return int(np.count_nonzero(np.bincount(groups.of_image, minlength=groups.count)))


def _small_sample(clusters: int) -> float:
    return clusters / (clusters - 1) if clusters > 1 else np.nan
