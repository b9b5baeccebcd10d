"""Evaluation of one architecture on one split: every measure at the operating point frozen on validation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, roc_curve

from data_contracts.errors import DataGateError, ModelGateError
from data_contracts.ontology import Task
from models.evaluation.intervals import group_bootstrap, proportion
from models.evaluation.notes import reviewer_notes
from models.evaluation.predictions import Predictions
from models.evaluation.results import ClassEvaluation, Estimate, Evaluation, OperatingPoint, RocCurve
from models.evaluation.settings import EvaluationSettings

# Thirty images of two patients are two pieces of evidence; below ten no interval over images means much.
MINIMUM_POSITIVE_GROUPS = 10
ROC_POINTS = 200


def evaluate(
    predictions: Predictions,
    *,
    architecture: str,
    task: Task,
    operating_points: Mapping[str, OperatingPoint],
    split: str = "test",
    settings: EvaluationSettings,
) -> Evaluation:
    """Measure one split of the predictions.

    operating_points: as chosen on validation, by class name; a class without one has no sensitivity,
    specificity, PPV or NPV here. Proportions carry Wilson intervals over images, AUC and balanced accuracy
    intervals from resampling identity groups. What cannot be computed is None with the reason. Deterministic
    for one seed. Raises ModelGateError where the predictions are of another task, DataGateError where a label
    is unknown or an image has no identity group.
    """
    if predictions.class_names != task.class_names:
        raise ModelGateError(
            f"The predictions are over {predictions.class_names}; task {task.name} has {task.class_names}.",
            why="Probabilities would be read as those of other classes.",
            cure="Evaluate with the task the model was trained for.",
        )
    chosen = predictions.of_split(split)
    frame, labels, probabilities = chosen.frame, chosen.labels, chosen.probabilities
    if (frame["group_id"] == "").any():
        raise DataGateError(
            f"{int((frame['group_id'] == '').sum())} images of split {split} have no identity group.",
            why="Intervals resample groups, and images of one patient would count as independent.",
            cure="Build the data again, so that identity is resolved before the split.",
        )
    bootstrap = group_bootstrap(
        labels,
        probabilities,
        frame["group_id"].tolist(),
        task.class_names,
        resamples=settings.bootstrap_resamples,
        seed=settings.seed,
    )
    predicted = probabilities.argmax(axis=1)
    classes = [
        _evaluate_class(
            frame["group_id"],
            labels == k,
            probabilities[:, k],
            name=task_class.name,
            title=task_class.title,
            operating_point=operating_points.get(task_class.name),
            roc_auc=bootstrap.class_auc[k],
            settings=settings,
        )
        for k, task_class in enumerate(task.classes)
    ]
    primary = {"macro_auc": bootstrap.macro_auc, "balanced_accuracy": bootstrap.balanced_accuracy}
    return Evaluation(
        architecture=architecture,
        split=split,
        n=len(frame),
        n_groups=frame["group_id"].nunique(),
        without_patient_id=int((frame["patient"] == "").sum()),
        class_names=task.class_names,
        classes=classes,
        confusion=_confusion(labels, predicted, len(classes)),
        accuracy=proportion(int((predicted == labels).sum()), len(frame), undefined="no image in this split"),
        balanced_accuracy=bootstrap.balanced_accuracy,
        macro_auc=bootstrap.macro_auc,
        primary_metric=settings.primary_metric,
        primary=primary[settings.primary_metric],
        notes=reviewer_notes(frame, classes, split),
    )


def _confusion(labels: NDArray[np.int64], predicted: NDArray[np.int64], n_classes: int) -> list[list[int]]:
    if len(labels) == 0:  # scikit-learn refuses an empty split
        return [[0] * n_classes for _ in range(n_classes)]
    matrix: list[list[int]] = confusion_matrix(labels, predicted, labels=range(n_classes)).tolist()
    return matrix


def _evaluate_class(
    groups: pd.Series[str],
    positive: NDArray[np.bool_],
    scores: NDArray[np.float64],
    *,
    name: str,
    title: str,
    operating_point: OperatingPoint | None,
    roc_auc: Estimate,
    settings: EvaluationSettings,
) -> ClassEvaluation:
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    positive_groups = groups[positive].nunique()
    if operating_point is None:
        why = "no operating point: no validation image of this class"
        sensitivity = specificity = ppv = npv = Estimate(value=None, n=0, undefined=why)
    else:
        called = scores >= operating_point.threshold
        true_positive, true_negative = int((called & positive).sum()), int((~called & ~positive).sum())
        sensitivity = proportion(true_positive, n_positive, undefined="no image of this class")
        specificity = proportion(true_negative, n_negative, undefined="no image of another class")
        ppv = proportion(true_positive, int(called.sum()), undefined="no image is called positive")
        npv = proportion(true_negative, int((~called).sum()), undefined="no image is called negative")
    return ClassEvaluation(
        name=name,
        title=title,
        n_positive=n_positive,
        n_negative=n_negative,
        positive_groups=positive_groups,
        operating_point=operating_point,
        sensitivity=sensitivity,
        specificity=specificity,
        ppv=ppv,
        npv=npv,
        roc_auc=roc_auc,
        roc=_thinned_roc(positive, scores) if n_positive and n_negative else None,
        judgement=_judge(min(n_positive, n_negative), positive_groups, sensitivity, settings),
    )


def _judge(
    smaller_side: int, positive_groups: int, sensitivity: Estimate, settings: EvaluationSettings
) -> Literal["enough", "wide", "too few to judge"]:
    if smaller_side < settings.minimum_positives or positive_groups < MINIMUM_POSITIVE_GROUPS:
        return "too few to judge"
    if sensitivity.low is None or sensitivity.high is None:  # no operating point: validation lacks the class
        return "too few to judge"
    return "wide" if sensitivity.high - sensitivity.low > settings.wide_interval else "enough"


def _thinned_roc(positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> RocCurve:
    """At most ROC_POINTS corners of the curve, evenly spaced by rank, both ends kept."""
    false_positive_rate, sensitivity, _ = roc_curve(positive, scores)
    last = len(sensitivity) - 1
    kept = np.unique(np.linspace(0, last, min(ROC_POINTS, last + 1)).round().astype(int))
    return RocCurve(false_positive_rate=false_positive_rate[kept].tolist(), sensitivity=sensitivity[kept].tolist())
