"""ROC AUC intervals and paired comparison against published numbers, MLstatkit, and a pair-by-pair count."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from MLstatkit import Delong_test
from numpy.typing import NDArray
from scipy.special import logit

from data_contracts.errors import ModelGateError
from models.evaluation.bootstrap import Groups, bootstrap, roc_auc
from models.evaluation.comparison import compare_auc
from models.evaluation.delong import auc_estimate, placements, roc_areas


def hanley_mcneil_ratings() -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Hanley & McNeil 1982, Radiology 143:29: 58 normal and 51 abnormal images rated 1 to 5."""
    normal, abnormal = (33, 6, 6, 11, 2), (3, 2, 2, 11, 33)
    ratings = [np.repeat(np.arange(1.0, 6.0), counts) for counts in (normal, abnormal)]
    return np.repeat([False, True], [58, 51]), np.concatenate(ratings)


def by_pairs(positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> tuple[NDArray, NDArray]:
    """AUCs (M,) and covariance (M, M) as DeLong 1988 writes them: every positive against every negative."""
    x, y = scores[positive], scores[~positive]
    wins = (x[:, None] > y[None]) + 0.5 * (x[:, None] == y[None])
    of_positives, of_negatives = wins.mean(axis=1), wins.mean(axis=0)
    covariance = np.atleast_2d(np.cov(of_positives.T)) / len(x) + np.atleast_2d(np.cov(of_negatives.T)) / len(y)
    return wins.mean(axis=(0, 1)), covariance


def two_models(n: int, seed: int = 0, ties: bool = False) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    generator = np.random.default_rng(seed)
    positive = generator.random(n) < 0.3
    common = generator.normal(size=n)
    scores = np.stack([common + generator.normal(size=n) + gain * positive for gain in (1.6, 1.1)], axis=1)
    return positive, scores.round(1) if ties else scores


def test_the_published_rating_data_give_the_published_area() -> None:
    positive, ratings = hanley_mcneil_ratings()
    areas = roc_areas(positive, ratings)
    assert areas.auc[0] == pytest.approx(0.893171, abs=1e-6)  # published as .893
    assert np.sqrt(areas.covariance[0, 0]) == pytest.approx(0.030724, abs=1e-6)


@pytest.mark.parametrize("ties", [False, True])
def test_areas_and_covariances_equal_a_count_of_all_pairs(ties: bool) -> None:
    positive, scores = two_models(400, ties=ties)
    areas = roc_areas(positive, scores)
    auc, covariance = by_pairs(positive, scores)
    assert areas.auc == pytest.approx(auc, abs=1e-12)
    assert areas.covariance == pytest.approx(covariance, abs=1e-12)


def test_the_rating_data_with_a_second_reader_equal_the_count_of_all_pairs() -> None:
    positive, ratings = hanley_mcneil_ratings()
    generator = np.random.default_rng(3)
    both = np.stack([ratings, np.clip(ratings + generator.integers(-1, 2, len(ratings)), 1, 5)], axis=1)
    auc, covariance = by_pairs(positive, both)
    compared = compare_auc(positive, both[:, 0], both[:, 1])
    error = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert compared.value == pytest.approx(auc[0] - auc[1], abs=1e-12)
    assert compared.statistic == pytest.approx((auc[0] - auc[1]) / error, abs=1e-10)


@pytest.mark.parametrize("ties", [False, True])
def test_the_paired_test_agrees_with_mlstatkit_and_is_positive_where_the_challenger_is_better(ties: bool) -> None:
    positive, scores = two_models(500, seed=1, ties=ties)
    better, worse = scores[:, 0], scores[:, 1]
    z, p, _, _, auc_of_worse, auc_of_better, _ = Delong_test(positive.astype(int), worse, better)
    compared = compare_auc(positive, better, worse)
    assert compared.statistic == pytest.approx(z, abs=1e-9)
    assert compared.statistic > 0
    assert compared.p == pytest.approx(p, rel=1e-8)
    assert compared.value == pytest.approx(auc_of_better - auc_of_worse, abs=1e-12)
    assert compared.low < compared.value < compared.high


@given(seed=st.integers(0, 10_000), ties=st.booleans())
@settings(max_examples=30, deadline=None)
def test_swapping_the_models_flips_the_sign_and_nothing_else(seed: int, ties: bool) -> None:
    positive, scores = two_models(60, seed=seed, ties=ties)
    forth, back = (compare_auc(positive, scores[:, a], scores[:, 1 - a]) for a in (0, 1))
    if forth.value is None or forth.statistic is None:
        assert forth.model_dump() == {**back.model_dump(), "value": forth.value}
        return
    assert back.statistic == pytest.approx(-forth.statistic, abs=1e-9)
    assert (back.low, back.high) == pytest.approx((-forth.high, -forth.low), abs=1e-12)
    assert back.p == pytest.approx(forth.p, abs=1e-12)


@given(seed=st.integers(0, 10_000), ties=st.booleans())
@settings(max_examples=30, deadline=None)
def test_turning_the_scores_round_mirrors_the_area_and_its_interval(seed: int, ties: bool) -> None:
    positive, scores = two_models(80, seed=seed, ties=ties)
    area, mirrored = auc_estimate(positive, scores[:, 0]), auc_estimate(positive, -scores[:, 0])
    assert mirrored.value == pytest.approx(1 - area.value, abs=1e-12)
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - area.high, 1 - area.low), abs=1e-9)
    assert mirrored.method == area.method


