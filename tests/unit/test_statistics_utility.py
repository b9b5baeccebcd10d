"""Predictive values, net benefit, sample sizes, rule-in threshold and abstain zone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_contracts.errors import UsageProblem
from models.evaluation.abstain import abstain_zone, choose_rule_in, read_zone
from models.evaluation.bootstrap import Groups
from models.evaluation.intervals import proportion
from models.evaluation.results import Estimate
from models.evaluation.utility import (
    decision_curve,
    hanley_mcneil_error,
    images_for_auc,
    images_for_proportion,
    net_benefit,
    net_benefit_of_treating_all,
    npv_at,
    ppv_at,
    predictive_values,
)


@pytest.mark.parametrize(
    ("prevalence", "ppv", "npv"),
    [(0.01, 0.04578, 0.99937), (0.05, 0.20, 0.99672), (0.10, 0.34545, 0.99310), (0.50, 0.82609, 0.94118)],
)
def test_predictive_values_at_stated_prevalences(prevalence: float, ppv: float, npv: float) -> None:
    assert ppv_at(0.95, 0.80, prevalence) == pytest.approx(ppv, abs=5e-6)
    assert npv_at(0.95, 0.80, prevalence) == pytest.approx(npv, abs=5e-6)


def test_predictive_values_carry_the_uncertainty_of_sensitivity_and_specificity() -> None:
    sensitivity, specificity = proportion(95, 100, undefined=""), proportion(160, 200, undefined="")
    at_five_percent = predictive_values(sensitivity, specificity)[1]
    ppv, npv = at_five_percent.ppv, at_five_percent.npv
    assert (at_five_percent.prevalence, ppv.value) == (0.05, pytest.approx(0.20))
    assert (ppv.low, ppv.high) == pytest.approx(
        (ppv_at(sensitivity.low, specificity.low, 0.05), ppv_at(sensitivity.high, specificity.high, 0.05))
    )
    assert npv.low < npv.value < npv.high
    assert ppv.n == 300


def test_a_specificity_of_one_keeps_a_lower_bound() -> None:
    ppv = predictive_values(proportion(19, 20, undefined=""), proportion(30, 30, undefined=""), [0.1])[0].ppv
    assert (ppv.value, ppv.high) == (1, 1)
    assert 0 < ppv.low < 0.6


def test_predictive_values_without_evidence_are_undefined_or_without_interval() -> None:
    nothing = Estimate(value=None, n=0, undefined="no positive image")
    known = proportion(9, 10, undefined="")
    assert predictive_values(nothing, known, [0.1])[0].ppv.undefined == "no positive image"
    never = Estimate(value=0.0, low=0.0, high=0.1, n=9)
    always = Estimate(value=1.0, low=0.9, high=1.0, n=9)
    assert predictive_values(never, always, [0.1])[0].ppv.undefined == "no image would be called positive"
    bare = Estimate(value=0.9, n=9, method="no interval: all resamples give the same value")
    assert predictive_values(bare, known, [0.1])[0].npv.method.startswith("no interval")


# The COVID class of COVID-Net's published test matrix: 91 found, 1 false alarm, 300 images, a third of them positive.
@pytest.mark.parametrize(
    ("threshold", "model", "treat_all"),
    [(0.1, 0.302963, 0.259259), (0.2, 0.3025, 0.166667), (0.5, 0.30, -0.333333)],
)
def test_net_benefit_of_the_covid_net_class(threshold: float, model: float, treat_all: float) -> None:
    assert net_benefit(91, 1, 300, threshold) == pytest.approx(model, abs=5e-7)
    assert net_benefit_of_treating_all(1 / 3, threshold) == pytest.approx(treat_all, abs=5e-7)
    positive = np.arange(300) < 100
    called = np.isin(np.arange(300), [*range(91), 299])
    (point,) = decision_curve(positive, called.astype(float), thresholds=[threshold], resamples=200)
    assert point.model.value == pytest.approx(model, abs=5e-7)
    assert point.model.low < point.model.value < point.model.high
    assert point.treat_all == pytest.approx(treat_all, abs=5e-7)


def test_a_risk_threshold_outside_zero_and_one_is_refused_and_no_image_is_undefined() -> None:
    with pytest.raises(UsageProblem, match="risk threshold"):
        net_benefit(1, 1, 2, 1.0)
    (point,) = decision_curve(np.empty(0, bool), np.empty(0), thresholds=[0.2])
    assert (point.model.undefined, point.treat_all) == ("no image", None)


def test_net_benefit_is_uncertain_by_patients_not_by_images() -> None:
    generator = np.random.default_rng(0)
    positive = np.repeat(generator.random(60) < 0.4, 5)
    probability = np.repeat(generator.random(60), 5)
    careful = decision_curve(
        positive, probability, Groups.of(np.arange(300) // 5), thresholds=[0.3], resamples=500
    )
    careless = decision_curve(positive, probability, thresholds=[0.3], resamples=500)
    widths = [points[0].model.high - points[0].model.low for points in (careful, careless)]
    assert widths[0] > 1.7 * widths[1]


@pytest.mark.parametrize(
    ("expected", "half_width", "images"),
    [(0.95, 0.05, 73), (0.95, 0.03, 203), (0.90, 0.05, 139), (0.80, 0.05, 246)],
)
def test_positives_needed_for_a_sensitivity(expected: float, half_width: float, images: int) -> None:
    assert images_for_proportion(expected, half_width) == images


@pytest.mark.parametrize(("auc", "balanced", "fourfold"), [(0.80, 418, 333), (0.90, 218, 191), (0.95, 110, 102)])
def test_images_needed_for_an_area(auc: float, balanced: int, fourfold: int) -> None:
    assert images_for_auc(auc, 0.03) == (balanced, balanced)
    assert images_for_auc(auc, 0.03, negatives_per_positive=4) == (fourfold, 4 * fourfold)
    with pytest.raises(UsageProblem, match="No collection"):
        images_for_auc(auc, 1e-6)


def test_the_standard_error_of_the_published_rating_data() -> None:
    # Hanley & McNeil 1982 print .032 for an area of .893 with 51 abnormal and 58 normal images.
    assert hanley_mcneil_error(0.893171, 51, 58) == pytest.approx(0.032487, abs=1e-6)


def test_the_rule_in_threshold_is_the_lowest_that_keeps_specificity_and_its_bound() -> None:
    scores = np.concatenate([np.linspace(0, 0.9, 400), np.linspace(0.5, 1, 100)])
    positive = np.arange(500) >= 400
    chosen = choose_rule_in(positive, scores)
    kept = int((scores[:400] < chosen.threshold).sum())
    assert chosen.assured
    assert chosen.specificity.value == kept / 400 >= 0.98
    assert chosen.specificity.low >= 0.95
    one_less = proportion(kept - 1, 400, undefined="")
    assert one_less.value < 0.98 or one_less.low < 0.95
    assert chosen.sensitivity.value == (scores[400:] >= chosen.threshold).mean()


def test_too_few_negatives_leave_the_rule_in_threshold_unassured_and_none_leave_none() -> None:
    positive, scores = np.arange(40) >= 30, np.arange(40) / 40
    chosen = choose_rule_in(positive, scores)
    assert not chosen.assured
    assert "too few" in chosen.note
    assert chosen.specificity.value == 1
    assert choose_rule_in(np.ones(5, bool), scores[:5]) is None


@given(seed=st.integers(0, 10_000), levels=st.integers(2, 50))
@settings(max_examples=40, deadline=None)
def test_ties_never_break_the_promised_specificity(seed: int, levels: int) -> None:
    generator = np.random.default_rng(seed)
    positive, scores = generator.random(120) < 0.4, generator.integers(levels, size=120) / levels
    chosen = choose_rule_in(positive, scores)
    assert (scores[~positive] < chosen.threshold).mean() >= 0.98


def test_between_the_thresholds_a_person_reads() -> None:
    zone = abstain_zone(rule_out=0.2, rule_in=0.8)
    scores = np.array([0.1, 0.1, 0.2, 0.5, 0.79, 0.8, 0.9, 0.95])
    positive = np.array([False, True, True, False, True, True, False, True])
    reading = read_zone(zone, positive, scores)
    assert reading.abstained.value == 3 / 8
    assert reading.decided_accuracy.value == 3 / 5
    assert reading.missed.value == 1 / 5
    assert reading.false_alarm.value == 1 / 3
    assert abstain_zone(rule_out=0.6, rule_in=0.4).rule_in == 0.6
    empty = read_zone(zone, positive[:0], scores[:0])
    assert empty.abstained.undefined == "no image"
    assert empty.missed.undefined == "no positive image"
