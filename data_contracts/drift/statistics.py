"""Two-sample statistics of one column, and what they come to without drift.

n and m are the images of the window and of the reference. Everything has a form for one window and one for many
windows drawn at once from the same rows: `members`, (rows, windows) bool, says who is in which window, and the others
are the reference.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import kolmogi, kolmogorov
from scipy.stats import chi2, hypergeom, norm

Numbers = NDArray[np.float64]
Members = NDArray[np.bool_]

LEAST_P = 1e-300


def surprise(p: ArrayLike) -> Numbers:
    """-log10 of a p-value, at most 300."""
    return np.asarray(-np.log10(np.clip(np.asarray(p, dtype=np.float64), LEAST_P, 1.0)))


def ks_distance(window: Numbers, reference: Numbers, tolerance: float = 0.0) -> tuple[float, float]:
    """Largest signed distance F_reference - F_window and the value where it is reached; both samples non-empty.

    Positive where the window's values are larger than the reference's. tolerance: by so much either sample may be
    shifted first; what remains is a distance that no shift of that size explains.
    """
    values = np.unique(np.concatenate([window, reference]))
    now, then = np.sort(window), np.sort(reference)
    # A difference of two steps is largest where the first of them rises.
    larger = _share_up_to(values, then) - _share_up_to(values + tolerance, now)
    smaller = _share_up_to(values, now) - _share_up_to(values + tolerance, then)
    gap = np.where(larger >= smaller, np.maximum(larger, 0.0), -np.maximum(smaller, 0.0))
    place = int(np.abs(gap).argmax())
    return float(gap[place]), float(values[place])


def ks_distances(values: Numbers, members: Members, tolerance: float = 0.0) -> Numbers:
    """(b,) largest absolute distance between the windows' distributions and those of the other rows."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))  # ties step together
    n = members.sum(axis=0)
    m = len(values) - n
    below = np.zeros((len(values) + 1, members.shape[1]), dtype=np.int32)
    np.cumsum(members[order], axis=0, out=below[1:])
    rises, shifted = ends + 1, np.searchsorted(ordered, ordered[ends] + tolerance, side="right")
    smaller = below[rises] / n - (shifted[:, None] - below[shifted]) / m
    larger = (rises[:, None] - below[rises]) / m - below[shifted] / n
    return np.asarray(np.maximum(smaller, larger, out=smaller).max(axis=0).clip(min=0), dtype=np.float64)


def _share_up_to(values: Numbers, ordered: Numbers) -> Numbers:
    return np.searchsorted(ordered, values, side="right") / len(ordered)


def ks_p(distance: Numbers | float, n: Numbers | float, m: Numbers | float) -> Numbers:
    """Asymptotic p-value of a two-sample Kolmogorov-Smirnov distance; too large where values are tied."""
    return np.asarray(kolmogorov(distance / np.sqrt(1 / np.asarray(n) + 1 / np.asarray(m))), dtype=np.float64)


def ks_limit(p: float, n: int, m: int) -> float:
    """The distance whose p-value is p."""
    return float(kolmogi(max(p, LEAST_P)) * math.sqrt(1 / n + 1 / m))


def chi_square(window: Numbers, reference: Numbers) -> Numbers:
    """(b,) chi-square of homogeneity of (K, b) counts; cells that are empty on both sides add nothing."""
    n, m = window.sum(axis=0), reference.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        cells = (window / n - reference / m) ** 2 / ((window + reference) / (n + m))
    return np.asarray(np.nansum(cells, axis=0) / (1 / n + 1 / m), dtype=np.float64)


def chi_square_p(statistic: Numbers | float, cells: int) -> Numbers:
    """p-value with K - 1 degrees of freedom; 1 for a single cell."""
    shape = np.asarray(statistic, dtype=np.float64)
    return np.ones_like(shape) if cells < 2 else np.asarray(chi2.sf(shape, cells - 1), dtype=np.float64)


def chi_square_limit(p: float, cells: int) -> float:
    """The statistic whose p-value is p; 0 for a single cell."""
    return float(chi2.isf(max(p, LEAST_P), cells - 1)) if cells > 1 else 0.0


