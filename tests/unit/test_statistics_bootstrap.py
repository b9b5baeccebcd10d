"""The bootstrap of identity groups against scikit-learn, SciPy and DeLong, and average precision."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import bootstrap as scipy_bootstrap
from sklearn.metrics import average_precision_score, recall_score, roc_auc_score

from models.evaluation import bootstrap as engine
from models.evaluation.bootstrap import (
    Groups,
    average_precision,
    bootstrap,
    difference,
    one_vs_rest_auc,
    ratio,
    resampled,
    roc_auc,
    stack,
    with_mean,
)
from models.evaluation.delong import auc_estimate
from models.evaluation.precision_recall import precision_recall


def noisy(n: int, seed: int = 0, levels: int = 0) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    generator = np.random.default_rng(seed)
    positive = generator.random(n) < 0.3
    scores = generator.normal(size=n) + positive
    return positive, np.round(scores * levels) if levels else scores


def rates(positive: NDArray[np.bool_], scores: NDArray[np.float64], groups: Groups) -> engine.Statistic:
    """Sensitivity and specificity at 0.5, then the AUC."""
    called = scores >= 0.5
    of_class = ratio(np.stack([called & positive, ~called & ~positive]), np.stack([positive, ~positive]), groups)
    return stack(of_class, roc_auc(positive, scores, groups))


@given(seed=st.integers(0, 10_000), levels=st.sampled_from([0, 1, 5]))
@settings(max_examples=20, deadline=None)
def test_areas_equal_scikit_learns_under_whole_number_weights(seed: int, levels: int) -> None:
    positive, scores = noisy(60, seed, levels)
    groups = Groups.of(np.random.default_rng(seed).integers(25, size=60))
    counts = np.random.default_rng(seed).integers(0, 3, size=(groups.count, 4)).astype(float)
    weights = counts[groups.of_image]
    both = stack(roc_auc(positive, scores, groups), average_precision(positive, scores, groups))(counts)
    for column in range(4):
        weight = weights[:, column]
        if weight[positive].sum() and weight[~positive].sum():
            assert both[0, column] == pytest.approx(
                roc_auc_score(positive, scores, sample_weight=weight), abs=1e-12
            )
            expected = average_precision_score(positive, scores, sample_weight=weight)
            assert both[1, column] == pytest.approx(expected, abs=1e-12)
        else:
            assert np.isnan(both[0, column])


def test_values_and_intervals_are_those_of_the_scikit_learn_loop_and_cost_far_less() -> None:
    positive, scores = noisy(1000)
    groups = Groups.each_image_alone(1000)
    before = time.process_time()
    estimates = bootstrap(rates(positive, scores, groups), groups, n=1000, resamples=2000, seed=0)
    ours = time.process_time() - before

    generator, drawn = np.random.default_rng(1), []
    before = time.process_time()
    for _ in range(150):
        rows = generator.integers(1000, size=1000)
        truth, called = positive[rows], scores[rows] >= 0.5
        drawn.append(
            [
                recall_score(truth, called),
                recall_score(truth, called, pos_label=False),
                roc_auc_score(truth, scores[rows]),
            ]
        )
    usual = (time.process_time() - before) * 2000 / 150
    assert usual / ours > 15
    called = scores >= 0.5
    expected = (called[positive].mean(), (~called[~positive]).mean(), roc_auc_score(positive, scores))
    assert [one.value for one in estimates] == pytest.approx(expected, abs=1e-12)
    # The 2.5 % point of 150 resamples has a standard error of about 0.2 standard deviations.
    spread = np.std(drawn, axis=0)
    ends = np.quantile(drawn, [0.025, 0.975], axis=0)
    assert (np.abs(np.array([one.low for one in estimates]) - ends[0]) < 0.8 * spread).all()
    assert (np.abs(np.array([one.high for one in estimates]) - ends[1]) < 0.8 * spread).all()


def test_the_interval_of_an_area_is_as_wide_as_delongs() -> None:
    positive, scores = noisy(800)
    groups = Groups.each_image_alone(800)
    (drawn,) = bootstrap(roc_auc(positive, scores, groups), groups, n=800, resamples=4000, seed=0)
    delong = auc_estimate(positive, scores)
    assert drawn.value == pytest.approx(delong.value, abs=1e-12)
    assert (drawn.low, drawn.high) == pytest.approx((delong.low, delong.high), abs=0.004)


def test_bca_equals_scipys_within_monte_carlo_error_and_differs_from_percentiles_where_values_are_skewed() -> None:
    values = np.random.default_rng(5).exponential(size=60) ** 2
    groups = Groups.each_image_alone(60)
    mean = ratio(values, np.ones(60), groups)
    (bca,) = bootstrap(mean, groups, n=60, resamples=20_000, seed=0, interval="bca")
    (percentile,) = bootstrap(mean, groups, n=60, resamples=20_000, seed=0)
    expected = scipy_bootstrap(
        (values,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(1)
    ).confidence_interval
    error = values.std() / np.sqrt(60)
    assert (bca.low, bca.high) == pytest.approx((expected.low, expected.high), abs=0.08 * error)
    assert bca.high - percentile.high > 0.2 * error
    assert bca.method == "group-bootstrap, bca"


def test_the_acceleration_hardly_depends_on_leaving_out_groups_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(5).exponential(size=900)
    groups = Groups.each_image_alone(900)
    mean = ratio(values, np.ones(900), groups)
    (each,) = bootstrap(mean, groups, n=900, resamples=2000, seed=0, interval="bca")
    monkeypatch.setattr(engine, "JACKKNIFE_SETS", 300)
    (in_sets,) = bootstrap(mean, groups, n=900, resamples=2000, seed=0, interval="bca")
    assert (in_sets.low, in_sets.high) == pytest.approx((each.low, each.high), abs=0.1 * (each.high - each.low))


def test_unknown_truths_are_left_out_of_their_class_alone() -> None:
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 2, size=(200, 3)).astype(np.int8)
    scores = generator.random((200, 3)) + 0.4 * truth
    truth[:50, 1] = -1
    groups = Groups.of(np.arange(200) // 2)
    estimates = bootstrap(with_mean(one_vs_rest_auc(truth, scores, groups)), groups, n=200, resamples=200, seed=0)
    expected = [roc_auc_score(truth[truth[:, k] >= 0, k], scores[truth[:, k] >= 0, k]) for k in range(3)]
    assert [one.value for one in estimates] == pytest.approx([*expected, np.mean(expected)], abs=1e-12)
    assert all(one.low < one.value < one.high for one in estimates)


def test_a_class_without_images_is_undefined_for_its_reason_and_can_be_left_out_of_the_mean() -> None:
    truth = np.zeros((40, 2), np.int8)
    truth[:15, 0] = 1
    groups = Groups.each_image_alone(40)
    areas = one_vs_rest_auc(truth, np.random.default_rng(0).random((40, 2)), groups)
    every = bootstrap(
        with_mean(areas), groups, n=40, resamples=100, seed=0, undefined=["", "no Hernia", "no mean"]
    )
    assert [one.undefined for one in every] == ["", "no Hernia", "no mean"]
    some = bootstrap(with_mean(areas, of=[0]), groups, n=40, resamples=100, seed=0, undefined="absent")
    assert some[2].value == some[0].value


def test_five_copies_of_each_patients_image_are_no_new_evidence() -> None:
    positive, scores = noisy(80)
    once = bootstrap(rates(positive, scores, Groups.of(np.arange(80))), Groups.of(np.arange(80)), n=80, **SMALL)
    groups = Groups.of(np.repeat(np.arange(80), 5))
    copied = rates(np.repeat(positive, 5), np.repeat(scores, 5), groups)
    five = bootstrap(copied, groups, n=80, **SMALL)
    for one, other in zip(once, five, strict=True):
        assert (other.low, other.high) == pytest.approx((one.low, one.high), abs=1e-12)


SMALL = {"resamples": 300, "seed": 0}


def test_one_seed_gives_one_interval_however_many_resamples_are_computed_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    positive, scores = noisy(90)
    groups = Groups.of(np.arange(90) // 2)
    strata = (groups.totals(positive)[0] > 0).astype(np.int64)
    statistic = rates(positive, scores, groups)
    plain, within = (resampled(statistic, 45, strata=which, **SMALL) for which in (None, strata))
    monkeypatch.setattr(engine, "_RESAMPLES_AT_ONCE", 7)
    assert np.array_equal(resampled(statistic, 45, **SMALL), plain)
    assert np.array_equal(resampled(statistic, 45, strata=strata, **SMALL), within)
    assert not np.array_equal(resampled(statistic, 45, resamples=300, seed=1), plain)


def test_strata_keep_the_number_of_groups_of_each_kind() -> None:
    positive, _ = noisy(90)
    groups = Groups.each_image_alone(90)
    shares = resampled(ratio(positive, np.ones(90), groups), 90, strata=positive.astype(np.int64), **SMALL)
    assert np.ptp(shares) == 0
    assert np.ptp(resampled(ratio(positive, np.ones(90), groups), 90, **SMALL)) > 0


def test_a_difference_is_taken_on_the_same_resamples() -> None:
    positive, scores = noisy(200)
    groups = Groups.each_image_alone(200)
    area = roc_auc(positive, scores, groups)
    assert np.ptp(resampled(difference(area, area), 200, **SMALL)) == 0


def test_a_class_of_one_group_or_a_perfect_score_has_a_value_without_an_interval() -> None:
    positive = np.arange(60) < 2
    groups = Groups.of([0, 0, *range(1, 59)])
    (lonely,) = bootstrap(roc_auc(positive, np.arange(60.0), groups), groups, n=60, resamples=500, seed=0)
    assert lonely.value is not None
    assert lonely.method.endswith("of 500 resamples lack a class")
    positive = np.arange(60) < 30
    groups = Groups.each_image_alone(60)
    (perfect,) = bootstrap(roc_auc(positive, positive.astype(float), groups), groups, n=60, resamples=200, seed=0)
    assert (perfect.value, perfect.low) == (1, None)
    assert perfect.method == "no interval: all resamples give the same value"


def test_no_image_is_undefined() -> None:
    none, groups = np.empty(0, bool), Groups.of([])
    estimates = bootstrap(rates(none, np.empty(0), groups), groups, n=0, undefined="no image", **SMALL)
    assert [one.undefined for one in estimates] == ["no image"] * 3


def test_average_precision_stands_beside_its_prevalence() -> None:
    positive, scores = noisy(500)
    stratified = precision_recall(positive, scores, resamples=500)
    assert stratified.average_precision.value == pytest.approx(average_precision_score(positive, scores))
    assert (
        stratified.average_precision.low < stratified.average_precision.value < stratified.average_precision.high
    )
    assert stratified.average_precision.method == "stratified group-bootstrap"
    assert stratified.prevalence.value == pytest.approx(positive.mean())
    plain = precision_recall(positive, scores, Groups.of(np.arange(500) // 5), resamples=500, stratified=False)
    assert plain.prevalence.low < plain.prevalence.value < plain.prevalence.high
    assert plain.average_precision.method == "group-bootstrap"


def test_average_precision_without_positives_is_undefined_and_says_why() -> None:
    result = precision_recall(np.zeros(5, bool), np.arange(5.0))
    assert result.average_precision.undefined == "no positive image"
    assert result.prevalence.value == 0
    assert precision_recall(np.empty(0, bool), np.empty(0)).average_precision.undefined == "no image"
