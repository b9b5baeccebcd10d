"""Agreement measures of published confusion matrices, and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import (
    balanced_accuracy_score,
    cohen_kappa_score,
    f1_score,
    matthews_corrcoef,
    precision_score,
    recall_score,
)
from statsmodels.stats.proportion import proportion_confint

from models.evaluation.agreement import agreement, agreement_of_matrix, class_rates, multi_label_scores
from models.evaluation.bootstrap import Groups
from models.evaluation.intervals import proportion

COVID_NET = [[95, 5, 0], [5, 94, 1], [5, 4, 91]]  # normal, pneumonia, COVID
SYSTEM_1_SIMPLE = [[225, 2, 2], [0, 263, 7], [4, 9, 273]]  # reference system 1: COVID, normal, pneumonia
SYSTEM_1_RESNET = [[221, 4, 4], [1, 255, 14], [6, 23, 257]]
SYSTEM_1_EXTERNAL = [[111, 2, 3], [0, 289, 28], [11, 60, 784]]
# Reference system 2: bacterial pneumonia, COVID, normal, pneumothorax.
SYSTEM_2 = [[286, 3, 0, 0], [26, 259, 5, 11], [14, 13, 272, 6], [24, 10, 1, 270]]


@pytest.mark.parametrize(
    ("matrix", "accuracy", "kappa", "mcc", "macro_f1", "balanced_accuracy"),
    [
        (COVID_NET, 0.93333, 0.90000, 0.90074, 0.93362, 0.93333),
        (SYSTEM_1_SIMPLE, 0.96943, 0.95395, 0.95399, 0.97024, 0.97038),
        (SYSTEM_1_RESNET, 0.93376, 0.90025, 0.90054, 0.93577, 0.93604),
        (SYSTEM_1_EXTERNAL, 0.91925, 0.83990, 0.84158, 0.91232, 0.92851),
        (SYSTEM_2, 0.90583, 0.87453, 0.87657, 0.90609, 0.90678),
    ],
)
def test_published_matrices_have_their_published_agreement(
    matrix: list[list[int]], accuracy: float, kappa: float, mcc: float, macro_f1: float, balanced_accuracy: float
) -> None:
    expected = {
        "accuracy": accuracy,
        "balanced_accuracy": balanced_accuracy,
        "kappa": kappa,
        "mcc": mcc,
        "macro_f1": macro_f1,
    }
    assert agreement_of_matrix(np.array(matrix)) == {k: pytest.approx(v, abs=6e-6) for k, v in expected.items()}


@pytest.mark.parametrize(
    ("matrix", "rates"),
    [
        (
            SYSTEM_1_SIMPLE,
            [(0.9825, 0.9928, 0.9825, 0.9928), (0.9741, 0.9786, 0.9599, 0.9863), (0.9545, 0.9820, 0.9681, 0.9742)],
        ),
        (
            SYSTEM_1_EXTERNAL,
            [(0.9569, 0.9906, 0.9098, 0.9957), (0.9117, 0.9361, 0.8234, 0.9701), (0.9170, 0.9284, 0.9620, 0.8499)],
        ),
        (
            SYSTEM_2,
            [
                (0.9896, 0.9297, 0.8171, 0.9965),
                (0.8605, 0.9711, 0.9088, 0.9541),
                (0.8918, 0.9933, 0.9784, 0.9642),
                (0.8852, 0.9810, 0.9408, 0.9617),
            ],
        ),
    ],
)
def test_published_matrices_have_their_published_rates_per_class(
    matrix: list[list[int]], rates: list[tuple[float, ...]]
) -> None:
    for one, expected in zip(class_rates(np.array(matrix)), rates, strict=True):
        assert [e.value for e in (one.sensitivity, one.specificity, one.ppv, one.npv)] == pytest.approx(
            expected, abs=6e-5
        )


def test_the_covid_net_matrix_has_its_published_margins_and_wilson_intervals() -> None:
    normal, pneumonia, covid = class_rates(np.array(COVID_NET))
    assert (normal.ppv.value, pneumonia.ppv.value) == pytest.approx((0.90476, 0.91262), abs=5e-6)
    assert (covid.ppv.value, covid.npv.value) == pytest.approx((0.98913, 0.95673), abs=5e-6)
    assert (covid.sensitivity.low, covid.sensitivity.high) == pytest.approx((0.8377, 0.9519), abs=5e-5)
    assert (covid.specificity.low, covid.specificity.high) == pytest.approx((0.9722, 0.9991), abs=5e-5)
    accuracy = proportion(280, 300, undefined="")
    assert (accuracy.low, accuracy.high) == pytest.approx((0.89928, 0.95643), abs=5e-6)
    external = class_rates(np.array(SYSTEM_1_EXTERNAL))[0].sensitivity
    assert (external.low, external.high) == pytest.approx((0.9031, 0.9815), abs=5e-5)


# 0 of 20 is Newcombe's (1998); the others are test sets of reference systems 0 and 3 and of a look at labels.
@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(0, 20, 0, 0.1611), (39, 40, 0.871, 0.996), (4, 20, 0.081, 0.416), (2687, 2896, 0.918, 0.937)],
)
def test_published_shares_have_their_published_wilson_intervals(
    hits: int, n: int, low: float, high: float
) -> None:
    assert proportion_confint(hits, n, method="wilson") == pytest.approx((low, high), abs=6e-4)


def calls(n: int, seed: int, classes: int = 4) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    generator = np.random.default_rng(seed)
    labels, guesses = generator.integers(classes, size=(2, n))
    return labels, np.where(generator.random(n) < 0.6, labels, guesses)


@given(seed=st.integers(0, 10_000), n=st.integers(40, 80))
@settings(max_examples=30, deadline=None)
def test_values_are_those_of_scikit_learn(seed: int, n: int) -> None:
    labels, predicted = calls(n, seed)
    labels[:4] = range(4)  # scikit-learn leaves absent classes out of the balanced accuracy
    result = agreement(labels, predicted, 4, resamples=2)
    assert result.balanced_accuracy.value == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert result.kappa.value == pytest.approx(cohen_kappa_score(labels, predicted))
    assert result.mcc.value == pytest.approx(matthews_corrcoef(labels, predicted))
    expected = f1_score(labels, predicted, average="macro", labels=range(4), zero_division=0)
    assert result.macro_f1.value == pytest.approx(expected)


def test_every_measure_has_an_interval_over_patients() -> None:
    labels, predicted = calls(200, seed=0)
    once = agreement(labels, predicted, 4, resamples=300)
    five = agreement(
        np.repeat(labels, 5), np.repeat(predicted, 5), 4, Groups.of(np.arange(1000) // 5), resamples=300
    )
    for name in ("accuracy", "balanced_accuracy", "kappa", "mcc", "macro_f1"):
        one, copied = getattr(once, name), getattr(five, name)
        assert one.low < one.value < one.high
        assert copied.value == pytest.approx(one.value)
        assert copied.high - copied.low == pytest.approx(one.high - one.low, rel=0.25)


def test_what_a_single_class_leaves_undefined_says_so() -> None:
    result = agreement(np.zeros(9, int), np.zeros(9, int), 3, resamples=10)
    assert result.accuracy.value == 1
    assert result.kappa.undefined == result.mcc.undefined == "only one class is true or called"
    assert result.balanced_accuracy.undefined == "no image of 2 of the 3 classes"
    assert agreement(np.empty(0, int), np.empty(0, int), 3).macro_f1.undefined == "no image"
    (never, _) = class_rates(np.array([[0, 0], [3, 7]]))
    assert never.sensitivity.undefined == "no image of this class"


def test_multi_label_averages_are_scikit_learns() -> None:
    generator = np.random.default_rng(0)
    truth = (generator.random((150, 5)) < 0.3).astype(np.int8)
    called = (truth == 1) ^ (generator.random((150, 5)) < 0.2)
    result = multi_label_scores(truth, called, resamples=200)
    for estimate, score in (
        (result.micro_precision, precision_score(truth, called, average="micro")),
        (result.micro_recall, recall_score(truth, called, average="micro")),
        (result.micro_f1, f1_score(truth, called, average="micro")),
        (result.macro_f1, f1_score(truth, called, average="macro")),
    ):
        assert estimate.value == pytest.approx(score)
        assert estimate.low < estimate.value < estimate.high


def test_an_unknown_truth_counts_neither_for_nor_against() -> None:
    truth = np.array([[1, 0], [0, 1], [1, -1], [0, -1]], np.int8)
    called = np.array([[True, False], [True, True], [False, True], [False, False]])
    result = multi_label_scores(truth, called, resamples=10)
    assert (result.micro_precision.value, result.micro_recall.value, result.micro_f1.n) == (2 / 3, 2 / 3, 6)


def test_micro_at_one_half_calls_nothing_where_no_class_reaches_it() -> None:
    # Keras counts such an image as a miss and not as a false call, so precision and recall differ.
    probabilities = np.array([[0.6, 0.2, 0.2], [0.4, 0.3, 0.3], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]])
    truth = np.eye(3, dtype=np.int8)[[0, 0, 1, 1]]
    result = multi_label_scores(truth, probabilities >= 0.5, resamples=10)
    assert (result.micro_precision.value, result.micro_recall.value) == (2 / 3, 2 / 4)


def test_nothing_called_or_nothing_true_is_undefined() -> None:
    result = multi_label_scores(np.zeros((3, 2), np.int8), np.zeros((3, 2), bool), resamples=10)
    assert result.micro_precision.undefined == "nothing is called positive"
    assert result.micro_recall.undefined == result.macro_f1.undefined == "nothing is positive"
