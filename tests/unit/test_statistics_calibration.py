"""Calibration against scikit-learn and statsmodels; temperature and prevalence correct what was made wrong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit, logit
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score
from statsmodels.genmod.families import Binomial
from statsmodels.genmod.generalized_linear_model import GLM

from data_contracts.errors import UsageProblem
from models.evaluation.bootstrap import Groups
from models.evaluation.calibration import (
    calibration,
    expected_calibration_error,
    reliability_curve,
    slope_and_intercept,
)
from models.evaluation.temperature import at_prevalence, fit_temperature, logits_of, tempered
from models.output import Output, to_probabilities

# The example of scikit-learn's documentation.
TOY_TRUTH, TOY_SCORES = np.array([False, False, True, True]), np.array([0.1, 0.4, 0.35, 0.8])


def calibrated(n: int, seed: int = 0) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    generator = np.random.default_rng(seed)
    probability = expit(1.5 * generator.normal(size=n))
    return generator.random(n) < probability, probability


def test_the_documented_toy_example_has_its_published_scores() -> None:
    result = calibration(TOY_TRUTH, TOY_SCORES, resamples=100)
    assert result.brier.value == pytest.approx(0.158125, abs=1e-12)
    assert result.log_loss.value == pytest.approx(0.472288, abs=5e-7)
    assert roc_auc_score(TOY_TRUTH, TOY_SCORES) == 0.75


def test_scores_are_scikit_learns_even_for_probabilities_of_exactly_zero_and_one() -> None:
    positive, probability = calibrated(400)
    probability[:3], probability[3:6] = 0, 1
    result = calibration(positive, probability, resamples=200)
    assert result.brier.value == pytest.approx(brier_score_loss(positive, probability), abs=1e-12)
    assert result.log_loss.value == pytest.approx(log_loss(positive, probability), rel=1e-12)
    assert result.brier.low < result.brier.value < result.brier.high


def test_a_calibrated_model_has_slope_one_and_intercept_zero_within_their_intervals() -> None:
    result = calibration(*calibrated(3000), resamples=100)
    assert result.slope.low < 1 < result.slope.high
    assert result.intercept.low < 0 < result.intercept.high
    assert sum(bin_.low <= bin_.probability <= bin_.high for bin_ in result.curve) >= 12


def test_over_confidence_and_shift_show_in_slope_and_intercept() -> None:
    positive, probability = calibrated(4000)
    slope, _ = slope_and_intercept(positive, expit(2 * logit(probability)))
    assert slope.value == pytest.approx(0.5, abs=0.05)
    _, intercept = slope_and_intercept(positive, expit(logit(probability) - 1))
    assert intercept.value == pytest.approx(1, abs=0.1)


def test_slope_and_intercept_are_those_of_statsmodels_with_and_without_clusters() -> None:
    positive, probability = calibrated(300)
    x, y, groups = logit(probability), positive.astype(float), Groups.of(np.arange(300) // 3)
    design = np.column_stack([np.ones(300), x])
    slope, intercept = slope_and_intercept(positive, probability)
    assert (slope.low, slope.high) == pytest.approx(
        GLM(y, design, family=Binomial()).fit().conf_int()[1], abs=1e-5
    )
    offset = GLM(y, np.ones((300, 1)), family=Binomial(), offset=x).fit()
    assert (intercept.low, intercept.high) == pytest.approx(offset.conf_int()[0], abs=1e-5)
    robust, _ = slope_and_intercept(positive, probability, groups)
    clustered = GLM(y, design, family=Binomial()).fit(cov_type="cluster", cov_kwds={"groups": groups.of_image})
    assert robust.high - robust.value == pytest.approx(1.959964 * clustered.bse[1], rel=0.005)
    assert robust.method == "wald, cluster-robust"


@pytest.mark.parametrize(
    ("probability", "slope", "intercept"),
    [
        ([0.3] * 8, "all probabilities are equal", ""),
        ([0.2] * 4 + [0.8] * 4, "the probabilities separate the classes", ""),
        (
            [0.0] * 4 + [1.0] * 4,
            "the probabilities separate the classes",
            "all probabilities are as good as 0 or 1",
        ),
        ([0.8] * 4 + [0.2] * 4, "the probabilities separate the classes", ""),
        ([0.1, 0.2, 0.3, 1.0, 0.0, 0.5, 0.6, 0.9], "", ""),  # confident and wrong
    ],
)
def test_what_cannot_be_fitted_is_undefined_with_its_reason(
    probability: list[float], slope: str, intercept: str
) -> None:
    result = calibration(np.arange(8) >= 4, np.array(probability), resamples=100)
    assert (result.slope.undefined, result.intercept.undefined) == (slope, intercept)


def test_no_image_and_a_single_class_are_undefined() -> None:
    empty = calibration(np.empty(0, bool), np.empty(0))
    assert (empty.ece, empty.ece_debiased, empty.curve) == (None, None, [])
    assert empty.brier.undefined == empty.slope.undefined == "no image"
    assert calibration(np.ones(3, bool), np.full(3, 0.9), resamples=100).slope.undefined == "no negative image"


def test_bins_hold_equal_numbers_and_the_order_of_the_images_does_not_matter() -> None:
    positive, probability = calibrated(1500)
    probability = probability.round(2)
    curve = reliability_curve(positive, probability)
    assert [bin_.n for bin_ in reliability_curve(positive, np.linspace(0, 1, 1500))] == [100] * 15
    order = np.random.default_rng(1).permutation(1500)
    again = reliability_curve(positive[order], probability[order])
    assert [bin_.n for bin_ in again] == [bin_.n for bin_ in curve]
    assert [bin_.positive for bin_ in again] == pytest.approx([bin_.positive for bin_ in curve])
    assert len(reliability_curve(positive, np.full(1500, 0.4))) == 1
    assert len(reliability_curve(positive[:45], probability[:45])) == 4


def test_the_calibration_error_of_a_known_gap_is_that_gap_and_debiasing_takes_chance_out() -> None:
    generator = np.random.default_rng(0)
    known = calibration(generator.random(20_000) < 0.3, np.full(20_000, 0.5), resamples=100)
    assert known.ece == pytest.approx(0.2, abs=0.01)
    assert known.ece_debiased == pytest.approx(known.ece, abs=1e-6)
    curves = [reliability_curve(*calibrated(450, seed)) for seed in range(40)]
    plain = np.mean([expected_calibration_error(curve) for curve in curves])
    debiased = np.mean([expected_calibration_error(curve, debiased=True) for curve in curves])
    assert plain > 0.03  # of a perfectly calibrated model
    assert debiased < 0.6 * plain


def softmax_data(n: int, classes: int = 4, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    generator = np.random.default_rng(seed)
    logits = 2 * generator.normal(size=(n, classes))
    cumulative = to_probabilities(logits, "softmax").cumsum(axis=1)
    labels = (generator.random((n, 1)) > cumulative[:, :-1]).sum(axis=1)
    return logits, np.eye(classes, dtype=np.int8)[labels]


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_temperature_finds_the_factor_by_which_logits_were_exaggerated(factor: float) -> None:
    logits, truth = softmax_data(3000)
    fitted = fit_temperature(factor * logits, truth, "softmax")
    assert fitted.value == pytest.approx(factor, rel=0.05)
    assert fitted.loss_after <= fitted.loss_before
    probabilities = tempered(to_probabilities(factor * logits, "softmax"), fitted.value, "softmax")
    assert fitted.loss_after == pytest.approx(log_loss(truth.argmax(axis=1), probabilities), abs=1e-9)


def test_binary_and_sigmoid_temperatures_agree_and_leave_unknown_truths_out() -> None:
    positive, probability = calibrated(3000)
    logits = 2.5 * logit(probability)[:, None]
    two = np.stack([~positive, positive], axis=1).astype(np.int8)
    binary = fit_temperature(logits, two, "binary")
    assert binary.value == pytest.approx(2.5, rel=0.08)
    labels = np.concatenate([two[:, 1:], np.full((3000, 1), -1, np.int8)], axis=1)
    sigmoid = fit_temperature(np.repeat(logits, 2, axis=1), labels, "sigmoid")
    assert (sigmoid.value, sigmoid.n) == (pytest.approx(binary.value), 3000)


@given(seed=st.integers(0, 10_000), temperature=st.floats(0.2, 10))
@settings(max_examples=40, deadline=None)
def test_temperature_changes_no_call_and_no_binary_area(seed: int, temperature: float) -> None:
    logits, _ = softmax_data(30, seed=seed)
    p = to_probabilities(logits, "softmax")
    assert np.array_equal(tempered(p, temperature, "softmax").argmax(axis=1), p.argmax(axis=1))
    generator = np.random.default_rng(seed)
    positive, binary = np.arange(30) < 12, to_probabilities(generator.normal(size=(30, 1)), "binary")
    after = tempered(binary, temperature, "binary")
    assert roc_auc_score(positive, after[:, 1]) == roc_auc_score(positive, binary[:, 1])


@pytest.mark.parametrize("output", ["softmax", "sigmoid", "binary"])
def test_a_temperature_of_one_changes_nothing(output: Output) -> None:
    logits = np.random.default_rng(0).normal(size=(20, 1 if output == "binary" else 3))
    p = to_probabilities(logits, output)
    assert tempered(p, 1, output) == pytest.approx(p, abs=1e-12)
    assert to_probabilities(logits_of(p, output), output) == pytest.approx(p, abs=1e-12)
    with pytest.raises(UsageProblem, match="not above 0"):
        tempered(p, 0, output)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_temperature_that_would_have_no_limit_is_not_fitted_and_says_so(sign: int) -> None:
    truth = np.eye(2, dtype=np.int8)[np.arange(40) % 2]
    fitted = fit_temperature(sign * (2.0 * truth - 1), truth, "softmax")
    assert fitted.value == 1
    assert fitted.note.startswith("not fitted")


def test_without_a_known_truth_the_temperature_is_one() -> None:
    for truth in (np.empty((0, 3), np.int8), np.full((5, 3), -1, np.int8)):
        fitted = fit_temperature(np.zeros(truth.shape), truth, "softmax")
        assert (fitted.value, fitted.n, fitted.loss_before) == (1, 0, None)
        assert fitted.note


def test_a_changed_prevalence_moves_the_intercept_and_moves_it_back() -> None:
    positive, probability = calibrated(20_000)
    kept = positive | (np.random.default_rng(1).random(20_000) < 0.25)  # three of four negatives are gone
    measured, deployed = positive.mean(), positive[kept].mean()
    moved = at_prevalence(probability[kept], measured=measured, deployed=deployed)
    _, before = slope_and_intercept(positive[kept], probability[kept])
    _, after = slope_and_intercept(positive[kept], moved)
    assert before.value == pytest.approx(np.log(4), abs=0.1)
    assert abs(after.value) < 0.05
    assert at_prevalence(moved, measured=deployed, deployed=measured) == pytest.approx(probability[kept])
    assert at_prevalence(np.array([0.0, 1.0]), measured=0.2, deployed=0.5).tolist() == [0, 1]
    with pytest.raises(UsageProblem, match="not both between"):
        at_prevalence(probability, measured=0, deployed=0.5)
