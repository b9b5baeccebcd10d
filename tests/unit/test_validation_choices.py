"""What validation decides: a temperature first, then thresholds on the probabilities that it gives."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.evaluation.settings import EvaluationSettings
from models.evaluation.temperature import tempered
from models.evaluation.validation_choices import choose_on_validation
from models.output import Output, to_probabilities

SETTINGS = EvaluationSettings()
NAMES = ["a", "b", "c"]


def _over_confident(n: int = 600, factor: float = 3.0) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    generator = np.random.default_rng(0)
    logits = 1.5 * generator.normal(size=(n, 3))
    cumulative = to_probabilities(logits, "softmax").cumsum(axis=1)
    labels = (generator.random((n, 1)) > cumulative[:, :-1]).sum(axis=1)
    return np.eye(3, dtype=np.int8)[labels], to_probabilities(factor * logits, "softmax")


def test_thresholds_are_chosen_on_tempered_probabilities() -> None:
    truth, probabilities = _over_confident()
    chosen = choose_on_validation(truth, probabilities, NAMES, "softmax", SETTINGS)
    assert chosen.temperature == pytest.approx(3, rel=0.15)
    assert chosen.temperature_note == ""
    read = tempered(probabilities, chosen.temperature, "softmax")
    for k, name in enumerate(NAMES):
        point, rule_in = chosen.operating_points[name], chosen.rule_in[name]
        positive = truth[:, k] == 1
        assert (read[positive, k] >= point.threshold).mean() == point.sensitivity.value >= 0.95
        assert (read[~positive, k] < rule_in.threshold).mean() == rule_in.specificity.value >= 0.98
        assert point.threshold < rule_in.threshold


def test_a_threshold_keeps_the_very_image_it_was_taken_from() -> None:
    truth, probabilities = _over_confident()
    chosen = choose_on_validation(truth, probabilities, NAMES, "softmax", SETTINGS)
    read = tempered(probabilities, chosen.temperature, "softmax")
    assert all(chosen.operating_points[name].threshold in read[:, k] for k, name in enumerate(NAMES))


@pytest.mark.parametrize("output", ["softmax", "binary", "sigmoid"])
def test_a_fold_of_one_class_fits_nothing_and_says_so(output: Output) -> None:
    generator = np.random.default_rng(0)
    probabilities = to_probabilities(generator.normal(2, 0.1, size=(40, 1 if output == "binary" else 2)), output)
    truth = np.tile(np.array([1, 1] if output == "sigmoid" else [0, 1], np.int8), (40, 1))
    chosen = choose_on_validation(truth, probabilities, ["a", "b"], output, SETTINGS)
    assert (chosen.temperature, chosen.temperature_note) == (1, "not fitted: validation holds a single class")
    assert set(chosen.operating_points) == ({"a", "b"} if output == "sigmoid" else {"b"})
    assert chosen.rule_in == {}
    assert chosen.operating_points["b"].specificity.value is None


def test_without_a_validation_image_nothing_is_chosen() -> None:
    chosen = choose_on_validation(np.empty((0, 3), np.int8), np.empty((0, 3)), NAMES, "softmax", SETTINGS)
    assert (chosen.temperature, chosen.operating_points, chosen.rule_in) == (1, {}, {})
    assert chosen.temperature_note
