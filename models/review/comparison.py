"""Challenger against champion on the same locked test images: every difference is paired, every threshold frozen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_contracts.catalog import Catalog
from data_contracts.ontology import Task
from models.evaluation.bootstrap import Groups, Statistic, difference, one_vs_rest_auc, ratio, resampled, with_mean
from models.evaluation.comparison import (
    Difference,
    NonInferiority,
    compare_auc,
    compare_rates,
    compare_statistics,
    holm,
    judge_non_inferiority,
)
from models.evaluation.predictions import Predictions
from models.evaluation.results import Estimate, Evaluation
from models.evaluation.subgroups import PROPERTIES
from models.registry.bundle import BundleSpec
from models.review.results import Compared, ComparedClass, ComparedSubgroup, Comparison, no_difference_known
from models.review.settings import ReviewSettings


@dataclass(frozen=True, slots=True)
class Measured:
    """One model on the test images: its frozen thresholds, what it said, and the evaluation of that."""

    spec: BundleSpec
    predictions: Predictions
    evaluation: Evaluation

    def called(self, k: int) -> NDArray[np.bool_] | None:
        """Which images (n,) it calls positive for class k at its operating point; None where it has none."""
        point = self.spec.operating_points.get(self.predictions.class_names[k])
        return None if point is None else self.predictions.probabilities[:, k] >= point.threshold


def compare(
    challenger: Measured,
    champion: Measured,
    catalog: Catalog,
    task: Task,
    settings: ReviewSettings,
    *,
    rescored: bool = False,
) -> Comparison:
    """The whole comparison. Both predictions: test images only, the same in the same order; catalog: of them.

    The primary metric stands alone; p values of the classes are adjusted together (Holm 1979), those of AUCs and those
    of sensitivities each as one family.
    """
    truth = challenger.predictions.truth
    groups = Groups.of(challenger.predictions.frame["group_id"])
    aucs = [_auc(challenger, champion, truth, groups, k) for k in range(len(task.classes))]
    hits = [_rate(challenger, champion, truth, groups, k, of=1) for k in range(len(task.classes))]
    rejections = [_rate(challenger, champion, truth, groups, k, of=0) for k in range(len(task.classes))]
    classes = []
    for k, (one, auc_p, hit_p) in enumerate(
        zip(task.classes, holm([d.p for d in aucs]), holm([d.p for d in hits]), strict=True)
    ):
        new, old = challenger.evaluation.classes[k], champion.evaluation.classes[k]
        margin, loss = settings.auc_margin, settings.sensitivity_margin
        classes.append(
            ComparedClass(
                name=one.name,
                title=one.title,
                n_positive=int((truth[:, k] == 1).sum()),
                n_negative=int((truth[:, k] == 0).sum()),
                auc=Compared(
                    measure="ROC AUC",
                    challenger=new.roc_auc,
                    champion=old.roc_auc,
                    judged=judge_non_inferiority(aucs[k], margin=margin, adjusted_p=auc_p),
                ),
                sensitivity=Compared(
                    measure="sensitivity",
                    challenger=new.sensitivity,
                    champion=old.sensitivity,
                    judged=judge_non_inferiority(hits[k], margin=loss, adjusted_p=hit_p),
                ),
                specificity=Compared(
                    measure="specificity",
                    challenger=new.specificity,
                    champion=old.specificity,
                    judged=judge_non_inferiority(rejections[k], margin=loss),
                ),
            )
        )
    found, not_there = _subgroups(challenger, champion, truth, groups, catalog, task, settings)
    return Comparison(
        n=len(truth),
        n_groups=groups.count,
        test_set=challenger.evaluation.test_set,
        primary=_primary(challenger, champion, truth, groups, settings),
        classes=classes,
        subgroups=found,
        not_there=not_there,
        rescored=rescored,
    )


def _primary(
    challenger: Measured, champion: Measured, truth: NDArray[np.int8], groups: Groups, settings: ReviewSettings
) -> Compared:
    """The one primary endpoint. Its p is the bootstrap's: the share of resamples on the other side of 0, doubled."""
    metric = challenger.evaluation.primary_metric
    new, old = (_statistic(metric, model, truth, groups) for model in (challenger, champion))
    *_, observed = compare_statistics(
        new, old, groups, n=len(truth), resamples=settings.resamples, seed=settings.seed
    )
    drawn = resampled(difference(new, old), groups.count, resamples=settings.resamples, seed=settings.seed)[-1]
    drawn = drawn[np.isfinite(drawn)]
    other_side = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    p = min(1.0, 2 * (other_side + 1) / (len(drawn) + 1))
    observed = observed.model_copy(update={"p": p, "test": "paired bootstrap of identity groups"})
    return Compared(
        measure=metric,
        challenger=challenger.evaluation.primary,
        champion=_same_metric(champion.evaluation, metric),
        judged=judge_non_inferiority(observed, margin=settings.auc_margin, adjusted_p=p),
    )


