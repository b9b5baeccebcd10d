"""What is measured over all classes at once, against scikit-learn and where evidence is missing."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import (
    brier_score_loss,
    cohen_kappa_score,
    f1_score,
    log_loss,
    matthews_corrcoef,
    roc_auc_score,
)

from models.evaluation.averages import (
    Averages,
    averages_of_calls,
    averages_of_exclusive_classes,
    overall_calibration,
)
from models.evaluation.bootstrap import Groups


def _averages(
    labels: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    groups: list[str] | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Averages:
    n_classes = probabilities.shape[1]
    groups = groups or [f"g{i}" for i in range(len(labels))]
    names = [f"class{k}" for k in range(n_classes)]
    truth = (labels[:, None] == np.arange(n_classes)).astype(np.int8)
    return averages_of_exclusive_classes(
        truth, probabilities, Groups.of(groups), names, resamples=resamples, seed=seed
    )


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
    auc = _averages(labels, np.stack([6 - ratings, ratings], axis=1) / 6, resamples=2000).class_auc[1]
    assert auc.value == pytest.approx(0.893171, abs=1e-6)
    assert auc.method == "group-bootstrap"
    assert (auc.high - auc.low) / (2 * 1.96) == pytest.approx(0.030724, rel=0.08)


def test_values_are_those_of_scikit_learn() -> None:
    labels, probabilities = _noisy(300)
    result = _averages(labels, probabilities, resamples=100)
    expected = roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
    assert result.macro_auc.value == pytest.approx(expected, abs=1e-12)
    recall = [(probabilities[labels == k].argmax(axis=1) == k).mean() for k in range(4)]
    assert result.balanced_accuracy.value == pytest.approx(np.mean(recall), abs=1e-12)
    called = probabilities.argmax(axis=1)
    assert result.kappa.value == pytest.approx(cohen_kappa_score(labels, called), abs=1e-12)
    assert result.mcc.value == pytest.approx(matthews_corrcoef(labels, called), abs=1e-12)
    assert result.macro_f1.value == pytest.approx(f1_score(labels, called, average="macro"), abs=1e-12)
    for estimate in [*result.class_auc, result.macro_auc, result.balanced_accuracy, result.kappa, result.mcc]:
        assert estimate.low < estimate.value < estimate.high


def test_the_same_seed_gives_the_same_intervals_and_another_seed_others() -> None:
    labels, probabilities = _noisy(100)
    first = _averages(labels, probabilities, resamples=200)
    assert _averages(labels, probabilities, resamples=200) == first
    assert _averages(labels, probabilities, resamples=200, seed=1) != first


def test_five_copies_of_each_patients_image_are_no_new_evidence() -> None:
    labels, probabilities = _noisy(80)
    groups = [f"p{i:02d}" for i in range(80)]
    once = _averages(labels, probabilities, groups)
    five = _averages(np.repeat(labels, 5), np.repeat(probabilities, 5, axis=0), list(np.repeat(groups, 5)))
    assert five.macro_auc.low == pytest.approx(once.macro_auc.low, abs=1e-12)
    assert five.balanced_accuracy.high == pytest.approx(once.balanced_accuracy.high, abs=1e-12)
    careless = _averages(np.repeat(labels, 5), np.repeat(probabilities, 5, axis=0))
    assert careless.macro_auc.high - careless.macro_auc.low < 0.6 * (once.macro_auc.high - once.macro_auc.low)


def test_a_missing_class_leaves_its_auc_and_the_means_undefined_but_not_the_others() -> None:
    labels, probabilities = _noisy(90)
    labels = np.where(labels == 3, 0, labels)
    result = _averages(labels, probabilities, resamples=100)
    assert result.class_auc[3].undefined == "no image of class class3"
    assert result.macro_auc.undefined == "no image of class class3"
    assert result.balanced_accuracy.undefined == "no image of class class3"
    assert result.class_auc[0].value is not None


def test_a_class_of_one_group_gets_a_value_without_an_interval() -> None:
    labels, probabilities = _noisy(60, n_classes=2)
    labels[:] = 0
    labels[:2] = 1
    result = _averages(labels, probabilities, ["one", "one", *(f"g{i}" for i in range(58))])
    # The one positive group is missing from about (1 - 1/59)^59 = 36 % of the resamples.
    for estimate in [result.class_auc[1], result.macro_auc, result.balanced_accuracy]:
        assert estimate.value is not None
        assert (estimate.low, estimate.high) == (None, None)
        assert estimate.method.startswith("no interval: 3")
        assert estimate.method.endswith("of 1000 resamples lack a class")


def test_a_few_resamples_that_lack_a_class_are_left_out_and_counted() -> None:
    labels = np.repeat([0, 1], [57, 3])
    _, probabilities = _noisy(60, n_classes=2)
    auc = _averages(labels, probabilities).class_auc[1]
    assert auc.low is not None
    assert "resamples lacking a class left out" in auc.method


def test_a_perfect_score_claims_no_certainty() -> None:
    labels = np.repeat([0, 1], 15)
    auc = _averages(labels, np.eye(2)[labels]).macro_auc
    assert (auc.value, auc.low, auc.high) == (1, None, None)
    assert auc.method == "no interval: all resamples give the same value"


def test_an_empty_split_is_undefined_throughout() -> None:
    result = _averages(np.empty(0, np.int64), np.empty((0, 3)), ["x"][:0])
    assert result.macro_auc.value is None
    assert result.balanced_accuracy.value is None
    assert all(estimate.value is None and estimate.undefined for estimate in result.class_auc)


def test_a_single_class_or_a_single_call_leaves_agreement_undefined() -> None:
    _, probabilities = _noisy(60, n_classes=3)
    alone = _averages(np.zeros(60, np.int64), probabilities, resamples=100)
    for estimate in (alone.kappa, alone.mcc, alone.macro_f1, alone.balanced_accuracy, alone.macro_auc):
        assert (estimate.value, estimate.undefined) == (None, "no image of class class1, class2")
    always = _averages(np.arange(60) % 2, np.tile([0.7, 0.3], (60, 1)), resamples=100)
    assert always.mcc.undefined == "only one class is called"
    assert always.kappa.value == 0


def test_the_overall_losses_are_scikit_learns() -> None:
    for classes in (2, 4):
        labels, probabilities = _noisy(300, n_classes=classes)
        truth = np.eye(classes, dtype=np.int8)[labels]
        found = overall_calibration(
            truth, probabilities, Groups.of(np.arange(300) // 2), multi_label=False, resamples=200, seed=0
        )
        assert found.log_loss.value == pytest.approx(log_loss(labels, probabilities), abs=1e-12)
        assert found.brier.value == pytest.approx(brier_score_loss(labels, probabilities), abs=1e-12)
        assert found.brier.low < found.brier.value < found.brier.high
        assert found.answers.n == 300
        right = probabilities.argmax(axis=1) == labels
        expected = brier_score_loss(right, probabilities.max(axis=1))
        assert found.answers.brier.value == pytest.approx(expected, abs=1e-12)


def test_with_several_classes_at_once_every_known_answer_is_judged() -> None:
    generator = np.random.default_rng(0)
    truth = generator.choice(np.array([-1, 0, 1], np.int8), size=(100, 3))
    probabilities = generator.random((100, 3))
    found = overall_calibration(
        truth, probabilities, Groups.of(np.arange(100)), multi_label=True, resamples=100, seed=0
    )
    known = truth >= 0
    assert found.answers.n == known.sum()
    assert found.log_loss.value == pytest.approx(log_loss(truth[known], probabilities[known]), abs=1e-12)
    assert found.brier.value == pytest.approx(brier_score_loss(truth[known], probabilities[known]), abs=1e-12)


def test_calls_of_a_class_without_a_threshold_are_left_out() -> None:
    generator = np.random.default_rng(0)
    truth = generator.integers(2, size=(80, 3)).astype(np.int8)
    probabilities = generator.random((80, 3))
    drawn = {"resamples": 100, "seed": 0}
    groups = Groups.of(np.arange(80))
    found = averages_of_calls(truth, probabilities, groups, [0.5, None, 0.3], **drawn)
    called = probabilities[:, [0, 2]] >= [0.5, 0.3]
    assert found.micro_f1.value == pytest.approx(f1_score(truth[:, [0, 2]], called, average="micro"))
    assert found.macro_f1.value == pytest.approx(f1_score(truth[:, [0, 2]], called, average="macro"))
