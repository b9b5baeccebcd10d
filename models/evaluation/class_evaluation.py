"""Everything that is measured of one class against the rest on one split."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from data_contracts.ontology import TaskClass
from models.evaluation.abstain import abstain_zone, read_zone
from models.evaluation.bootstrap import Groups
from models.evaluation.calibration import calibration
from models.evaluation.delong import auc_estimate
from models.evaluation.intervals import proportion
from models.evaluation.precision_recall import precision_recall
from models.evaluation.results import ClassEvaluation, Estimate, OperatingPoint, RocCurve, RuleIn, ZoneReading
from models.evaluation.settings import EvaluationSettings
from models.evaluation.utility import decision_curve, predictive_values, sample_size_note

# Thirty images of two patients are two pieces of evidence; below ten no interval over images means much.
MINIMUM_POSITIVE_GROUPS = 10
ROC_POINTS = 200


def evaluate_class(
    truth: NDArray[np.int8],
    scores: NDArray[np.float64],
    groups: Groups,
    *,
    task_class: TaskClass,
    operating_point: OperatingPoint | None,
    rule_in: RuleIn | None,
    roc_auc: Estimate,
    settings: EvaluationSettings,
) -> ClassEvaluation:
    """truth (n,): 1, 0 or -1 where nobody knows whether the image shows the class; those are left out."""
    known = truth >= 0
    positive, scores, groups = truth[known] == 1, scores[known], groups.within(known)
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    positive_groups = groups.within(positive).count
    threshold = None if operating_point is None else operating_point.threshold
    sensitivity, specificity, ppv, npv = rates_at(threshold, positive, scores)
    both_sides = n_positive > 0 and n_negative > 0
    resamples, seed = settings.bootstrap_resamples, settings.seed
    ranked = precision_recall(positive, scores, groups, resamples=resamples, seed=seed)
    return ClassEvaluation(
        name=task_class.name,
        title=task_class.title,
        n_positive=n_positive,
        n_negative=n_negative,
        n_unknown=int((~known).sum()),
        positive_groups=positive_groups,
        operating_point=operating_point,
        sensitivity=sensitivity,
        specificity=specificity,
        ppv=ppv,
        npv=npv,
        roc_auc=roc_auc,
        roc=_thinned_roc(positive, scores) if both_sides else None,
        judgement=_judge(min(n_positive, n_negative), positive_groups, sensitivity, settings),
        prevalence=proportion(n_positive, len(positive), undefined="no image"),
        roc_auc_delong=area(positive, scores, groups),
        average_precision=ranked.average_precision,
        predictive_values=predictive_values(sensitivity, specificity, settings.prevalences),
        calibration=calibration(positive, scores, groups, resamples=resamples, seed=seed) if both_sides else None,
        net_benefit=decision_curve(positive, scores, groups, resamples=resamples, seed=seed) if both_sides else [],
        rule_in=rule_in,
        abstain=_zone_reading(threshold, rule_in, positive, scores),
        sample_size=sample_size_note(sensitivity, roc_auc, n_positive, n_negative),
    )


def rates_at(
    threshold: float | None, positive: NDArray[np.bool_], scores: NDArray[np.float64]
) -> tuple[Estimate, Estimate, Estimate, Estimate]:
    """Sensitivity, specificity, PPV and NPV; all undefined where there is no threshold."""
    if threshold is None:
        nothing = Estimate(value=None, n=0, undefined="no operating point: no validation image of this class")
        return nothing, nothing, nothing, nothing
    called = scores >= threshold
    true_positive, true_negative = int((called & positive).sum()), int((~called & ~positive).sum())
    return (
        proportion(true_positive, int(positive.sum()), undefined="no image of this class"),
        proportion(true_negative, int((~positive).sum()), undefined="no image without this class"),
        proportion(true_positive, int(called.sum()), undefined="no image is called positive"),
        proportion(true_negative, int((~called).sum()), undefined="no image is called negative"),
    )


def area(positive: NDArray[np.bool_], scores: NDArray[np.float64], groups: Groups) -> Estimate:
    """ROC AUC with the interval of DeLong, or of Obuchowski where a group has several of the images."""
    return auc_estimate(positive, scores, groups if groups.count < len(positive) else None)


def _zone_reading(
    threshold: float | None, rule_in: RuleIn | None, positive: NDArray[np.bool_], scores: NDArray[np.float64]
) -> ZoneReading | None:
    if threshold is None or rule_in is None:
        return None
    return read_zone(abstain_zone(threshold, rule_in.threshold), positive, scores)


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
