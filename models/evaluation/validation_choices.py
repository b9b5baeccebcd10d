"""All that validation decides of a trained network and its bundle freezes: temperature, operating points, rule-in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.abstain import choose_rule_ins
from models.evaluation.operating_point import choose_operating_points
from models.evaluation.results import OperatingPoint, RuleIn
from models.evaluation.settings import EvaluationSettings
from models.evaluation.temperature import fit_temperature, logits_of, tempered
from models.output import Output


@dataclass(frozen=True, slots=True)
class ValidationChoices:
    """temperature_note: why none was fitted, else "". operating_points and rule_in: by class name, where chosen."""

    temperature: float
    temperature_note: str
    operating_points: dict[str, OperatingPoint]
    rule_in: dict[str, RuleIn]


def choose_on_validation(
    truth: NDArray[np.int8],
    probabilities: NDArray[np.float64],
    class_names: Sequence[str],
    output: Output,
    settings: EvaluationSettings,
) -> ValidationChoices:
    """Fit the temperature, then choose the thresholds on the probabilities that it gives.

    truth (n, K): 1, 0 or -1 where it is unknown. probabilities (n, K): at temperature 1.
    """
    fitted = fit_temperature(logits_of(probabilities, output), truth, output)
    calibrated = tempered(probabilities, fitted.value, output)
    return ValidationChoices(
        temperature=fitted.value,
        temperature_note=fitted.note,
        operating_points=choose_operating_points(truth, calibrated, class_names, settings),
        rule_in=choose_rule_ins(truth, calibrated, class_names),
    )