def _same_metric(evaluation: Evaluation, metric: str) -> Estimate:
    found = getattr(evaluation, metric)
    assert isinstance(found, Estimate)  # noqa: S101 - the recipe allows only metrics that are
    return found


def _statistic(metric: str, model: Measured, truth: NDArray[np.int8], groups: Groups) -> Statistic:
    """The primary metric as a statistic whose last row it is."""
    if metric == "macro_auc":
        known = [k for k in range(truth.shape[1]) if {0, 1} <= set(truth[:, k].tolist())]
        return with_mean(one_vs_rest_auc(truth, model.predictions.probabilities, groups), of=known or None)
    called = model.predictions.probabilities.argmax(axis=1)
    right = np.stack([(truth[:, k] == 1) & (called == k) for k in range(truth.shape[1])])
    return with_mean(ratio(right, (truth == 1).T, groups))


def _auc(challenger: Measured, champion: Measured, truth: NDArray[np.int8], groups: Groups, k: int) -> Difference:
    known = truth[:, k] >= 0
    new, old = (model.predictions.probabilities[known, k] for model in (challenger, champion))
    return compare_auc(truth[known, k] == 1, new, old, groups.within(known))


def _rate(
    challenger: Measured,
    champion: Measured,
    truth: NDArray[np.int8],
    groups: Groups,
    k: int,
    *,
    of: int,
    inside: NDArray[np.bool_] | None = None,
) -> Difference:
    """Difference of sensitivities (of = 1) or specificities (of = 0), each model at its own frozen threshold."""
    rows = truth[:, k] == of
    if inside is not None:
        rows = rows & inside
    new, old = challenger.called(k), champion.called(k)
    if new is None or old is None:
        return no_difference_known(int(rows.sum()), "a model has no operating point for this class")
    right = [(called if of == 1 else ~called)[rows] for called in (new, old)]
    return compare_rates(right[0], right[1], groups.within(rows))


def _subgroups(
    challenger: Measured,
    champion: Measured,
    truth: NDArray[np.int8],
    groups: Groups,
    catalog: Catalog,
    task: Task,
    settings: ReviewSettings,
) -> tuple[list[ComparedSubgroup], list[str]]:
    """Every part of the images by `PROPERTIES` with a positive of a class; names of expected ones without images."""
    ids = challenger.predictions.frame["image_id"]
    described = catalog.frame.set_index("image_id").loc[ids].reset_index()
    found, not_there = [], []
    for one in PROPERTIES:
        of_image = one.of_image(described).to_numpy()
        names = sorted(set(of_image.tolist()) - {""})
        not_there += [f"{one.title.lower()}: {name}" for name in one.expected if name not in names]
        if len(set(of_image.tolist())) == 1:
            continue  # all images are no subgroup, and passing for them says nothing of any
        for name in names:
            inside = of_image == name
            for k, task_class in enumerate(task.classes):
                n_positive = int((inside & (truth[:, k] == 1)).sum())
                if n_positive == 0:
                    continue
                judged: NonInferiority | None = None
                if n_positive >= settings.minimum_subgroup_positives:
                    judged = judge_non_inferiority(
                        _rate(challenger, champion, truth, groups, k, of=1, inside=inside),
                        margin=settings.subgroup_margin,
                    )
                found.append(
                    ComparedSubgroup(
                        by=one.title,
                        group=name,
                        class_name=task_class.name,
                        title=task_class.title,
                        n_positive=n_positive,
                        judged=judged,
                    )
                )
    return found, not_there