def more_than_before_p(window: ArrayLike, n: ArrayLike, reference: ArrayLike, m: ArrayLike) -> NDArray[np.float64]:
    """p-value of at least so many of a rare kind in the window: exact (Fisher), whatever the expected counts are.

    window, reference: how many there are of n and of m.
    """
    counts = np.stack(np.broadcast_arrays(window, n, reference, m)).astype(np.int64)
    # Each p-value is a sum, and drawn windows often agree in their few counts.
    kinds, place = np.unique(counts.reshape(4, -1), axis=1, return_inverse=True)
    now, drawn, before, rest = kinds
    p = np.nan_to_num(hypergeom.sf(now - 1, drawn + rest, now + before, drawn), nan=1.0)  # of no images at all
    return np.asarray(p[place.ravel()].reshape(counts.shape[1:]), dtype=np.float64)


def most_without_drift(n: int, reference: int, m: int, p: float) -> int:
    """The largest count of a rare kind in a window whose p-value lies above p."""
    counts = np.arange(n + 1)
    likely = more_than_before_p(counts, n, reference, m) > p
    return int(counts[likely].max(initial=0))


def population_stability_index(window: Numbers, reference: Numbers) -> float:
    """PSI of (K,) counts in the same cells: sum of (w - r) ln(w / r) over shares.

    Half an image is added to every cell where one of the two has an empty one, so that the index stays finite. Its
    usual limits 0.1 and 0.25 are blind to n: with 10 cells and 50 images against 2,000, 0.1 is exceeded in most
    windows without drift. `psi_limit` is not.
    """
    if not (window.all() and reference.all()):
        window, reference = window + 0.5, reference + 0.5
    w, r = window / window.sum(), reference / reference.sum()
    return float(((w - r) * np.log(w / r)).sum())


def psi_mean_without_drift(cells: int, n: int, m: int) -> float:
    """About what the index comes to on average without drift."""
    return (cells - 1) * (1 / n + 1 / m)


def psi_limit(cells: int, n: int, m: int, rate: float = 0.05) -> float:
    """What the index exceeds in this share of windows without drift: a chi-square quantile times 1/n + 1/m."""
    return float(chi2.isf(rate, cells - 1)) * (1 / n + 1 / m) if cells > 1 else 0.0


def held_out_auc(window: NDArray[np.float32], reference: NDArray[np.float32], seed: int) -> float:
    """ROC AUC of a linear classifier of window against reference, asked only about rows it was not fitted on.

    Two-fold; the mean of both halves. 0.5 where nothing tells them apart.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.metrics import roc_auc_score

    rows = np.concatenate([window, reference]).astype(np.float64)
    of_window = np.arange(len(rows)) < len(window)
    half = np.random.default_rng(seed).permutation(len(rows)) % 2 == 0
    areas = []
    for fitted in (half, ~half):
        # Shrunk, because with as many components as images a covariance cannot be inverted.
        model = LinearDiscriminantAnalysis(solver="eigen", shrinkage=0.1)
        model.fit(rows[fitted], of_window[fitted])
        areas.append(float(roc_auc_score(of_window[~fitted], model.decision_function(rows[~fitted]))))
    return sum(areas) / 2


def auc_deviation_without_drift(n: int, m: int) -> float:
    """Standard deviation of the AUC of n window rows against m reference rows without drift (Mann-Whitney)."""
    return math.sqrt((n + m + 1) / (12 * n * m))


def auc_limit(n: int, m: int, rate: float = 0.01) -> float:
    """What the AUC exceeds in this share of windows without drift."""
    return 0.5 + float(norm.isf(rate)) * auc_deviation_without_drift(n, m)


def holm(p: Numbers, rate: float) -> tuple[NDArray[np.bool_], Numbers]:
    """Holm's step-down procedure (1979): which hypotheses fall at a family-wise rate, and each one's own p limit.

    A hypothesis falls exactly where its p-value and all smaller ones lie below their limits.
    """
    order = np.argsort(p, kind="stable")
    steps = rate / np.arange(len(p), 0, -1)
    limits, falls = np.empty(len(p)), np.empty(len(p), dtype=bool)
    limits[order] = steps
    falls[order] = np.logical_and.accumulate(p[order] <= steps)
    return falls, limits
