"""95 % intervals: binomial for proportions, a bootstrap of identity groups for AUC and balanced accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from statsmodels.stats.proportion import proportion_confint

from models.evaluation.results import SEVERAL_AT_ONCE, Estimate

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
    truth: NDArray[np.int8],
    probabilities: NDArray[np.float64],
    groups: Sequence[str],
    class_names: Sequence[str],
    *,
    resamples: int,
    seed: int,
    multi_label: bool = False,
) -> BootstrapEstimates:
    """Percentile intervals from resampling whole identity groups with replacement.

    truth (n, K) 1, 0 or -1 where it is unknown, probabilities (n, K), groups (n,) identity group of each image.
    A group is drawn with all its images, because images of one patient or one picture are not independent
    evidence. An image counts for a class only where its truth is known. A resample in which a class is missing
    is left out; where more than a tenth are, or where all agree (a perfect score on a small split), the
    estimate has a value and no interval, and its method says why. Of exclusive classes the means are undefined
    unless every class is there; with multi_label the mean AUC is over the classes that have one, and there is
    no balanced accuracy. The same seed gives the same intervals. Cost: O(resamples * n * K), vectorised.
    """
    n, n_classes = truth.shape
    positive = truth == 1
    n_positive = positive.sum(axis=0)
    most_probable = probabilities.argmax(axis=1) if n else np.empty(0, np.int64)
    hit = positive & (most_probable[:, None] == np.arange(n_classes))

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
        if not multi_label:
            with np.errstate(invalid="ignore"):  # 0 / 0 where a resample lacks the class: nan, left out below
                recall = (hit.T.astype(float) @ weights) / (positive.T.astype(float) @ weights)
            balanced[start:stop] = recall.mean(axis=0)

    per_class = [
        _class_estimate(truth[:, k], probabilities[:, k], class_auc[k], name) for k, name in enumerate(class_names)
    ]
    absent = [name for name, count in zip(class_names, n_positive, strict=True) if count == 0]
    missing = "no image of class " + ", ".join(absent) if absent else ""
    if multi_label:
        balanced_accuracy = Estimate(value=None, n=n, undefined=SEVERAL_AT_ONCE)
    else:
        recalls = hit.sum(axis=0) / np.maximum(n_positive, 1)
        balanced_accuracy = _percentile_estimate(
            None if absent else float(recalls.mean()), balanced, n, undefined=missing
        )
    return BootstrapEstimates(
        class_auc=per_class,
        macro_auc=_macro_estimate(per_class, class_auc, n, missing=missing, multi_label=multi_label),
        balanced_accuracy=balanced_accuracy,
    )


def _macro_estimate(
    per_class: Sequence[Estimate], resampled: NDArray[np.float64], n: int, *, missing: str, multi_label: bool
) -> Estimate:
    """The mean over all classes or, with multi_label, over those whose AUC is defined."""
    values = {k: one.value for k, one in enumerate(per_class) if one.value is not None}
    if not values or (len(values) < len(per_class) and not multi_label):
        undefined = "no class has an AUC" if multi_label else missing or "only one class is present"
        return Estimate(value=None, n=n, undefined=undefined)
    mean = float(np.mean(list(values.values())))
    return _percentile_estimate(mean, resampled[list(values)].mean(axis=0), n, undefined="")


def weighted_auc(
    truth: NDArray[np.int8] | NDArray[np.bool_], scores: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """ROC AUC (B,) under each of B weightings of the same n images; nan where a side has no weight.

    truth (n,): 1 positive, 0 negative, anything else left out; scores (n,); weights (n, B) whole numbers >= 0.
    The AUC is the chance that a positive scores above a negative, ties counting half (Mann-Whitney); ranks are
    found once and serve all weightings.
    """
    order = np.argsort(scores, kind="stable")
    positives, negatives = order[truth[order] == 1], order[truth[order] == 0]
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
    truth: NDArray[np.int8], scores: NDArray[np.float64], resampled: NDArray[np.float64], name: str
) -> Estimate:
    known = truth >= 0
    value, undefined = None, ""
    if not (truth == 1).any():
        undefined = f"no image of class {name}"
    elif not (truth == 0).any():
        undefined = f"no image without class {name}"
    else:
        value = float(roc_auc_score(truth[known], scores[known]))
    return _percentile_estimate(value, resampled, int(known.sum()), undefined=undefined)


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
