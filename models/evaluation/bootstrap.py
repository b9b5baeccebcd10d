"""The bootstrap of identity groups: thousands of resamples of any statistic, computed many at a time.

A resample is not a copy of the images but a column of counts: how often each group was drawn. A statistic that
can be written over counts is computed for a whole block of resamples in a few matrix products, with nothing
sorted again. Efron & Tibshirani 1993, An Introduction to the Bootstrap; Field & Welsh 2007 for clusters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.stats import norm

from models.evaluation.results import Estimate

# A percentile of resamples that mostly could not be computed would describe the lucky ones only.
MAXIMUM_SHARE_LEFT_OUT = 0.10
# Groups are left out one by one up to this many, beyond it in this many equal sets: the skewness that BCa needs
# is a sum over independent groups either way.
JACKKNIFE_SETS = 2000
_RESAMPLES_AT_ONCE = 32  # counts of 4,000 groups then fit the processor's second-level cache

PerImage = NDArray[np.number] | NDArray[np.bool_]
# (groups, b) counts, whole numbers >= 0 -> (k, b): k statistics under each of b weightings, nan where undefined.
Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Groups:
    """Which identity group each image belongs to: of_image (n,) numbers in 0 .. count - 1."""

    of_image: NDArray[np.int64]
    count: int

    @classmethod
    def of(cls, names: ArrayLike) -> Self:
        """names (n,): the identity group (or patient) of each image. Numbered by name, whatever their order."""
        unique, of_image = np.unique(np.asarray(names, dtype=str), return_inverse=True)
        return cls(of_image.astype(np.int64), len(unique))

    @classmethod
    def each_image_alone(cls, n: int) -> Self:
        """As many groups as images: every image is independent evidence."""
        return cls(np.arange(n), n)

    def at(self, rows: NDArray[np.bool_]) -> Self:
        """Only some of the images; the groups that are drawn stay all of them."""
        return type(self)(self.of_image[rows], self.count)

    def within(self, rows: NDArray[np.bool_]) -> Self:
        """Only some of the images, and only the groups that these are of."""
        groups, of_image = np.unique(self.of_image[rows], return_inverse=True)
        return type(self)(of_image.astype(np.int64), len(groups))

    def totals(self, per_image: PerImage) -> NDArray[np.float64]:
        """(n,) or (k, n) numbers of images -> (k, count) sums over each group."""
        rows = np.atleast_2d(per_image)
        sums = [np.bincount(self.of_image, weights=row, minlength=self.count) for row in rows]
        return np.array(sums, dtype=np.float64).reshape(len(rows), self.count)


def ratio(numerator: PerImage, denominator: PerImage, groups: Groups) -> Statistic:
    """Sums of one quantity over sums of another: sensitivity, PPV, accuracy, recall per class, mean loss.

    numerator and denominator (n,) or (k, n), of each image; sensitivity is (called & positive) over positive.
    """
    above, below = groups.totals(numerator), groups.totals(denominator)

    def under(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        return divided(above @ counts, below @ counts)

    return under


def roc_auc(positive: NDArray[np.bool_], scores: NDArray[np.float64], groups: Groups) -> Statistic:
    """ROC AUC, one row: the chance that a positive scores above a negative, ties counting half.

    positive (n,), scores (n,). Images are placed between the distinct scores of the positives once; under each
    weighting the wins are then a running sum over these levels.
    """
    levels, level = np.unique(scores[positive], return_inverse=True)
    positives = _weights_by_level(level, np.ones(len(level)), groups.at(positive), len(levels))
    negative_scores, negative_groups = scores[~positive], groups.at(~positive)
    # Half a win from the first level not below the negative and half from the first above it: where they are the
    # same level that is one win, and at a tied level it is half of one.
    halves = [
        _weights_by_level(
            np.searchsorted(levels, negative_scores, side=side),
            np.full(len(negative_scores), 0.5),
            negative_groups,
            len(levels),
        )
        for side in ("left", "right")
    ]
    beaten_from = halves[0] + halves[1]
    sides = groups.totals(np.stack([positive, ~positive]))

    def under(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        beaten = np.cumsum(beaten_from @ counts, axis=0)
        wins = np.einsum("lb,lb->b", positives @ counts, beaten)
        n_positive, n_negative = sides @ counts
        return divided(wins, n_positive * n_negative)[None]

    return under


def one_vs_rest_auc(truth: NDArray[np.int8], scores: NDArray[np.float64], groups: Groups) -> Statistic:
    """ROC AUC of each of K classes against the rest, K rows.

    truth (n, K): 1 positive, 0 negative, -1 unknown (such an image is left out of that class); scores (n, K).
    """
    known = truth >= 0
    return stack(
        *(
            roc_auc(truth[known[:, k], k] == 1, scores[known[:, k], k], groups.at(known[:, k]))
            for k in range(truth.shape[1])
        )
    )


def average_precision(positive: NDArray[np.bool_], scores: NDArray[np.float64], groups: Groups) -> Statistic:
    """Average precision, one row: precision at each positive's score, averaged over the positives.

    positive (n,), scores (n,). As scikit-learn's: no interpolation (Davis & Goadrich 2006). nan without positives.
    """
    levels, level = np.unique(scores[positive], return_inverse=True)
    positives = _weights_by_level(level, np.ones(len(level)), groups.at(positive), len(levels))
    highest_level = np.searchsorted(levels, scores[~positive], side="right") - 1  # -1: below every positive
    negatives = _weights_by_level(highest_level, np.ones(len(highest_level)), groups.at(~positive), len(levels))

    def under(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        found = positives @ counts
        true_positives = np.cumsum(found[::-1], axis=0)[::-1]
        false_positives = np.cumsum((negatives @ counts)[::-1], axis=0)[::-1]
        called = true_positives + false_positives
        precision = np.divide(true_positives, called, out=np.zeros_like(called), where=called > 0)
        return divided(np.einsum("lb,lb->b", found, precision), found.sum(axis=0))[None]

    return under


def stack(*statistics: Statistic) -> Statistic:
    """The rows of several statistics, computed on the same resamples."""
    return lambda counts: np.concatenate([statistic(counts) for statistic in statistics])


def with_mean(statistic: Statistic, of: Sequence[int] | None = None) -> Statistic:
    """The rows of a statistic and, last, their unweighted mean (macro average): nan where one of them is.

    of: which rows enter the mean, by default all; a multi-label mean leaves out classes that no image has.
    """

    def under(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        rows = statistic(counts)
        averaged = rows if of is None else rows[list(of)]
        return np.concatenate([rows, averaged.mean(axis=0, keepdims=True)])

    return under


def difference(first: Statistic, second: Statistic) -> Statistic:
    """First minus second, both computed on the same resamples: a paired comparison."""
    return lambda counts: first(counts) - second(counts)


def divided(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    """Their quotient, nan where the denominator is 0."""
    quotient = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator != 0)
    return quotient


def bootstrap(
    statistic: Statistic,
    groups: Groups,
    *,
    n: int | Sequence[int],
    resamples: int,
    seed: int,
    interval: Literal["percentile", "bca"] = "percentile",
    strata: NDArray[np.int64] | None = None,
    undefined: str | Sequence[str] = "not defined on these images",
) -> list[Estimate]:
    """The k values of a statistic with 95 % intervals from resampling whole groups with replacement.

    n: what each estimate gives as its n. strata (groups.count,): groups are drawn within each stratum, so that
    every resample has the same number of groups of each. undefined: why a value that is nan is. One text or
    number for all k, or one for each.

    bca corrects the percentiles for bias and skewness (Efron 1987, JASA 82:171). A resample in which the
    statistic is undefined is left out; where more than a tenth are, or where all agree (a perfect score on few
    images), the estimate has a value and no interval, and its method says why. Same seed, same intervals,
    whatever the number computed at a time.
    """
    values = statistic(np.ones((groups.count, 1)))[:, 0]
    drawn = resampled(statistic, groups.count, resamples=resamples, seed=seed, strata=strata)
    left_out = _jackknife(statistic, groups.count) if interval == "bca" else None
    ns = [n] * len(values) if isinstance(n, int) else n
    reasons = [undefined] * len(values) if isinstance(undefined, str) else undefined
    estimates = []
    for k, value in enumerate(values):
        if not np.isfinite(value):
            estimates.append(Estimate(value=None, n=ns[k], undefined=reasons[k]))
            continue
        jackknife = None if left_out is None else left_out[k]
        estimates.append(_estimate(float(value), drawn[k], jackknife, ns[k], stratified=strata is not None))
    return estimates


def resampled(
    statistic: Statistic,
    n_groups: int,
    *,
    resamples: int,
    seed: int,
    strata: NDArray[np.int64] | None = None,
) -> NDArray[np.float64]:
    """The statistic under each resample, (k, resamples); no column where there is no group."""
    if n_groups == 0:
        return statistic(np.ones((0, 1)))[:, :0]
    members = [np.arange(n_groups)] if strata is None else [np.flatnonzero(strata == s) for s in np.unique(strata)]
    blocks = [statistic(counts) for counts in _draws(members, n_groups, resamples, seed)]
    return np.concatenate(blocks, axis=1)


def _draws(
    strata: Sequence[NDArray[np.int64]], n_groups: int, resamples: int, seed: int
) -> Iterator[NDArray[np.float64]]:
    """(n_groups, b) counts, block by block.

    Each stratum has a generator of its own and draws resample by resample, so that the intervals do not depend
    on how many are computed at once.
    """
    generators = np.random.default_rng(seed).spawn(len(strata))
    for start in range(0, resamples, _RESAMPLES_AT_ONCE):
        b = min(_RESAMPLES_AT_ONCE, resamples - start)
        counts = np.empty((b, n_groups))
        for members, generator in zip(strata, generators, strict=True):
            size = len(members)
            drawn = generator.integers(size, size=(b, size))
            drawn += size * np.arange(b)[:, None]
            counts[:, members] = np.bincount(drawn.ravel(), minlength=b * size).reshape(b, size)
        yield np.ascontiguousarray(counts.T)


def _jackknife(statistic: Statistic, n_groups: int) -> NDArray[np.float64]:
    """The statistic without each group (or each of JACKKNIFE_SETS sets of groups), (k, sets)."""
    sets = min(n_groups, JACKKNIFE_SETS)
    set_of_group = np.arange(n_groups) % max(sets, 1)
    blocks = [
        statistic((set_of_group[:, None] != np.arange(start, min(start + _RESAMPLES_AT_ONCE, sets))).astype(float))
        for start in range(0, sets, _RESAMPLES_AT_ONCE)
    ]
    return np.concatenate(blocks, axis=1) if blocks else statistic(np.ones((0, 1)))[:, :0]


def _estimate(
    value: float,
    drawn: NDArray[np.float64],
    jackknife: NDArray[np.float64] | None,
    n: int,
    *,
    stratified: bool,
) -> Estimate:
    usable = drawn[np.isfinite(drawn)]
    left_out = len(drawn) - len(usable)
    if left_out > MAXIMUM_SHARE_LEFT_OUT * len(drawn):
        return Estimate(value=value, n=n, method=f"no interval: {left_out} of {len(drawn)} resamples lack a class")
    levels = np.array([0.025, 0.975])
    name = "stratified group-bootstrap" if stratified else "group-bootstrap"
    if jackknife is not None:
        levels = _bca_levels(value, usable, jackknife[np.isfinite(jackknife)])
        name += ", bca"
        if not np.isfinite(levels).all():
            return Estimate(value=value, n=n, method="no interval: the value lies outside its own resamples")
    low, high = np.quantile(usable, levels)
    if low == high:
        # [1, 1] would claim certainty where the split is merely too small or too easy to show an error.
        return Estimate(value=value, n=n, method="no interval: all resamples give the same value")
    method = name + (f", {left_out} resamples lacking a class left out" if left_out else "")
    return Estimate(value=value, low=float(low), high=float(high), n=n, method=method)


def _bca_levels(value: float, drawn: NDArray[np.float64], jackknife: NDArray[np.float64]) -> NDArray[np.float64]:
    """The two quantiles that BCa reads, nan where all resamples lie on one side of the value (Efron 1987)."""
    bias = norm.ppf((np.mean(drawn < value) + np.mean(drawn <= value)) / 2)
    if not np.isfinite(bias):
        return np.full(2, np.nan)
    pull = jackknife.mean() - jackknife
    spread = np.sum(pull**2) ** 1.5
    acceleration = np.sum(pull**3) / (6 * spread) if spread > 0 else 0.0
    z = bias + norm.ppf([0.025, 0.975])
    return np.asarray(norm.cdf(bias + z / (1 - acceleration * z)), dtype=np.float64)


def _weights_by_level(
    level: NDArray[np.int64], weights: NDArray[np.float64], groups: Groups, levels: int
) -> csr_array:
    """(levels, groups.count) matrix: what one draw of a group adds to each level. Images at no level are left out."""
    inside = (level >= 0) & (level < levels)
    cells = (weights[inside], (level[inside], groups.of_image[inside]))
    return csr_array(cells, shape=(levels, groups.count))
