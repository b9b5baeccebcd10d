"""Intervals against published cases, and the group bootstrap against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from statsmodels.stats.proportion import proportion_confint

from models.evaluation.intervals import BootstrapEstimates, group_bootstrap, proportion, weighted_auc


# Newcombe 1998, Statistics in Medicine 17:857.
@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (1, 29, 0.0061, 0.1718)],
)
def test_a_proportion_has_the_published_wilson_interval(successes: int, n: int, low: float, high: float) -> None:
    estimate = proportion(successes, n, undefined="")
    assert estimate.method == "wilson"
    assert estimate.n == n
    assert estimate.value == successes / n
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=5e-5)


def test_none_of_twenty_has_the_published_clopper_pearson_interval() -> None:
    estimate = proportion(0, 20, undefined="")
    assert estimate.method == "clopper-pearson"
    assert (estimate.value, estimate.low) == (0, 0)
    assert estimate.high == pytest.approx(0.1684, abs=5e-5)


def test_all_of_twenty_mirrors_none_of_twenty() -> None:
    none, every = proportion(0, 20, undefined=""), proportion(20, 20, undefined="")
    assert (every.low, every.high) == pytest.approx((1 - none.high, 1), abs=1e-12)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2527, 0.3676), (15, 148, 0.0578, 0.1617), (0, 20, 0, 0.1684), (1, 29, 0.0009, 0.1776)],
)
def test_the_library_agrees_with_the_published_clopper_pearson_table(
    successes: int, n: int, low: float, high: float
) -> None:
    assert proportion_confint(successes, n, method="beta") == pytest.approx((low, high), abs=5e-5)


def test_a_share_of_nothing_is_undefined_with_its_reason() -> None:
    estimate = proportion(0, 0, undefined="no image is called positive")
    assert (estimate.value, estimate.low, estimate.high) == (None, None, None)
    assert estimate.undefined == "no image is called positive"


@pytest.mark.parametrize("levels", [3, 10, 100_000])
def test_weighted_auc_equals_scikit_learn_for_whole_number_weights_and_ties(levels: int) -> None:
    generator = np.random.default_rng(levels)
    positive = generator.random(200) < 0.3
    scores = generator.integers(levels, size=200) / levels + 0.3 * positive
    weights = generator.integers(0, 4, size=(200, 20)).astype(float)
    expected = [roc_auc_score(positive, scores, sample_weight=column) for column in weights.T]
    assert weighted_auc(positive, scores, weights) == pytest.approx(expected, abs=1e-12)


def test_weighted_auc_is_nan_where_a_side_has_no_weight() -> None:
    positive, scores = np.array([True, False]), np.array([0.9, 0.1])
    auc = weighted_auc(positive, scores, np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0]]))
    assert np.isnan(auc[:2]).all()
    assert auc[2] == 1


def _bootstrap(
    labels: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    groups: list[str] | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> BootstrapEstimates:
    n_classes = probabilities.shape[1]
    groups = groups or [f"g{i}" for i in range(len(labels))]
    names = [f"class{k}" for k in range(n_classes)]
    truth = (labels[:, None] == np.arange(n_classes)).astype(np.int8)
    return group_bootstrap(truth, probabilities, groups, names, resamples=resamples, seed=seed)


def _noisy(n: int, n_classes: int = 4, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(n_classes, size=n)
    scores = generator.random((n, n_classes))
    scores[np.arange(n), labels] += 0.4
    return labels, scores / scores.sum(axis=1, keepdims=True)


def test_the_auc_of_the_hanley_mcneil_ratings_has_the_width_that_delong_gives() -> None:
    # Hanley & McNeil 1982: 58 normal and 51 abnormal images rated 1 to 5; AUC 0.893, DeLong SE 0.0307.
    normal, abnormal = (33, 6, 6, 11, 2), (3, 2, 2, 11, 33)
    labels = np.repeat([0, 1], [sum(normal), sum(abnormal)])
    ratings = np.concatenate([np.repeat(np.arange(1, 6), normal), np.repeat(np.arange(1, 6), abnormal)])
    auc = _bootstrap(labels, np.stack([6 - ratings, ratings], axis=1) / 6, resamples=2000).class_auc[1]
    assert auc.value == pytest.approx(0.893171, abs=1e-6)
    assert auc.method == "group-bootstrap"
    assert (auc.high - auc.low) / (2 * 1.96) == pytest.approx(0.030724, rel=0.08)


def test_values_are_those_of_scikit_learn() -> None:
    labels, probabilities = _noisy(300)
    result = _bootstrap(labels, probabilities, resamples=100)
    expected = roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
    assert result.macro_auc.value == pytest.approx(expected, abs=1e-12)
    recall = [(probabilities[labels == k].argmax(axis=1) == k).mean() for k in range(4)]
    assert result.balanced_accuracy.value == pytest.approx(np.mean(recall), abs=1e-12)
    for estimate in [*result.class_auc, result.macro_auc, result.balanced_accuracy]:
        assert estimate.low < estimate.value < estimate.high


def test_the_same_seed_gives_the_same_intervals_and_another_seed_others() -> None:
    labels, probabilities = _noisy(100)
    first = _bootstrap(labels, probabilities, resamples=200)
    assert _bootstrap(labels, probabilities, resamples=200) == first
    assert _bootstrap(labels, probabilities, resamples=200, seed=1) != first


def test_five_copies_of_each_patients_image_are_no_new_evidence() -> None:
    labels, probabilities = _noisy(80)
    groups = [f"p{i:02d}" for i in range(80)]
    once = _bootstrap(labels, probabilities, groups)
    five = _bootstrap(np.repeat(labels, 5), np.repeat(probabilities, 5, axis=0), list(np.repeat(groups, 5)))
    assert five.macro_auc.low == pytest.approx(once.macro_auc.low, abs=1e-12)
    assert five.balanced_accuracy.high == pytest.approx(once.balanced_accuracy.high, abs=1e-12)
    careless = _bootstrap(np.repeat(labels, 5), np.repeat(probabilities, 5, axis=0))
    assert careless.macro_auc.high - careless.macro_auc.low < 0.6 * (once.macro_auc.high - once.macro_auc.low)


def test_intervals_do_not_depend_on_how_the_resamples_are_blocked(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, probabilities = _noisy(120)
    at_once = _bootstrap(labels, probabilities, resamples=200)
    monkeypatch.setattr("models.evaluation.intervals._WEIGHTS_AT_ONCE", 120 * 37)
    assert _bootstrap(labels, probabilities, resamples=200) == at_once


def test_a_missing_class_leaves_its_auc_and_the_means_undefined_but_not_the_others() -> None:
    labels, probabilities = _noisy(90)
    labels = np.where(labels == 3, 0, labels)
    result = _bootstrap(labels, probabilities, resamples=100)
    assert result.class_auc[3].undefined == "no image of class class3"
    assert result.macro_auc.undefined == "no image of class class3"
    assert result.balanced_accuracy.undefined == "no image of class class3"
    assert result.class_auc[0].value is not None


def test_a_class_of_one_group_gets_a_value_without_an_interval() -> None:
    labels, probabilities = _noisy(60, n_classes=2)
    labels[:] = 0
    labels[:2] = 1
    result = _bootstrap(labels, probabilities, ["one", "one", *(f"g{i}" for i in range(58))])
    # The one positive group is missing from about (1 - 1/59)^59 = 36 % of the resamples.
    for estimate in [result.class_auc[1], result.macro_auc, result.balanced_accuracy]:
        assert estimate.value is not None
        assert (estimate.low, estimate.high) == (None, None)
        assert estimate.method.startswith("no interval: 3")
        assert estimate.method.endswith("of 1000 resamples lack a class")


def test_a_few_resamples_that_lack_a_class_are_left_out_and_counted() -> None:
    labels = np.repeat([0, 1], [57, 3])
    _, probabilities = _noisy(60, n_classes=2)
    auc = _bootstrap(labels, probabilities).class_auc[1]
    assert auc.low is not None
    assert "resamples lacking a class left out" in auc.method


def test_a_perfect_score_claims_no_certainty() -> None:
    labels = np.repeat([0, 1], 15)
    auc = _bootstrap(labels, np.eye(2)[labels]).macro_auc
    assert (auc.value, auc.low, auc.high) == (1, None, None)
    assert auc.method == "no interval: all resamples give the same value"


def test_an_empty_split_is_undefined_throughout() -> None:
    result = _bootstrap(np.empty(0, np.int64), np.empty((0, 3)), ["x"][:0])
    assert result.macro_auc.value is None
    assert result.balanced_accuracy.value is None
    assert all(estimate.value is None and estimate.undefined for estimate in result.class_auc)
