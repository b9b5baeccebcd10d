"""Average precision, always beside the prevalence that a model without skill would reach."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.bootstrap import Groups, average_precision, bootstrap, ratio, stack
from models.evaluation.results import Estimate


@dataclass(frozen=True, slots=True)
class PrecisionRecall:
    """Average precision in [0, 1] and the prevalence of the images it was measured on, its chance level."""

    average_precision: Estimate
    prevalence: Estimate


def precision_recall(
    positive: NDArray[np.bool_],
    scores: NDArray[np.float64],
    groups: Groups | None = None,
    *,
    resamples: int = 2000,
    seed: int = 0,
    stratified: bool = True,
) -> PrecisionRecall:
    """Average precision of scores (n,) for positive (n,), with intervals from resampling identity groups.

    stratified: groups with and without a positive are drawn separately, so that the prevalence, on which average
    precision depends, hardly moves between resamples (it does not at all where every image is a group). The
    interval then holds for this prevalence, which for that reason has none. Undefined where there is no positive image
    or no negative one.
    """
    n = len(positive)
    groups = groups or Groups.each_image_alone(n)
    if not positive.any() or positive.all():
        missing = "negative" if n and positive.all() else "positive"
        undefined = f"no {missing} image" if n else "no image"
        share = Estimate(value=None, n=0, undefined=undefined)
        if n:
            share = Estimate(value=float(positive.mean()), n=n, method="no interval: one class only")
        return PrecisionRecall(Estimate(value=None, n=n, undefined=undefined), share)
    strata = (groups.totals(positive)[0] > 0).astype(np.int64) if stratified else None
    both = stack(average_precision(positive, scores, groups), ratio(positive, np.ones(n), groups))
    area, prevalence = bootstrap(both, groups, n=n, resamples=resamples, seed=seed, strata=strata)
    if stratified:
        prevalence = Estimate(value=prevalence.value, n=n, method="no interval: held by the stratified resampling")
    return PrecisionRecall(area, prevalence)
