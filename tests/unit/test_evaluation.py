"""Evaluation against published confusion matrices, and what it says where evidence is missing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.metrics import average_precision_score, brier_score_loss, f1_score, log_loss, roc_auc_score

from data_contracts.errors import DataGateError, ModelGateError
from data_contracts.ontology import Task, TaskClass
from models.evaluation.evaluate import evaluate
from models.evaluation.intervals import proportion
from models.evaluation.predictions import Predictions
from models.evaluation.results import Evaluation, OperatingPoint, RuleIn
from models.evaluation.settings import EvaluationSettings

QUICK = EvaluationSettings(bootstrap_resamples=100)


def _task(n_classes: int) -> Task:
    return Task("t", "t", tuple(TaskClass(f"c{k}", f"Class {k}", (f"c{k}",)) for k in range(n_classes)))


def _points(n_classes: int, threshold: float = 0.5) -> dict[str, OperatingPoint]:
    found = proportion(96, 100, undefined="")
    point = OperatingPoint(
        threshold=threshold, target_sensitivity=0.95, sensitivity=found, specificity=found, assured=True
    )
    return {f"c{k}": point for k in range(n_classes)}


def _predictions(labels: NDArray[np.int64], probabilities: NDArray[np.float64], **columns: object) -> Predictions:
    n = len(labels)
    rows = pd.DataFrame(
        {
            "image_id": [f"i{i:05d}" for i in range(n)],
            "group_id": [f"g{i:05d}" for i in range(n)],
            "patient": [f"nih:{i}" for i in range(n)],
            "source": "nih",
            "split": "test",
            "label": [f"c{k}" for k in labels],
        }
    ).assign(**columns)
    return Predictions.of(rows, probabilities, [f"c{k}" for k in range(probabilities.shape[1])])


def _of_matrix(matrix: list[list[int]]) -> Predictions:
    """Images whose most probable class makes up exactly this confusion matrix."""
    cells = np.asarray(matrix)
    n_classes = len(cells)
    truth, called = (np.repeat(index.ravel(), cells.ravel()) for index in np.indices(cells.shape))
    probabilities = np.full((len(truth), n_classes), 0.2 / (n_classes - 1))
    probabilities[np.arange(len(truth)), called] = 0.8
    return _predictions(truth, probabilities)


def _evaluate(predictions: Predictions, **changes: object) -> Evaluation:
    n_classes = len(predictions.class_names)
    arguments = {
        "architecture": "tiny",
        "task": _task(n_classes),
        "operating_points": _points(n_classes),
        "settings": QUICK,
    } | changes
    return evaluate(predictions, **arguments)


# Matrices and values published by the reference systems and by COVID-Net; per class (sens, spec, PPV, NPV).
SIMPLE_CNN = [[225, 2, 2], [0, 263, 7], [4, 9, 273]]
RESNET_EXTERNAL = [[111, 2, 3], [0, 289, 28], [11, 60, 784]]
RESNET_INTERNAL = [[221, 4, 4], [1, 255, 14], [6, 23, 257]]
STACKED_CNN = [[286, 3, 0, 0], [26, 259, 5, 11], [14, 13, 272, 6], [24, 10, 1, 270]]
COVID_NET = [[95, 5, 0], [5, 94, 1], [5, 4, 91]]


@pytest.mark.parametrize(
    ("matrix", "accuracy", "balanced"),
    [
        (SIMPLE_CNN, 0.96943, 0.97038),
        (RESNET_INTERNAL, 0.93376, 0.93604),
        (RESNET_EXTERNAL, 0.91925, 0.92851),
        (STACKED_CNN, 0.90583, None),
        (COVID_NET, 0.93333, None),
    ],
)
def test_published_matrices_give_their_published_accuracy(
    matrix: list[list[int]], accuracy: float, balanced: float | None
) -> None:
    evaluation = _evaluate(_of_matrix(matrix))
    assert evaluation.confusion == matrix
    assert evaluation.accuracy.value == pytest.approx(accuracy, abs=5e-6)
    if balanced is not None:
        assert evaluation.balanced_accuracy.value == pytest.approx(balanced, abs=5e-6)


@pytest.mark.parametrize(
    ("matrix", "per_class"),
    [
        (
            SIMPLE_CNN,
            [(0.9825, 0.9928, 0.9825, 0.9928), (0.9741, 0.9786, 0.9599, 0.9863), (0.9545, 0.9820, 0.9681, 0.9742)],
        ),
        (
            RESNET_EXTERNAL,
            [(0.9569, 0.9906, 0.9098, 0.9957), (0.9117, 0.9361, 0.8234, 0.9701), (0.9170, 0.9284, 0.9620, 0.8499)],
        ),
        (
            STACKED_CNN,
            [
                (0.9896, 0.9297, 0.8171, 0.9965),
                (0.8605, 0.9711, 0.9088, 0.9541),
                (0.8918, 0.9933, 0.9784, 0.9642),
                (0.8852, 0.9810, 0.9408, 0.9617),
            ],
        ),
    ],
)
def test_published_matrices_give_their_published_class_values(
    matrix: list[list[int]], per_class: list[tuple[float, ...]]
) -> None:
    for one, expected in zip(_evaluate(_of_matrix(matrix)).classes, per_class, strict=True):
        found = (one.sensitivity.value, one.specificity.value, one.ppv.value, one.npv.value)
        assert found == pytest.approx(expected, abs=5.1e-5)


def test_covid_net_has_its_published_intervals() -> None:
    evaluation = _evaluate(_of_matrix(COVID_NET))
    normal, pneumonia, covid = evaluation.classes
    assert (evaluation.accuracy.low, evaluation.accuracy.high) == pytest.approx((0.89928, 0.95643), abs=5e-6)
    assert (covid.sensitivity.low, covid.sensitivity.high) == pytest.approx((0.8377, 0.9519), abs=5e-5)
    assert (covid.specificity.low, covid.specificity.high) == pytest.approx((0.9722, 0.9991), abs=5e-5)
    assert (covid.ppv.value, covid.npv.value) == pytest.approx((0.98913, 0.95673), abs=5e-6)
    assert (normal.ppv.value, pneumonia.ppv.value) == pytest.approx((0.90476, 0.91262), abs=5e-6)


def test_the_external_covid_sensitivity_has_its_published_interval() -> None:
    covid = _evaluate(_of_matrix(RESNET_EXTERNAL)).classes[0]
    assert (covid.sensitivity.low, covid.sensitivity.high) == pytest.approx((0.9031, 0.9815), abs=5e-5)


def _noisy(n: int, n_classes: int = 3, **columns: object) -> Predictions:
    generator = np.random.default_rng(0)
    labels = generator.integers(n_classes, size=n)
    scores = generator.random((n, n_classes))
    scores[np.arange(n), labels] += 0.5
    return _predictions(labels, scores / scores.sum(axis=1, keepdims=True), **columns)


def test_a_score_on_the_threshold_is_called_positive() -> None:
    predictions = _predictions(np.array([0, 0, 1, 1]), np.array([[0.6, 0.4], [0.5, 0.5], [0.3, 0.7], [0.5, 0.5]]))
    first = _evaluate(predictions).classes[0]
    assert first.sensitivity.value == 1
    assert first.specificity.value == 0.5


def test_the_roc_curve_is_thinned_and_keeps_its_ends() -> None:
    roc = _evaluate(_noisy(3000)).classes[0].roc
    assert roc is not None
    assert 100 < len(roc.sensitivity) <= 200
    assert (roc.false_positive_rate[0], roc.sensitivity[0]) == (0, 0)
    assert (roc.false_positive_rate[-1], roc.sensitivity[-1]) == (1, 1)
    assert np.all(np.diff(roc.sensitivity) >= 0)
    assert np.all(np.diff(roc.false_positive_rate) >= 0)


def test_only_the_named_split_is_measured() -> None:
    predictions = _noisy(100, split=["val"] * 60 + ["test"] * 40)
    assert _evaluate(predictions, split="val").n == 60
    assert _evaluate(predictions).n == 40


def test_the_primary_metric_is_the_declared_one() -> None:
    predictions = _noisy(100)
    by_auc = _evaluate(predictions)
    assert by_auc.primary == by_auc.macro_auc
    recall = EvaluationSettings(bootstrap_resamples=100, primary_metric="balanced_accuracy")
    by_recall = _evaluate(predictions, settings=recall)
    assert by_recall.primary == by_recall.balanced_accuracy


def test_an_evaluation_survives_json_unchanged() -> None:
    evaluation = _evaluate(_noisy(100))
    assert Evaluation.model_validate_json(evaluation.model_dump_json()) == evaluation


def test_a_class_that_the_split_lacks_is_undefined_with_a_reason() -> None:
    labels = np.arange(60) % 2
    evaluation = _evaluate(_predictions(labels, np.full((60, 3), 1 / 3)))
    absent = evaluation.classes[2]
    assert absent.sensitivity.undefined == "no image of this class"
    assert absent.roc_auc.undefined == "no image of class c2"
    assert absent.roc is None
    assert absent.judgement == "too few to judge"
    assert evaluation.macro_auc.value is None
    assert "Class 2: split test holds no image of it, so it was not evaluated." in evaluation.notes


def test_a_class_never_called_has_no_ppv() -> None:
    one = _evaluate(_noisy(60), operating_points=_points(3, threshold=1.0)).classes[0]
    assert one.ppv.undefined == "no image is called positive"
    assert one.npv.value is not None


def test_a_class_without_operating_point_is_not_judged_but_keeps_its_auc() -> None:
    points = _points(3)
    del points["c1"]
    evaluation = _evaluate(_noisy(300), operating_points=points)
    one = evaluation.classes[1]
    assert one.sensitivity.undefined == "no operating point: no validation image of this class"
    assert one.roc_auc.value is not None
    assert one.judgement == "too few to judge"
    assert "Class 1: validation holds no image of it, so it has no operating point." in evaluation.notes


def test_an_empty_split_is_undefined_throughout() -> None:
    evaluation = _evaluate(_noisy(30), split="external")
    assert evaluation.n == 0
    assert evaluation.confusion == [[0] * 3] * 3
    assert evaluation.accuracy.undefined == "no image in this split"
    assert evaluation.primary.value is None
    assert evaluation.notes == ["Split external holds no image; nothing could be measured."]


@pytest.mark.parametrize(("n_positive", "judgement"), [(19, "too few to judge"), (20, "wide"), (200, "enough")])
def test_the_judgement_follows_the_number_of_positives(n_positive: int, judgement: str) -> None:
    labels = np.repeat([0, 1], [n_positive, 200])
    first = np.concatenate([np.where(np.arange(n_positive) % 5, 0.9, 0.1), np.full(200, 0.2)])
    evaluation = _evaluate(_predictions(labels, np.stack([first, 1 - first], axis=1)))
    assert evaluation.classes[0].judgement == judgement


def test_many_images_of_few_patients_are_too_few_to_judge() -> None:
    predictions = _noisy(300, group_id=[f"g{i % 9}" for i in range(300)])
    evaluation = _evaluate(predictions)
    assert evaluation.n_groups == 9
    assert {one.judgement for one in evaluation.classes} == {"too few to judge"}


def test_missing_patient_ids_are_counted_and_said() -> None:
    evaluation = _evaluate(_noisy(100, patient=[""] * 25 + ["nih:1"] * 75))
    assert evaluation.without_patient_id == 25
    assert any(note.startswith("25 of 100 images (25%) carry no patient id") for note in evaluation.notes)


def test_notes_say_that_proportions_treat_images_as_independent() -> None:
    alone = _evaluate(_noisy(90)).notes[0]
    assert "treat the 90 images as independent; they form 90 identity groups." in alone
    grouped = _evaluate(_noisy(90, group_id=[f"g{i // 2}" for i in range(90)])).notes[0]
    assert "45 identity groups, so these intervals are too narrow" in grouped


def test_a_class_with_its_own_source_cannot_be_told_apart_from_it() -> None:
    labels = np.arange(90) % 3
    probabilities = np.full((90, 3), 1 / 3)
    source = np.array(["mendeley", "nih", "radiography"])[np.where(labels == 1, 1, 0)]
    source[labels == 2] = np.where(np.arange(30) % 2, "mendeley", "radiography")
    notes = _evaluate(_predictions(labels, probabilities, source=source)).notes
    assert any(note.startswith("Class 0: all its images come from mendeley; nothing here") for note in notes)
    assert any("Class 1: all its images come from nih" in n and "told apart from its source" in n for n in notes)
    assert not any(note.startswith("Class 2: all its images") for note in notes)


def test_one_source_for_all_is_said_once() -> None:
    notes = _evaluate(_noisy(90)).notes
    assert sum("source" in note for note in notes) == 1
    assert any(note.startswith("All images come from one source (nih)") for note in notes)


def _findings(truth: NDArray[np.int8], probabilities: NDArray[np.float64], **columns: object) -> Predictions:
    names = np.array([f"c{k}" for k in range(truth.shape[1])])
    rows = _predictions(np.zeros(len(truth), dtype=np.int64), np.full((len(truth), 1), 1.0)).frame
    rows["label"] = ["|".join(names[row == 1]) or "none" for row in truth]
    rows["unknown_classes"] = ["|".join(names[row == -1]) for row in truth]
    return Predictions.of(rows.assign(**columns), probabilities, list(names), multi_label=True)


def _evaluate_findings(predictions: Predictions, **changes: object) -> Evaluation:
    task = replace(_task(len(predictions.class_names)), multi_label=True)
    return _evaluate(predictions, task=task, **changes)


def _noisy_findings(n: int = 200) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    generator = np.random.default_rng(1)
    truth = generator.choice(np.array([-1, 0, 1], dtype=np.int8), p=[0.2, 0.5, 0.3], size=(n, 3))
    return truth, (generator.random((n, 3)) + 0.3 * (truth == 1)) / 1.3


def test_an_image_counts_for_a_class_only_where_that_is_known() -> None:
    truth, probabilities = _noisy_findings()
    evaluation = _evaluate_findings(_findings(truth, probabilities))
    for k, one in enumerate(evaluation.classes):
        known = truth[:, k] >= 0
        positive, called = truth[known, k] == 1, probabilities[known, k] >= 0.5
        assert (one.n_positive, one.n_negative) == (positive.sum(), (~positive).sum())
        assert one.n_positive + one.n_negative + one.n_unknown == 200
        assert one.roc_auc.n == known.sum()
        assert one.roc_auc.value == pytest.approx(roc_auc_score(positive, probabilities[known, k]), abs=1e-12)
        assert one.roc_auc.low < one.roc_auc.value < one.roc_auc.high
        assert one.sensitivity.value == pytest.approx(called[positive].mean())
        assert one.ppv.value == pytest.approx(positive[called].mean())
        assert any(note.startswith(f"{one.title}: of {one.n_unknown} of 200 images") for note in evaluation.notes)
    expected = np.mean([one.roc_auc.value for one in evaluation.classes])
    assert evaluation.macro_auc.value == pytest.approx(expected, abs=1e-12)


def test_what_images_of_unknown_truth_scored_changes_nothing() -> None:
    truth, probabilities = _noisy_findings()
    other = np.where(truth == -1, 0.5, probabilities)
    assert _evaluate_findings(_findings(truth, other)) == _evaluate_findings(_findings(truth, probabilities))


def test_exclusive_classes_measured_one_by_one_are_the_same_either_way() -> None:
    labels = np.arange(120) % 3
    generator = np.random.default_rng(2)
    scores = generator.random((120, 3)) + 0.5 * np.eye(3)[labels]
    probabilities = scores / scores.sum(axis=1, keepdims=True)
    exclusive = _evaluate(_predictions(labels, probabilities))
    several = _evaluate_findings(_findings(np.eye(3, dtype=np.int8)[labels], probabilities))
    assert several.classes == exclusive.classes
    assert several.macro_auc == exclusive.macro_auc


def test_several_classes_at_once_have_no_confusion_matrix_and_say_why() -> None:
    evaluation = _evaluate_findings(_findings(*_noisy_findings()))
    assert evaluation.multi_label
    assert evaluation.confusion == []
    assert evaluation.accuracy.undefined == "several classes may be true at once"
    assert evaluation.balanced_accuracy.undefined == "several classes may be true at once"
    assert Evaluation.model_validate_json(evaluation.model_dump_json()) == evaluation


def test_a_finding_nobody_has_is_named_and_left_out_of_the_mean() -> None:
    truth, probabilities = _noisy_findings()
    truth[:, 1] = np.where(truth[:, 1] == 1, -1, truth[:, 1])
    evaluation = _evaluate_findings(_findings(truth, probabilities))
    assert evaluation.classes[1].roc_auc.undefined == "no image of class c1"
    assert evaluation.classes[1].sensitivity.undefined == "no image of this class"
    aucs = [evaluation.classes[k].roc_auc.value for k in (0, 2)]
    assert evaluation.macro_auc.value == pytest.approx(np.mean(aucs), abs=1e-12)
    assert evaluation.macro_auc.low is not None
    assert "The macro AUC is the mean over 2 of 3 classes, without Class 1." in evaluation.notes
    assert "Class 1: split test holds no image of it, so it was not evaluated." in evaluation.notes


def test_without_any_measurable_finding_the_mean_is_undefined() -> None:
    truth, probabilities = _noisy_findings()
    evaluation = _evaluate_findings(_findings(np.minimum(truth, 0), probabilities))
    assert evaluation.macro_auc.undefined == "no class has an AUC"
    assert evaluation.primary.value is None


def test_a_finding_known_only_as_present_has_no_specificity() -> None:
    truth, probabilities = _noisy_findings()
    truth[:, 2] = np.where(truth[:, 2] == 0, -1, truth[:, 2])
    one = _evaluate_findings(_findings(truth, probabilities)).classes[2]
    assert one.roc_auc.undefined == "no image without class c2"
    assert one.specificity.undefined == "no image without this class"
    assert one.sensitivity.value is not None


def test_findings_of_a_source_without_known_negatives_cannot_be_told_apart_from_it() -> None:
    truth, probabilities = _noisy_findings()
    source = np.where(np.arange(200) < 50, "mendeley", "nih")
    truth[:50, 0], truth[50:, 0] = np.where(truth[:50, 0] == 0, -1, truth[:50, 0]), 0
    notes = _evaluate_findings(_findings(truth, probabilities, source=source)).notes
    assert any(note.startswith("Class 0: all its images come from mendeley, which holds none") for note in notes)


def test_predictions_of_the_other_kind_are_refused() -> None:
    with pytest.raises(ModelGateError, match="exactly one class"):
        _evaluate(_findings(*_noisy_findings()))
    with pytest.raises(ModelGateError, match="several classes"):
        _evaluate_findings(_noisy(30))


def test_predictions_of_another_task_are_refused() -> None:
    with pytest.raises(ModelGateError, match="task t has"):
        _evaluate(_noisy(30), task=_task(2))


def test_unknown_labels_are_refused() -> None:
    with pytest.raises(DataGateError, match="'hernia'"):
        _evaluate(_noisy(30, label="hernia"))


def test_images_without_identity_group_are_refused() -> None:
    with pytest.raises(DataGateError, match="30 images"):
        _evaluate(_noisy(30, group_id=""))


@pytest.mark.parametrize(
    ("matrix", "kappa", "mcc", "macro_f1"),
    [
        (SIMPLE_CNN, 0.95395, 0.95399, 0.97024),
        (RESNET_INTERNAL, 0.90025, 0.90054, 0.93577),
        (RESNET_EXTERNAL, 0.83990, 0.84158, 0.91232),
        (STACKED_CNN, 0.87453, 0.87657, 0.90609),
        (COVID_NET, 0.9, 0.90074, 0.93362),
    ],
)
def test_published_matrices_give_their_published_agreement(
    matrix: list[list[int]], kappa: float, mcc: float, macro_f1: float
) -> None:
    evaluation = _evaluate(_of_matrix(matrix))
    found = (evaluation.kappa.value, evaluation.mcc.value, evaluation.macro_f1.value)
    assert found == pytest.approx((kappa, mcc, macro_f1), abs=5.1e-6)
    assert evaluation.micro_f1 == evaluation.micro_precision == evaluation.micro_recall == evaluation.accuracy


def test_a_class_has_its_area_twice_with_the_interval_of_patients_and_of_delong() -> None:
    one = _evaluate(_noisy(200)).classes[0]
    assert one.roc_auc_delong.value == pytest.approx(one.roc_auc.value, abs=1e-12)
    assert one.roc_auc_delong.method.startswith("delong")
    grouped = _evaluate(_noisy(200, group_id=[f"g{i // 2}" for i in range(200)])).classes[0]
    assert grouped.roc_auc_delong.method.startswith("obuchowski")


def test_average_precision_stands_beside_the_prevalence() -> None:
    predictions = _noisy(300)
    for k, one in enumerate(_evaluate(predictions).classes):
        positive = predictions.labels == k
        expected = average_precision_score(positive, predictions.probabilities[:, k])
        assert one.average_precision.value == pytest.approx(expected)
        assert one.prevalence.value == pytest.approx(positive.mean())


def test_predictive_values_are_stated_at_the_prevalences_of_the_recipe() -> None:
    # Sensitivity 0.95, specificity 0.80: PPV and NPV as published for these shares.
    labels = np.repeat([0, 1], [100, 100])
    called = np.concatenate([np.arange(100) < 95, np.arange(100) < 20])
    first = np.where(called, 0.9, 0.1)
    one = _evaluate(_predictions(labels, np.stack([first, 1 - first], axis=1))).classes[0]
    found = [(v.prevalence, v.ppv.value, v.npv.value) for v in one.predictive_values]
    expected = [
        (0.01, 0.04578, 0.99937),
        (0.05, 0.20, 0.99672),
        (0.10, 0.34545, 0.99310),
        (0.50, 0.82609, 0.94118),
    ]
    assert np.array(found) == pytest.approx(np.array(expected), abs=5.1e-6)
    clinic = EvaluationSettings(bootstrap_resamples=100, prevalences=[0.2])
    other = _evaluate(_noisy(60), settings=clinic).classes[0]
    assert [value.prevalence for value in other.predictive_values] == [0.2]


def test_the_net_benefit_of_the_covid_net_class_is_the_published_one() -> None:
    covid = _evaluate(_of_matrix(COVID_NET)).classes[2]
    found = {point.threshold: (point.model.value, point.treat_all) for point in covid.net_benefit}
    # Its probabilities are 0.8 where it calls and 0.1 where not: below a threshold of 0.1 all are called.
    assert found[0.2] == pytest.approx((0.3025, 0.166667), abs=5e-7)
    assert found[0.5] == pytest.approx((0.30, -0.333333), abs=5e-7)


def test_calibration_is_measured_per_class_and_over_all() -> None:
    predictions = _noisy(300)
    evaluation = _evaluate(predictions)
    for k, one in enumerate(evaluation.classes):
        expected = brier_score_loss(predictions.labels == k, predictions.probabilities[:, k])
        assert one.calibration.brier.value == pytest.approx(expected)
        assert sum(bin_.n for bin_ in one.calibration.curve) == 300
    expected = log_loss(predictions.labels, predictions.probabilities)
    assert evaluation.calibration.log_loss.value == pytest.approx(expected)
    assert evaluation.before_temperature is None
    assert evaluation.temperature == 1


def test_calibration_before_the_temperature_is_that_of_the_undivided_logits() -> None:
    generator = np.random.default_rng(3)
    labels, logits = np.arange(300) % 3, generator.normal(size=(300, 3))
    plain, divided = softmax(logits, axis=1), softmax(logits / 1.7, axis=1)
    measured = _evaluate(_predictions(labels, divided), temperature=1.7)
    before, untempered = measured.before_temperature, _evaluate(_predictions(labels, plain)).calibration
    assert before.log_loss.value == pytest.approx(untempered.log_loss.value, abs=1e-12)
    assert before.answers.ece == pytest.approx(untempered.answers.ece, abs=1e-12)
    assert measured.notes[-1].startswith("Probabilities are those of logits divided by 1.7")


def test_between_operating_point_and_rule_in_threshold_a_person_reads() -> None:
    labels = np.repeat([0, 1], 50)
    first = np.concatenate([np.linspace(0.3, 1, 50), np.linspace(0, 0.7, 50)])
    found = proportion(98, 100, undefined="")
    rule_in = RuleIn(threshold=0.8, target_specificity=0.98, specificity=found, sensitivity=found, assured=True)
    predictions = _predictions(labels, np.stack([first, 1 - first], axis=1))
    ill, well = _evaluate(predictions, rule_in={"c0": rule_in}).classes
    assert ill.rule_in == rule_in
    between = (first >= 0.5) & (first < 0.8)
    assert ill.abstain.abstained.value == pytest.approx(between.mean())
    assert ill.abstain.missed.value == pytest.approx((first[:50] < 0.5).mean())
    assert ill.abstain.false_alarm.value == 0
    assert (well.rule_in, well.abstain) == (None, None)


def test_the_sample_size_is_said_also_of_a_perfect_class() -> None:
    labels = np.repeat([0, 1], 30)
    one = _evaluate(_predictions(labels, np.eye(2)[labels])).classes[0]
    assert "a sensitivity of about 0.95 to within 0.05 takes 73 positive images; there are 30." in one.sample_size
    assert "takes 110 positive and 110 negative images; there are 30 and 30." in one.sample_size


def test_averages_of_findings_pool_the_calls_at_their_thresholds() -> None:
    truth, probabilities = _noisy_findings()
    evaluation = _evaluate_findings(_findings(truth, probabilities))
    known = truth >= 0
    assert evaluation.micro_f1.value == pytest.approx(f1_score(truth[known] == 1, probabilities[known] >= 0.5))
    assert evaluation.kappa.undefined == evaluation.mcc.undefined == "several classes may be true at once"
    assert evaluation.calibration.answers.n == known.sum()


def test_the_test_set_is_named_by_its_images_and_truths() -> None:
    first = _evaluate(_noisy(100)).test_set
    assert len(first) == 64
    assert _evaluate(_noisy(100), settings=EvaluationSettings(bootstrap_resamples=150)).test_set == first
    assert _evaluate(_noisy(101)).test_set != first


def test_an_evaluation_from_before_these_measures_is_still_read() -> None:
    evaluation = _evaluate(_noisy(60))
    older = {"kappa", "mcc", "macro_f1", "calibration", "subgroups", "test_set", "readings", "temperature"}
    content = evaluation.model_dump(mode="json", exclude=older)
    for one in content["classes"]:
        del one["roc_auc_delong"], one["calibration"], one["sample_size"]
    read = Evaluation.model_validate(content)
    assert read.accuracy == evaluation.accuracy
    assert read.kappa.undefined.startswith("not measured by the version")
    assert read.classes[0].calibration is None
