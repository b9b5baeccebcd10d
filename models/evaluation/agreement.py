"""How far calls and truth agree over all classes: kappa, MCC, F1, balanced accuracy, and each class against the rest.

All of them are functions of the confusion matrix, so one resampled matrix serves them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.bootstrap import Groups, Statistic, bootstrap, divided
from models.evaluation.intervals import proportion
from models.evaluation.results import Estimate


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of one call per image with one true class per image.

    balanced_accuracy: mean recall. kappa: Cohen 1960. mcc: Matthews' coefficient for K classes (Gorodkin 2004).
    macro_f1: mean of the F1 of each class, where a class that is neither true nor called counts as 0. Micro F1
    is the accuracy here and not repeated.
    """

    accuracy: Estimate
    balanced_accuracy: Estimate
    kappa: Estimate
    mcc: Estimate
    macro_f1: Estimate


@dataclass(frozen=True, slots=True)
class ClassRates:
    """One class against the rest in a confusion matrix, Wilson intervals over images."""

    sensitivity: Estimate
    specificity: Estimate
    ppv: Estimate
    npv: Estimate


@dataclass(frozen=True, slots=True)
class MultiLabelScores:
    """Micro and macro averages over classes of which any number may be true of an image.

    micro: all decisions of all classes pooled. macro_f1: mean over the classes with at least one known positive.
    """

    micro_precision: Estimate
    micro_recall: Estimate
    micro_f1: Estimate
    macro_f1: Estimate


_ROWS = ("accuracy", "balanced_accuracy", "kappa", "mcc", "macro_f1")


def agreement(
    labels: NDArray[np.int64],
    predicted: NDArray[np.int64],
    classes: int,
    groups: Groups | None = None,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> Agreement:
    """Agreement of (n,) class indices called with (n,) true ones, intervals from resampling identity groups."""
    groups = groups or Groups.each_image_alone(len(labels))
    estimates = bootstrap(
        agreement_statistic(labels, predicted, classes, groups),
        groups,
        n=len(labels),
        resamples=resamples,
        seed=seed,
        undefined=_why_undefined(labels, predicted, classes),
    )
    return Agreement(**dict(zip(_ROWS, estimates, strict=True)))


def agreement_statistic(
    labels: NDArray[np.int64], predicted: NDArray[np.int64], classes: int, groups: Groups
) -> Statistic:
    """Accuracy, balanced accuracy, kappa, MCC and macro F1 as the five rows of one bootstrap statistic."""
    cells = groups.totals(labels * classes + predicted == np.arange(classes**2)[:, None])

    def under(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        matrices = (cells @ counts).reshape(classes, classes, -1)
        return np.stack(list(agreement_of_matrix(matrices).values()))

    return under


def agreement_of_matrix(confusion: NDArray[np.number]) -> dict[str, NDArray[np.float64]]:
    """The measures of `Agreement` by name for confusion (K, K) or (K, K, B): rows true, columns called.

    Values (B,), or a single number in an array of no dimension; nan where undefined.
    """
    matrix = np.asarray(confusion, dtype=np.float64)
    true, called, hits = matrix.sum(axis=1), matrix.sum(axis=0), np.einsum("kk...->k...", matrix)
    n, right = true.sum(axis=0), hits.sum(axis=0)
    by_chance = np.sum(true * called, axis=0)
    f1 = np.divide(2 * hits, true + called, out=np.zeros_like(hits), where=true + called > 0)
    spread = (n**2 - np.sum(true**2, axis=0)) * (n**2 - np.sum(called**2, axis=0))
    return {
        "accuracy": divided(right, n),
        "balanced_accuracy": divided(hits, true).mean(axis=0),
        "kappa": divided(n * right - by_chance, n**2 - by_chance),
        "mcc": divided(n * right - by_chance, np.sqrt(spread)),
        "macro_f1": np.where(n > 0, f1.mean(axis=0), np.nan),
    }


def class_rates(confusion: NDArray[np.integer]) -> list[ClassRates]:
    """Sensitivity, specificity, PPV and NPV of each class in a (K, K) confusion matrix, rows true."""
    total = int(confusion.sum())
    rates = []
    for k in range(len(confusion)):
        hits, true, called = int(confusion[k, k]), int(confusion[k].sum()), int(confusion[:, k].sum())
        rejected = total - true - called + hits
        rates.append(
            ClassRates(
                sensitivity=proportion(hits, true, undefined="no image of this class"),
                specificity=proportion(rejected, total - true, undefined="no image of another class"),
                ppv=proportion(hits, called, undefined="no image is called positive"),
                npv=proportion(rejected, total - called, undefined="no image is called negative"),
            )
        )
    return rates


def multi_label_scores(
    truth: NDArray[np.int8],
    called: NDArray[np.bool_],
    groups: Groups | None = None,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> MultiLabelScores:
    """Pooled precision, recall and F1 of (n, K) decisions, intervals from resampling identity groups.

    truth: 1 positive, 0 negative, -1 unknown; an unknown truth counts neither for nor against. Where called is a
    single-label probability of at least 0.5, these are the "micro at 0.5" that Keras reports as precision and
    recall, in which an image with no class above 0.5 is called nothing.
    """
    n = len(truth)
    groups = groups or Groups.each_image_alone(n)
    hits, calls, positives = (
        groups.totals(cells.T) for cells in (called & (truth == 1), called & (truth >= 0), truth == 1)
    )
    judged = positives.sum(axis=1) > 0

    def under(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        hit, call, positive = hits @ counts, calls @ counts, positives @ counts
        pooled_hit, pooled_call, pooled_positive = (part.sum(axis=0) for part in (hit, call, positive))
        f1 = divided(2 * hit, call + positive)[judged]
        return np.stack(
            [
                divided(pooled_hit, pooled_call),
                divided(pooled_hit, pooled_positive),
                divided(2 * pooled_hit, pooled_call + pooled_positive),
                np.nan_to_num(f1).mean(axis=0) if judged.any() else np.full(counts.shape[1], np.nan),
            ]
        )

    estimates = bootstrap(
        under,
        groups,
        n=int((truth >= 0).sum()),
        resamples=resamples,
        seed=seed,
        undefined=["nothing is called positive", *["nothing is positive"] * 3],
    )
    return MultiLabelScores(*estimates)


def _why_undefined(labels: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> Sequence[str]:
    if len(labels) == 0:
        return ["no image"] * len(_ROWS)
    absent = classes - len(np.unique(labels))
    one_class = "only one class is true or called"
    return ["", f"no image of {absent} of the {classes} classes", one_class, one_class, ""]
