"""The operating point: the declared rule, against published counts and against plain enumeration."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from statsmodels.stats.proportion import proportion_confint

from models.evaluation.operating_point import (
    choose_operating_point,
    choose_operating_points,
    hits_required,
    positives_required,
)
from models.evaluation.settings import EvaluationSettings

DEFAULT = EvaluationSettings()


def test_of_a_hundred_positives_ninety_six_must_be_found() -> None:
    assert proportion_confint(95, 100, method="wilson")[0] == pytest.approx(0.8882, abs=5e-5)
    assert proportion_confint(96, 100, method="wilson")[0] == pytest.approx(0.9016, abs=5e-5)
    assert hits_required(100, DEFAULT) == (96, True)


@pytest.mark.parametrize(("n", "hits"), [(1, 1), (19, 19), (20, 19), (34, 33)])
def test_with_too_few_positives_the_target_alone_decides(n: int, hits: int) -> None:
    assert hits_required(n, DEFAULT) == (hits, False)


def test_thirty_five_positives_all_found_are_the_fewest_that_assure_ninety_percent() -> None:
    assert positives_required(DEFAULT) == 35
    assert hits_required(35, DEFAULT) == (35, True)


def test_the_threshold_is_the_score_of_the_positive_that_completes_the_required_hits() -> None:
    scores = np.concatenate([np.arange(1, 101) / 200 + 0.4, np.linspace(0, 0.5, 300)])
    positive = np.arange(400) < 100
    point = choose_operating_point(positive, scores, DEFAULT)
    assert point.threshold == scores[4]  # four of the hundred lie below it
    assert point.sensitivity.value == 0.96
    assert point.sensitivity.low == pytest.approx(0.9016, abs=5e-5)
    assert point.specificity.value == (scores[100:] < point.threshold).mean()
    assert point.assured
    assert "96 of 100" in point.note


def _enumerated(
    positive: NDArray[np.bool_], scores: NDArray[np.float64], settings: EvaluationSettings
) -> float | None:
    """The rule word for word, over every observed score."""
    n = int(positive.sum())
    fitting = [
        score
        for score in np.unique(scores)
        if (hits := int((scores[positive] >= score).sum())) / n >= settings.target_sensitivity
        and proportion_confint(hits, n, method="wilson")[0] >= settings.required_lower_bound
    ]
    return max(fitting) if fitting else None


@pytest.mark.parametrize("seed", range(20))
def test_no_observed_score_above_the_threshold_obeys_the_rule(seed: int) -> None:
    generator = np.random.default_rng(seed)
    positive = generator.random(300) < generator.choice([0.2, 0.5])
    # Few levels, so that scores tie; some runs have many.
    scores = (generator.random(300) + 0.5 * positive).round(1 if seed % 2 else 3)
    assert choose_operating_point(positive, scores, DEFAULT).threshold == _enumerated(positive, scores, DEFAULT)


def test_images_that_tie_with_the_threshold_are_called_positive() -> None:
    positive = np.array([True] * 40 + [False] * 10)
    scores = np.array([0.5] * 50)
    point = choose_operating_point(positive, scores, DEFAULT)
    assert (point.threshold, point.sensitivity.value, point.specificity.value) == (0.5, 1.0, 0.0)


def test_too_few_positives_say_how_many_would_be_needed() -> None:
    positive = np.array([True] * 20 + [False] * 20)
    scores = np.linspace(1, 0, 40)
    point = choose_operating_point(positive, scores, DEFAULT)
    assert not point.assured
    assert point.sensitivity.value == 0.95
    assert point.threshold == scores[18]
    assert "holds 20 positives" in point.note
    assert "at least 35" in point.note


def test_a_class_without_validation_images_has_no_operating_point() -> None:
    truth = np.eye(3, dtype=np.int8)[[0, 0, 2, 2]]
    probabilities = np.full((4, 3), 1 / 3)
    points = choose_operating_points(truth, probabilities, ["a", "b", "c"], DEFAULT)
    assert list(points) == ["a", "c"]


def test_images_of_unknown_truth_choose_no_threshold() -> None:
    truth = np.array([[1, -1], [1, 0], [0, -1], [-1, 0]], dtype=np.int8)
    probabilities = np.array([[0.8, 0.9], [0.6, 0.1], [0.7, 0.9], [0.1, 0.2]])
    points = choose_operating_points(truth, probabilities, ["a", "b"], DEFAULT)
    assert list(points) == ["a"]
    assert points["a"] == choose_operating_point(np.array([True, True, False]), probabilities[:3, 0], DEFAULT)


def test_without_negatives_the_specificity_is_undefined() -> None:
    point = choose_operating_point(np.array([True, True]), np.array([0.2, 0.8]), DEFAULT)
    assert point.specificity.value is None
    assert point.specificity.undefined == "no negative image in validation"


def test_the_settings_decide_the_required_hits() -> None:
    lenient = EvaluationSettings(target_sensitivity=0.8, required_lower_bound=0.5)
    assert hits_required(100, lenient) == (80, True)
    assert positives_required(lenient) == 4