@given(seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_placements_average_to_the_area_on_both_sides(seed: int) -> None:
    positive, scores = two_models(50, seed=seed, ties=True)
    of_positives, of_negatives = placements(positive, scores[:, 0])
    assert of_positives.mean() == pytest.approx(of_negatives.mean(), abs=1e-12)
    assert ((of_positives >= 0) & (of_positives <= 1)).all()


def test_a_high_area_or_few_images_get_a_logit_interval() -> None:
    positive, ratings = hanley_mcneil_ratings()
    assert auc_estimate(positive, ratings).method == "delong"
    few = auc_estimate(positive[:-11], ratings[:-11])
    assert few.method == "delong-logit"
    assert logit(few.value) - logit(few.low) == pytest.approx(logit(few.high) - logit(few.value))
    generator = np.random.default_rng(0)
    many = np.arange(600) < 300
    high = auc_estimate(many, generator.normal(size=600) + 2.5 * many)
    assert high.value > 0.9
    assert high.method == "delong-logit"
    assert high.high < 1


def test_a_perfect_area_claims_no_certainty() -> None:
    positive = np.arange(30) < 20
    perfect = auc_estimate(positive, positive.astype(float))
    assert (perfect.value, perfect.high) == (1, 1)
    assert perfect.low == pytest.approx(0.025**0.1)  # Clopper-Pearson of 10 out of 10
    assert perfect.method == "clopper-pearson over 10 disjoint pairs"
    worst = auc_estimate(positive, -positive.astype(float))
    assert (worst.value, worst.low, worst.high) == pytest.approx((0, 0, 1 - 0.025**0.1))
    of_six_patients = auc_estimate(positive, positive.astype(float), Groups.of(np.arange(30) // 5))
    assert of_six_patients.method == "clopper-pearson over 2 disjoint pairs"


@pytest.mark.parametrize("constant", [True, False])
def test_an_empty_class_has_no_area_but_a_reason(constant: bool) -> None:
    positive = np.full(4, constant)
    assert auc_estimate(positive, np.arange(4.0)).undefined == f"no {'negative' if constant else 'positive'} image"
    assert compare_auc(positive, np.arange(4.0), np.arange(4.0)).undefined
    assert auc_estimate(positive[:0], np.empty(0)).undefined == "no image"


def test_scores_that_say_nothing_or_a_single_positive_have_a_value_without_an_interval() -> None:
    positive = np.arange(40) < 15
    assert auc_estimate(positive, np.ones(40)).method == "no interval: the scores do not vary"
    single = auc_estimate(np.arange(40) == 20, np.arange(40.0))
    assert single.value is not None
    assert single.method == "no interval: a side has images of one identity group only"


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(ModelGateError, match="1 scores are not finite"):
        auc_estimate(np.array([True, False]), np.array([0.5, np.nan]))


def test_a_model_compared_with_itself_differs_by_nothing_within_what_so_few_images_can_show() -> None:
    positive, scores = two_models(200)
    same = compare_auc(positive, scores[:, 0], np.exp(scores[:, 0]))  # the same order
    assert (same.value, same.p) == (0, 1)
    assert same.high == -same.low == pytest.approx(1 - 0.025 ** (1 / min(positive.sum(), (~positive).sum())))


def clustered(seed: int) -> tuple[NDArray[np.bool_], NDArray[np.float64], Groups]:
    """80 patients with 1 to 5 images each, alike within a patient, some with positive and negative images."""
    generator = np.random.default_rng(seed)
    patient = np.repeat(np.arange(80), generator.integers(1, 6, size=80))
    mostly = generator.random(80)[patient] < 0.4
    positive = mostly ^ (generator.random(len(patient)) < 0.1)
    common = generator.normal(size=80)[patient] + 0.4 * generator.normal(size=len(patient))
    noise = generator.normal(size=(len(patient), 2))
    scores = common[:, None] + 0.5 * noise + positive[:, None] * np.array([1.3, 1.0])
    return positive, scores, Groups.of(patient)


def test_images_of_one_patient_widen_the_interval_as_the_bootstrap_of_patients_does() -> None:
    positive, scores, groups = clustered(0)
    areas = roc_areas(positive, scores, groups)
    drawn = bootstrap_errors(positive, scores, groups)
    assert np.sqrt(np.diag(areas.covariance)) == pytest.approx(drawn, rel=0.1)
    careless = np.sqrt(np.diag(roc_areas(positive, scores).covariance))
    assert (careless < 0.85 * drawn).all()
    estimate = auc_estimate(positive, scores[:, 0], groups)
    assert estimate.method.startswith("obuchowski")


def bootstrap_errors(
    positive: NDArray[np.bool_], scores: NDArray[np.float64], groups: Groups
) -> NDArray[np.float64]:
    widths = []
    for column in scores.T:
        (area,) = bootstrap(roc_auc(positive, column, groups), groups, n=len(positive), resamples=2000, seed=1)
        widths.append((area.high - area.low) / (2 * 1.96))
    return np.array(widths)


def test_patients_with_one_image_each_have_delongs_covariance() -> None:
    positive, scores = two_models(150)
    alone = roc_areas(positive, scores, Groups.each_image_alone(150))
    assert alone.covariance == pytest.approx(roc_areas(positive, scores).covariance, abs=1e-15)


def test_five_copies_of_every_patients_image_are_no_new_evidence() -> None:
    positive, scores = two_models(100)
    once = roc_areas(positive, scores)
    five = roc_areas(np.repeat(positive, 5), np.repeat(scores, 5, axis=0), Groups.of(np.repeat(np.arange(100), 5)))
    assert five.covariance == pytest.approx(once.covariance, abs=1e-12)


def test_twenty_five_thousand_images_take_less_than_fifty_milliseconds() -> None:
    positive, scores = two_models(25_000)
    used = []
    for _ in range(3):
        before = time.process_time()
        roc_areas(positive, scores[:, 0])
        used.append(time.process_time() - before)
    assert min(used) < 0.05
