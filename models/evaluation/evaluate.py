"""Evaluation of one architecture on one split: every measure at what was frozen on validation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

from data_contracts.errors import DataGateError, ModelGateError
from data_contracts.ontology import Task
from models.evaluation.averages import (
    averages_of_calls,
    averages_of_exclusive_classes,
    averages_of_several_at_once,
    overall_calibration,
)
from models.evaluation.bootstrap import Groups
from models.evaluation.class_evaluation import evaluate_class
from models.evaluation.intervals import proportion
from models.evaluation.notes import reviewer_notes, temperature_notes
from models.evaluation.predictions import Predictions
from models.evaluation.results import SEVERAL_AT_ONCE, Estimate, Evaluation, OperatingPoint, RuleIn
from models.evaluation.settings import EvaluationSettings
from models.evaluation.temperature import tempered
from models.evaluation.test_readings import hash_of_test_set


def evaluate(
    predictions: Predictions,
    *,
    architecture: str,
    task: Task,
    operating_points: Mapping[str, OperatingPoint],
    rule_in: Mapping[str, RuleIn] | None = None,
    temperature: float = 1.0,
    split: str = "test",
    settings: EvaluationSettings,
) -> Evaluation:
    """Measure one split of the predictions.

    operating_points, rule_in: as chosen on validation, by class name; a class without an operating point has no
    sensitivity, specificity, PPV or NPV here, one without a rule-in threshold no abstain zone. temperature: what
    the logits behind the predictions were divided by. Proportions carry Wilson intervals over images, what has no
    closed form intervals from resampling identity groups. An image counts for a class only where it is known
    whether it shows it. What cannot be computed is None with the reason. Deterministic for one seed. Raises
    ModelGateError where the predictions are of another task, DataGateError where a label is unknown or an image
    has no identity group.
    """
    _require_same_task(predictions, task)
    chosen = predictions.of_split(split)
    frame, truth, probabilities = chosen.frame, chosen.truth, chosen.probabilities
    if (frame["group_id"] == "").any():
        raise DataGateError(
            f"{int((frame['group_id'] == '').sum())} images of split {split} have no identity group.",
            why="Intervals resample groups, and images of one patient would count as independent.",
            cure="Build the data again, so that identity is resolved before the split.",
        )
    groups = Groups.of(frame["group_id"])
    class_auc, overall = _over_all_classes(
        truth,
        probabilities,
        groups,
        task,
        [operating_points[name].threshold if name in operating_points else None for name in task.class_names],
        settings,
    )
    classes = [
        evaluate_class(
            truth[:, k],
            probabilities[:, k],
            groups,
            task_class=task_class,
            operating_point=operating_points.get(task_class.name),
            rule_in=(rule_in or {}).get(task_class.name),
            roc_auc=class_auc[k],
            settings=settings,
        )
        for k, task_class in enumerate(task.classes)
    ]
    calibrated = [
        overall_calibration(
            truth,
            scores,
            groups,
            multi_label=task.multi_label,
            resamples=settings.bootstrap_resamples,
            seed=settings.seed,
        )
        for scores in _with_and_without_temperature(probabilities, temperature, multi_label=task.multi_label)
    ]
    return Evaluation(
        architecture=architecture,
        split=split,
        n=len(frame),
        n_groups=groups.count,
        without_patient_id=int((frame["patient"] == "").sum()),
        class_names=task.class_names,
        multi_label=task.multi_label,
        classes=classes,
        confusion=[] if task.multi_label else _confusion(truth, probabilities),
        primary_metric=settings.primary_metric,
        primary=overall[settings.primary_metric],
        notes=[
            *reviewer_notes(frame, truth, classes, split, multi_label=task.multi_label),
            *temperature_notes(temperature, calibrated),
        ],
        temperature=temperature,
        calibration=calibrated[0],
        before_temperature=calibrated[1] if len(calibrated) > 1 else None,
        test_set=hash_of_test_set(frame, task),
        **overall,
    )


def _require_same_task(predictions: Predictions, task: Task) -> None:
    if predictions.class_names != task.class_names:
        raise ModelGateError(
            f"The predictions are over {predictions.class_names}; task {task.name} has {task.class_names}.",
            why="Probabilities would be read as those of other classes.",
            cure="Evaluate with the task the model was trained for.",
        )
    if predictions.multi_label != task.multi_label:
        raise ModelGateError(
            f"Task {task.name} {'lets several classes' if task.multi_label else 'lets exactly one class'} be true "
            "of an image; the predictions were made otherwise.",
            why="Every measure would count images as right or wrong that are neither.",
            cure="Evaluate with the task the model was trained for.",
        )


def _over_all_classes(
    truth: NDArray[np.int8],
    probabilities: NDArray[np.float64],
    groups: Groups,
    task: Task,
    thresholds: list[float | None],
    settings: EvaluationSettings,
) -> tuple[list[Estimate], dict[str, Estimate]]:
    """The AUC of each class, and the measures over all classes by their names in `Evaluation`."""
    n = len(truth)
    resamples, seed = settings.bootstrap_resamples, settings.seed
    names = task.class_names
    if not task.multi_label:
        found = averages_of_exclusive_classes(truth, probabilities, groups, names, resamples=resamples, seed=seed)
        hits = int((truth[np.arange(n), probabilities.argmax(axis=1)] == 1).sum())
        accuracy = proportion(hits, n, undefined="no image in this split")
        measured = {
            "accuracy": accuracy,
            "balanced_accuracy": found.balanced_accuracy,
            "macro_auc": found.macro_auc,
            "kappa": found.kappa,
            "mcc": found.mcc,
            "macro_f1": found.macro_f1,
        }
        return found.class_auc, measured | dict.fromkeys(("micro_f1", "micro_precision", "micro_recall"), accuracy)
    class_auc, macro_auc = averages_of_several_at_once(
        truth, probabilities, groups, names, resamples=resamples, seed=seed
    )
    calls = averages_of_calls(truth, probabilities, groups, thresholds, resamples=resamples, seed=seed)
    nothing = Estimate(value=None, n=n, undefined=SEVERAL_AT_ONCE)
    measured = {
        "macro_auc": macro_auc,
        "macro_f1": calls.macro_f1,
        "micro_f1": calls.micro_f1,
        "micro_precision": calls.micro_precision,
        "micro_recall": calls.micro_recall,
    }
    return class_auc, measured | dict.fromkeys(("accuracy", "balanced_accuracy", "kappa", "mcc"), nothing)


def _with_and_without_temperature(
    probabilities: NDArray[np.float64], temperature: float, *, multi_label: bool
) -> list[NDArray[np.float64]]:
    if temperature == 1:
        return [probabilities]
    return [probabilities, tempered(probabilities, 1 / temperature, "sigmoid" if multi_label else "softmax")]


def _confusion(truth: NDArray[np.int8], probabilities: NDArray[np.float64]) -> list[list[int]]:
    n, classes = truth.shape
    if n == 0:  # scikit-learn refuses an empty split
        return [[0] * classes for _ in range(classes)]
    labels, predicted = truth.argmax(axis=1), probabilities.argmax(axis=1)
    matrix: list[list[int]] = confusion_matrix(labels, predicted, labels=range(classes)).tolist()
    return matrix
