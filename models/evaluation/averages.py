"""What is measured over all classes of a split at once: AUCs and their mean, agreement, F1, overall calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.agreement import MultiLabelScores, agreement_statistic, multi_label_scores
from models.evaluation.bootstrap import Groups, bootstrap, one_vs_rest_auc, ratio, stack, with_mean
from models.evaluation.calibration import calibration
from models.evaluation.results import Estimate, OverallCalibration
from models.evaluation.temperature import EPSILON


@dataclass(frozen=True, slots=True)
class Averages:
    """One-vs-rest ROC AUC of each class, and the measures of `Evaluation` of the same names."""

    class_auc: list[Estimate]
    macro_auc: Estimate
    balanced_accuracy: Estimate
    kappa: Estimate
    mcc: Estimate
    macro_f1: Estimate


def averages_of_exclusive_classes(
    truth: NDArray[np.int8],
    probabilities: NDArray[np.float64],
    groups: Groups,
    class_names: Sequence[str],
    *,
    resamples: int,
    seed: int,
) -> Averages:
    """Exactly one class is true of each image; the most probable one is called.

    truth (n, K) one-hot, probabilities (n, K). Intervals are percentiles of resampled identity groups. Every
    mean over the classes is undefined where the split lacks one of them.
    """
    n, classes = truth.shape
    labels = truth.argmax(axis=1) if n else np.empty(0, np.int64)
    called = probabilities.argmax(axis=1) if n else np.empty(0, np.int64)
    absent = [name for name, count in zip(class_names, (truth == 1).sum(axis=0), strict=True) if count == 0]
    missing = "no image of class " + ", ".join(absent) if absent else ""
    estimates = bootstrap(
        stack(
            with_mean(one_vs_rest_auc(truth, probabilities, groups)),
            agreement_statistic(labels, called, classes, groups),
        ),
        groups,
        n=n,
        resamples=resamples,
        seed=seed,
        undefined=[*_why_no_area(truth, class_names), *[missing or "only one class is called"] * 6],
    )
    class_auc, (macro_auc, _accuracy, balanced, kappa, mcc, macro_f1) = estimates[:classes], estimates[classes:]
    # One true class leaves a kappa of 0 and a missing class an F1 of 0: numbers that measure nothing.
    if len(absent) >= classes - 1:
        kappa = mcc = Estimate(value=None, n=n, undefined=missing)
    if absent:
        macro_f1 = Estimate(value=None, n=n, undefined=missing)
    return Averages(class_auc, macro_auc, balanced, kappa, mcc, macro_f1)


def averages_of_several_at_once(
    truth: NDArray[np.int8],
    probabilities: NDArray[np.float64],
    groups: Groups,
    class_names: Sequence[str],
    *,
    resamples: int,
    seed: int,
) -> tuple[list[Estimate], Estimate]:
    """The AUC of each class and their mean over the classes that have one.

    truth (n, K): 1, 0 or -1 where it is unknown; an image counts for a class only where that is known.
    """
    reasons = _why_no_area(truth, class_names)
    measured = [k for k, reason in enumerate(reasons) if not reason]
    *class_auc, macro_auc = bootstrap(
        with_mean(one_vs_rest_auc(truth, probabilities, groups), of=measured or None),
        groups,
        n=[*(truth >= 0).sum(axis=0).tolist(), len(truth)],
        resamples=resamples,
        seed=seed,
        undefined=[*reasons, "no class has an AUC"],
    )
    return class_auc, macro_auc


def averages_of_calls(
    truth: NDArray[np.int8],
    probabilities: NDArray[np.float64],
    groups: Groups,
    thresholds: Sequence[float | None],
    *,
    resamples: int,
    seed: int,
) -> MultiLabelScores:
    """Precision, recall and F1 of several classes at once, each called at its own threshold.

    A class whose threshold is None calls nothing and is left out.
    """
    has_threshold = np.array([threshold is not None for threshold in thresholds])
    called = probabilities >= np.array([2.0 if threshold is None else threshold for threshold in thresholds])
    judged = np.where(has_threshold, truth, np.int8(-1))
    return multi_label_scores(judged, called, groups, resamples=resamples, seed=seed)


def overall_calibration(
    truth: NDArray[np.int8],
    probabilities: NDArray[np.float64],
    groups: Groups,
    *,
    multi_label: bool,
    resamples: int,
    seed: int,
) -> OverallCalibration:
    """truth (n, K): 1, 0 or, with multi_label, -1 where it is unknown; probabilities (n, K)."""
    if multi_label:
        known = truth >= 0
        of_pair = Groups(groups.of_image[np.nonzero(known)[0]], groups.count)
        answers = calibration(truth[known] == 1, probabilities[known], of_pair, resamples=resamples, seed=seed)
        return OverallCalibration(brier=answers.brier, log_loss=answers.log_loss, answers=answers)
    n, classes = truth.shape
    of_the_true = probabilities[truth == 1]
    losses = np.stack(
        [
            ((probabilities - truth) ** 2).sum(axis=1) / (2 if classes == 2 else 1),
            -np.log(np.clip(of_the_true, EPSILON, 1)),
        ]
    )
    brier, log_loss = bootstrap(
        ratio(losses, np.ones_like(losses), groups),
        groups,
        n=n,
        resamples=resamples,
        seed=seed,
        undefined="no image",
    )
    highest = probabilities.max(axis=1)
    right = of_the_true == highest
    answers = calibration(right, highest, groups, resamples=resamples, seed=seed)
    return OverallCalibration(brier=brier, log_loss=log_loss, answers=answers)


def _why_no_area(truth: NDArray[np.int8], class_names: Sequence[str]) -> list[str]:
    """Of each class why it has no ROC AUC, or ""."""
    reasons = []
    for k, name in enumerate(class_names):
        without = "" if (truth[:, k] == 0).any() else f"no image without class {name}"
        reasons.append(without if (truth[:, k] == 1).any() else f"no image of class {name}")
    return reasons
