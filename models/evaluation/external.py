"""How much of what was measured on internal images is left on images of sources the model never saw."""

from __future__ import annotations

import math
from dataclasses import dataclass

from models.evaluation.results import Estimate, Evaluation

MEASURES = ("roc_auc", "sensitivity", "specificity")


@dataclass(frozen=True, slots=True)
class Gap:
    """One measure on internal and on external images. difference: external minus internal."""

    internal: Estimate
    external: Estimate
    difference: Estimate


@dataclass(frozen=True, slots=True)
class ClassGaps:
    """The gaps of one class, by name of the measure; title is the class's."""

    title: str
    gaps: dict[str, Gap]


def primary_gap(internal: Evaluation, external: Evaluation) -> Gap:
    """What is left of the primary metric."""
    return _gap(internal.primary, external.primary)


def class_gaps(internal: Evaluation, external: Evaluation) -> list[ClassGaps]:
    """What is left of each class that has an external image, at the same frozen thresholds."""
    return [
        ClassGaps(there.title, {name: _gap(getattr(here, name), getattr(there, name)) for name in MEASURES})
        for here, there in zip(internal.classes, external.classes, strict=True)
        if there.n_positive
    ]


def without_external_images(external: Evaluation) -> list[str]:
    """The titles of the classes that cannot be validated externally: no external image shows them."""
    return [one.title for one in external.classes if one.n_positive == 0]


def _gap(internal: Estimate, external: Estimate) -> Gap:
    return Gap(internal, external, independent_difference(external, internal))


def independent_difference(first: Estimate, second: Estimate) -> Estimate:
    """first - second of two samples that share no identity group, with a 95 % interval.

    The interval combines theirs by square-and-add (Newcombe 1998, Stat Med 17:873, method 10; for measures other
    than proportions Zou and Donner 2008, Stat Med 27:1693). n: images of both. Without both values the
    difference is undefined; without both intervals it has none.
    """
    n = first.n + second.n
    if first.value is None or second.value is None:
        return Estimate(value=None, n=n, undefined=first.undefined or second.undefined)
    value = first.value - second.value
    if first.low is None or first.high is None or second.low is None or second.high is None:
        return Estimate(value=value, n=n, method="no interval: one of the two has none")
    return Estimate(
        value=value,
        low=value - math.hypot(first.value - first.low, second.high - second.value),
        high=value + math.hypot(first.high - first.value, second.value - second.low),
        n=n,
        method="square-and-add",
    )
