"""95 % intervals: binomial for proportions, a bootstrap of identity groups for AUC and balanced accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from statsmodels.stats.proportion import proportion_confint

from models.evaluation.results import Estimate

# A percentile of resamples that mostly could not be computed would describe the lucky ones only.
MAXIMUM_SHARE_LEFT_OUT = 0.10
_WEIGHTS_AT_ONCE = 2_000_000  # float64 cells of one block of resamples: 16 MB


def proportion(successes: int, n: int, *, undefined: str) -> Estimate:
    """Share of successes with its Wilson interval, or Clopper-Pearson where none or all of the n succeed.

    Every image counts as independent. undefined: the reason the estimate carries where n is 0.
    """
    if n == 0:
        return Estimate(value=None, n=0, undefined=undefined)
    at_an_end = successes in (0, n)
    low, high = proportion_confint(successes, n, alpha=0.05, method="beta" if at_an_end else "wilson")
    return Estimate(
        value=successes / n,
        low=float(low),
        high=float(high),
        n=n,
        method="clopper-pearson" if at_an_end else "wilson",
    )


@dataclass(frozen=True, slots=True)
class BootstrapEstimates:
    """One-vs-rest ROC AUC of each class, their unweighted mean, and the mean recall over the classes."""

    class_auc: list[Estimate]
    macro_auc: Estimate
    balanced_accuracy: Estimate


def group_bootstrap(
    labels: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    groups: Sequence[str],
    class_names: Sequence[str],
    *,
    resamples: int,
    seed: int,
) -> BootstrapEstimates:
    """Percentile intervals from resampling whole identity groups with replacement.

    labels (n,) class indices, probabilities (n, K), groups (n,) identity group of each image. A group is
    drawn with all its images, because images of one patient or one picture are not independent evidence. A
    resample in which a class is missing is left out; where more than a tenth are, or where all agree (a
    perfect score on a small split), the estimate has a value and no interval, and its method says why. The
    same seed gives the same intervals. Cost: O(resamples * n * K), vectorised.
    """
    n, n_classes = len(labels), len(class_names)
    truth = labels[:, None] == np.arange(n_classes)
    n_positive = truth.sum(axis=0)
    predicted = probabilities.argmax(axis=1) if n else np.empty(0, np.int64)
    hit = truth & (predicted == labels)[:, None]

    group_of_image = np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1]
    n_groups = int(group_of_image.max()) + 1 if n else 0
    generator = np.random.default_rng(seed)
    class_auc = np.full((n_classes, resamples), np.nan)
    balanced = np.full(resamples, np.nan)
    block = max(1, _WEIGHTS_AT_ONCE // max(n, 1))
    for start in range(0, resamples if n else 0, block):
        stop = min(start + block, resamples)
        weights = _group_counts(generator, n_groups, stop - start)[group_of_image]
        for k in range(n_classes):
            class_auc[k, start:stop] = weighted_auc(truth[:, k], probabilities[:, k], weights)
        with np.errstate(invalid="ignore"):  # 0 / 0 where a resample lacks the class: nan, left out below
            recall = (hit.T.astype(float) @ weights) / (truth.T.astype(float) @ weights)
        balanced[start:stop] = recall.mean(axis=0)

    absent = [name for name, count in zip(class_names, n_positive, strict=True) if count == 0]
    missing = "no image of class " + ", ".join(absent) if absent else ""
    per_class = [
        _class_estimate(truth[:, k], probabilities[:, k], class_auc[k], name) for k, name in enumerate(class_names)
    ]
    values = [estimate.value for estimate in per_class if estimate.value is not None]
    all_defined = len(values) == n_classes
    return BootstrapEstimates(
        class_auc=per_class,
        macro_auc=_percentile_estimate(
            float(np.mean(values)) if all_defined else None,
            class_auc.mean(axis=0),
            n,
            undefined=missing or "only one class is present",
        ),
        balanced_accuracy=_percentile_estimate(
            None if absent else float(np.mean(hit.sum(axis=0) / n_positive)), balanced, n, undefined=missing
        ),
    )


def weighted_auc(
    positive: NDArray[np.bool_], scores: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """ROC AUC (B,) under each of B weightings of the same n images; nan where a side has no weight.

    positive (n,), scores (n,), weights (n, B) whole numbers >= 0. The AUC is the chance that a positive
    scores above a negative, ties counting half (Mann-Whitney); ranks are found once and serve all weightings.
    """
    order = np.argsort(scores, kind="stable")
    positives, negatives = order[positive[order]], order[~positive[order]]
    negative_below = np.zeros((len(negatives) + 1, weights.shape[1]))
    np.cumsum(weights[negatives], axis=0, out=negative_below[1:])
    below = np.searchsorted(scores[negatives], scores[positives], side="left")
    not_above = np.searchsorted(scores[negatives], scores[positives], side="right")
    weight = weights[positives]
    wins = np.einsum("pb,pb->b", weight, negative_below[below] + negative_below[not_above]) / 2
    pairs = weight.sum(axis=0) * negative_below[-1]
    auc = np.full(weights.shape[1], np.nan)
    np.divide(wins, pairs, out=auc, where=pairs > 0)
    return auc


def _group_counts(generator: np.random.Generator, n_groups: int, resamples: int) -> NDArray[np.float64]:
    """How often each group is drawn in each resample, (n_groups, resamples).

    Drawn resample by resample, so that the intervals do not depend on how many are computed at once.
    """
    draws = generator.integers(n_groups, size=(resamples, n_groups)) + n_groups * np.arange(resamples)[:, None]
    counts = np.bincount(draws.ravel(), minlength=resamples * n_groups)
    return counts.reshape(resamples, n_groups).T.astype(np.float64, order="C")


def _class_estimate(
    positive: NDArray[np.bool_], scores: NDArray[np.float64], resampled: NDArray[np.float64], name: str
) -> Estimate:
    if not positive.any():
        value, undefined = None, f"no image of class {name}"
    elif positive.all():
        value, undefined = None, f"no image of another class than {name}"
    else:
        value, undefined = float(roc_auc_score(positive, scores)), ""
    return _percentile_estimate(value, resampled, len(positive), undefined=undefined)


def _percentile_estimate(
    value: float | None, resampled: NDArray[np.float64], n: int, *, undefined: str
) -> Estimate:
    if value is None:
        return Estimate(value=None, n=n, undefined=undefined)
    usable = resampled[np.isfinite(resampled)]
    left_out = len(resampled) - len(usable)
    if left_out > MAXIMUM_SHARE_LEFT_OUT * len(resampled):
        method = f"no interval: {left_out} of {len(resampled)} resamples lack a class"
        return Estimate(value=value, n=n, method=method)
    low, high = np.quantile(usable, [0.025, 0.975])
    if low == high:
        # [1, 1] would claim certainty where the split is merely too small or too easy to show an error.
        return Estimate(value=value, n=n, method="no interval: all resamples give the same value")
    method = "group-bootstrap" + (f", {left_out} resamples lacking a class left out" if left_out else "")
    return Estimate(value=value, low=float(low), high=float(high), n=n, method=method)
