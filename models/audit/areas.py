"""How well classes are told apart with and without the lungs, on the same images and resamples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.audit.settings import AuditSettings
from models.audit.verdicts import interval
from models.evaluation.bootstrap import Groups, Statistic, bootstrap, divided, one_vs_rest_auc
from models.evaluation.results import Estimate

# A model not shown to be above this has nothing that a shortcut could be a share of.
_HARDLY_BETTER_THAN_CHANCE = 0.55


@dataclass(frozen=True, slots=True)
class Areas:
    """Macro AUCs over the classes with enough images.

    auc: of the scores in question. model: of the network on the unchanged images. share: (auc - 0.5) / (model - 0.5).
    loss: model - auc; both undefined where the model is hardly better than chance.
    """

    auc: Estimate
    model: Estimate
    share: Estimate
    loss: Estimate


def enough(truth: NDArray[np.int8], minimum: int) -> NDArray[np.int64]:
    """The classes, as columns of truth (n, K), with at least `minimum` positive and negative images."""
    sides = np.minimum((truth == 1).sum(axis=0), (truth == 0).sum(axis=0))
    found: NDArray[np.int64] = np.flatnonzero(sides >= minimum)
    return found


def compare_areas(
    truth: NDArray[np.int8],
    scores: NDArray[np.float64],
    model_scores: NDArray[np.float64],
    groups: NDArray[np.str_],
    settings: AuditSettings,
) -> Areas:
    """truth (n, K) 1, 0 or -1 unknown; scores and model_scores (n, K); groups (n,)."""
    n, used = len(truth), enough(truth, settings.minimum_images)
    if not len(used):
        why = f"no class has {settings.minimum_images} images on either side"
        nothing = Estimate(value=None, n=n, undefined=why)
        return Areas(nothing, nothing, nothing, nothing)
    clusters = Groups.of(groups)
    first, second = (_macro(truth[:, used], s[:, used], clusters) for s in (scores, model_scores))

    def under(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        auc, model = first(counts), second(counts)
        return np.concatenate([auc, model, divided(auc - 0.5, model - 0.5), model - auc])

    auc, model, share, loss = bootstrap(
        under, clusters, n=n, resamples=settings.bootstrap_resamples, seed=settings.seed
    )
    ends = interval(model)
    if ends is None or ends[0] <= _HARDLY_BETTER_THAN_CHANCE:
        share = loss = Estimate(
            value=None, n=n, undefined="the network itself is not shown to be better than chance"
        )
    return Areas(auc, model, share, loss)


def _macro(truth: NDArray[np.int8], scores: NDArray[np.float64], groups: Groups) -> Statistic:
    statistic = one_vs_rest_auc(truth, scores, groups)
    return lambda counts: statistic(counts).mean(axis=0, keepdims=True)


def mean_area(
    parts: list[tuple[NDArray[np.bool_], NDArray[np.int8], NDArray[np.float64]]],
    groups: NDArray[np.str_],
    settings: AuditSettings,
) -> Estimate:
    """The mean over parts of the images of each part's macro AUC.

    parts: which of the images (n,), their truth (m, K) and scores (m, K). groups (n,) of all images.
    """
    clusters = Groups.of(groups)
    statistics = [_macro(truth, scores, clusters.at(which)) for which, truth, scores in parts]
    n = int(np.any([which for which, _, _ in parts], axis=0).sum())
    (estimate,) = bootstrap(
        lambda counts: np.mean([statistic(counts) for statistic in statistics], axis=0),
        clusters,
        n=n,
        resamples=settings.bootstrap_resamples,
        seed=settings.seed,
    )
    return estimate
