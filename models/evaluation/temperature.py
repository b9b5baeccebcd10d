"""Corrections of a probability after training: one temperature for the logits, one shift for another prevalence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit, log_softmax, logit, softmax

from data_contracts.errors import UsageProblem
from models.output import Output

TEMPERATURE_RANGE = (0.05, 20.0)
# A probability of exactly 0 or 1 has no finite logit; the same bound as scikit-learn's log_loss.
EPSILON = float(np.finfo(np.float64).eps)
_NO_GAIN = 1e-6  # of the loss; the minimum of a flat function could be anywhere


@dataclass(frozen=True, slots=True)
class Temperature:
    """One number that divides all logits, fitted on validation; 1 where nothing could be fitted.

    loss_before and loss_after: mean negative log likelihood of the n validation truths at 1 and at `value`, None
    where there is none. note: why it was not fitted, as where it would leave TEMPERATURE_RANGE; else "".
    """

    value: float
    loss_before: float | None
    loss_after: float | None
    n: int
    note: str = ""


def fit_temperature(logits: NDArray[np.float64], truth: NDArray[np.int8], output: Output) -> Temperature:
    """The temperature with the lowest negative log likelihood on validation (Guo et al. 2017, ICML).

    logits (n, output_count); truth (n, K) with 1 positive, 0 negative and -1 unknown, which is left out, as is a
    softmax row without its positive. Division by one positive number changes no order within an image nor, for
    one logit, between images: calls by the highest probability and binary AUCs stay what they are, while a
    softmax AUC of three classes or more may move a little.
    """
    from scipy.optimize import minimize_scalar

    log_likelihood, n = _log_likelihood(logits, truth, output)
    if n == 0:
        return Temperature(1.0, None, None, 0, "validation holds no image with a known truth")
    shown = truth[truth >= 0] if output == "sigmoid" else truth[(truth == 1).any(axis=1)].argmax(axis=1)
    if len(np.unique(shown)) < 2:
        return Temperature(1.0, None, None, n, "not fitted: validation holds a single class")

    def loss(log_temperature: float) -> float:
        return -float(log_likelihood(float(np.exp(log_temperature))).mean())

    # The loss is convex in 1 / T, so it has one minimum over log T as well.
    low, high = np.log(TEMPERATURE_RANGE)
    found = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6})
    before, after = loss(0.0), float(found.fun)
    if min(loss(low), loss(high)) - after < _NO_GAIN < before - after:
        note = "not fitted: validation is separated without error, or scored no better than chance"
        return Temperature(1.0, before, before, n, note)
    if before - after <= _NO_GAIN:
        return Temperature(1.0, before, before, n)
    return Temperature(float(np.exp(found.x)), before, after, n)


def tempered(probabilities: NDArray[np.float64], temperature: float, output: Output) -> NDArray[np.float64]:
    """(n, K) probabilities as they would be had the logits been divided by the temperature (> 0).

    At 1 they are returned as they are. Probabilities of 0 and 1 stay.
    """
    if not temperature > 0:
        raise UsageProblem(
            f"A temperature of {temperature:g} is not above 0.",
            why="Dividing by it would turn the order of the classes around.",
            cure="Use the temperature stored with the model, or 1 to change nothing.",
        )
    if temperature == 1:
        return probabilities
    if output == "sigmoid":
        return np.asarray(expit(logit(probabilities) / temperature), dtype=np.float64)
    # The one logit of a binary model is the difference of these two: no case of its own.
    with np.errstate(divide="ignore"):  # log 0
        return np.asarray(softmax(np.log(probabilities) / temperature, axis=1), dtype=np.float64)


def logits_of(probabilities: NDArray[np.float64], output: Output) -> NDArray[np.float64]:
    """(n, K) probabilities -> (n, output_count) logits that give them; for softmax up to a constant per image.

    A probability of exactly 0 or 1 is taken as one step of float64 away from it.
    """
    p = np.clip(probabilities, EPSILON, 1 - EPSILON)
    if output == "softmax":
        return np.log(p)
    return np.asarray(logit(p if output == "sigmoid" else p[:, 1:]), dtype=np.float64)


def at_prevalence(probability: NDArray[np.float64], *, measured: float, deployed: float) -> NDArray[np.float64]:
    """Probabilities of one class after its prevalence moved: logit(p') = logit(p) + logit(new) - logit(old).

    measured: prevalence where the probabilities are calibrated; deployed: where they will be read; both in (0, 1).
    Holds where the look of the diseased and of the healthy is the same in both places (Saerens et al. 2002,
    Neural Computation 14:21). Probabilities of 0 and 1 stay.
    """
    if not (0 < measured < 1 and 0 < deployed < 1):
        raise UsageProblem(
            f"Prevalences of {measured:g} and {deployed:g} are not both between 0 and 1.",
            why="A class that is never or always there needs no classifier.",
            cure="Give the share of patients with the finding, such as 0.05.",
        )
    return np.asarray(expit(logit(probability) + logit(deployed) - logit(measured)), dtype=np.float64)


def _log_likelihood(
    logits: NDArray[np.float64], truth: NDArray[np.int8], output: Output
) -> tuple[Callable[[float], NDArray[np.float64]], int]:
    """The log likelihood of each known truth at a temperature, and how many there are."""
    if output == "softmax":
        known = (truth == 1).any(axis=1)
        rows, true = logits[known], truth[known].argmax(axis=1)[:, None]

        def of_classes(temperature: float) -> NDArray[np.float64]:
            return np.take_along_axis(log_softmax(rows / temperature, axis=1), true, axis=1)

        return of_classes, len(rows)
    answers = truth if output == "sigmoid" else truth[:, 1:]
    known = answers >= 0
    signed = np.where(answers == 1, logits, -logits)[known]

    def of_answers(temperature: float) -> NDArray[np.float64]:
        return np.asarray(log_expit(signed / temperature), dtype=np.float64)

    return of_answers, len(signed)
