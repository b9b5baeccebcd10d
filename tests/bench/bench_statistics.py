"""Bootstrap and DeLong against the usual way: CPU time per image, both sides in the same run.

The usual bootstrap draws images and calls scikit-learn for each resample; the usual DeLong compares every positive
with every negative. Both must come to the same result. Run with `python -m tests.bench.bench_statistics`.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import recall_score, roc_auc_score

from models.evaluation.bootstrap import Groups, Statistic, bootstrap, ratio, roc_auc, stack
from models.evaluation.delong import roc_areas
from tests.bench.comparison import Comparison, judge
from tests.bench.timing import cpu_seconds

BOOTSTRAP_IMAGES, DELONG_IMAGES = 4_200, 25_000
RESAMPLES = 2_000
USUAL_RESAMPLES = 200  # measured, and counted ten times: the loop costs the same every time
POSITIVES_AT_ONCE = 500


def main() -> int:
    """Measure, print the table, and return the exit status."""
    return judge([bootstrap_of_rates(), delong()])


def images(n: int) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    generator = np.random.default_rng(0)
    positive = generator.random(n) < 0.2
    return positive, generator.normal(size=n) + positive


def bootstrap_of_rates() -> Comparison:
    """Sensitivity, specificity and AUC with intervals from 2,000 resamples."""
    positive, scores = images(BOOTSTRAP_IMAGES)
    groups = Groups.each_image_alone(BOOTSTRAP_IMAGES)

    def usual() -> NDArray[np.float64]:
        generator, drawn = np.random.default_rng(1), []
        for _ in range(USUAL_RESAMPLES):
            rows = generator.integers(BOOTSTRAP_IMAGES, size=BOOTSTRAP_IMAGES)
            truth, called = positive[rows], scores[rows] >= 0.5
            found, refused = recall_score(truth, called), recall_score(truth, called, pos_label=False)
            drawn.append([found, refused, roc_auc_score(truth, scores[rows])])
        return np.quantile(drawn, [0.025, 0.975], axis=0)

    def ours() -> NDArray[np.float64]:
        estimates = bootstrap(
            rates_and_area(positive, scores, groups), groups, n=BOOTSTRAP_IMAGES, resamples=RESAMPLES, seed=0
        )
        return np.array([[one.low for one in estimates], [one.high for one in estimates]])

    expected, found = usual(), ours()
    # The ends of 200 resamples have a standard error of about 0.2 standard deviations; an interval is 4 of them wide.
    assert (np.abs(found - expected) < 0.2 * (expected[1] - expected[0])).all(), (found, expected)
    seconds = cpu_seconds(usual, repeats=1) * RESAMPLES / USUAL_RESAMPLES
    return Comparison(
        "bootstrap, 4,200 images", seconds / BOOTSTRAP_IMAGES, cpu_seconds(ours) / BOOTSTRAP_IMAGES, 15
    )


def rates_and_area(positive: NDArray[np.bool_], scores: NDArray[np.float64], groups: Groups) -> Statistic:
    called = scores >= 0.5
    right, sides = np.stack([called & positive, ~called & ~positive]), np.stack([positive, ~positive])
    return stack(ratio(right, sides, groups), roc_auc(positive, scores, groups))


def delong() -> Comparison:
    """ROC AUC and its variance."""
    positive, scores = images(DELONG_IMAGES)

    def usual() -> tuple[float, float]:
        above, below = scores[positive], scores[~positive]
        of_positives, of_negatives = [], np.zeros(len(below))
        for start in range(0, len(above), POSITIVES_AT_ONCE):
            block = above[start : start + POSITIVES_AT_ONCE, None]
            wins = (block > below) + 0.5 * (block == below)
            of_positives.append(wins.mean(axis=1))
            of_negatives += wins.sum(axis=0) / len(above)
        by_positive = np.concatenate(of_positives)
        variance = by_positive.var(ddof=1) / len(above) + of_negatives.var(ddof=1) / len(below)
        return float(by_positive.mean()), float(variance)

    def ours() -> tuple[float, float]:
        areas = roc_areas(positive, scores)
        return float(areas.auc[0]), float(areas.covariance[0, 0])

    assert np.allclose(usual(), ours(), rtol=0, atol=1e-12)
    return Comparison(
        "DeLong, 25,000 images",
        cpu_seconds(usual, repeats=1) / DELONG_IMAGES,
        cpu_seconds(ours) / DELONG_IMAGES,
        50,
    )


if __name__ == "__main__":
    sys.exit(main())
