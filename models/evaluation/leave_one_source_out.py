"""Leave-one-source-out: what is left of a model on each source in turn when it never saw that source.

Zech et al. 2018, PLoS Medicine 15:e1002683: a score on the sources a model was trained on says little of another
hospital. A class that only one source holds cannot be tested so, and is named.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from pydantic import BaseModel, ConfigDict

from data_contracts.errors import ModelGateError
from models.evaluation.external import class_gaps, primary_gap
from models.evaluation.results import Estimate, Evaluation, Evaluations


class _Result(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class MeasuredGap(_Result):
    """One measure on the sources that were learned from and on the held-out one; gap: held out minus internal."""

    internal: Estimate
    held_out: Estimate
    gap: Estimate


class ClassOnHeldOut(_Result):
    """One class on the images of a held-out source, by name of the measure, at thresholds frozen without it."""

    name: str
    title: str
    n_positive: int
    measures: dict[str, MeasuredGap]


class HeldOutSource(_Result):
    """The run that never saw `source`. classes: those it holds positives of; absent: titles of the others."""

    source: str
    n: int
    n_groups: int
    primary: MeasuredGap
    classes: list[ClassOnHeldOut]
    absent: list[str]


class LeaveOneSourceOut(_Result):
    """One architecture, one run per held-out source, by source name.

    mean_internal, mean_held_out: unweighted means of the primary metric over the sources where it is defined on
    both sides; gap: their difference, held out minus internal. Their intervals take the runs as independent,
    although they share training images. worst: the source with the lowest primary metric, "" where none has one.
    not_testable: titles of the classes without an AUC on any held-out source; these data cannot show how they
    are recognised elsewhere. not_held_out: why a source was never held out, by its name.
    """

    architecture: str
    primary_metric: str
    sources: list[HeldOutSource]
    mean_internal: Estimate
    mean_held_out: Estimate
    gap: Estimate
    worst: str
    not_testable: list[str]
    not_held_out: dict[str, str] = {}


def leave_one_source_out(
    runs: Mapping[str, Evaluations], *, not_held_out: Mapping[str, str] = MappingProxyType({})
) -> LeaveOneSourceOut:
    """The table over runs of one architecture, by the name of the source that each held out.

    not_held_out: reasons by source name for those without a run. Raises ModelGateError for no run at all, a run
    without external images, and runs that differ in architecture, classes or primary metric.
    """
    pairs = [(source, runs[source].test, _external(source, runs[source])) for source in sorted(runs)]
    _require_comparable([test for _, test, _ in pairs])
    sources = [_held_out(source, test, external) for source, test, external in pairs]
    scored = [s for s in sources if s.primary.internal.value is not None and s.primary.held_out.value is not None]
    first = pairs[0][1]
    worst = min(scored, key=lambda s: (s.primary.held_out.value, s.source)).source if scored else ""
    return LeaveOneSourceOut(
        architecture=first.architecture,
        primary_metric=first.primary_metric,
        sources=sources,
        mean_internal=independent_mean([s.primary.internal for s in scored]),
        mean_held_out=independent_mean([s.primary.held_out for s in scored]),
        gap=independent_mean([s.primary.gap for s in scored]),
        worst=worst,
        not_testable=[
            one.title
            for k, one in enumerate(first.classes)
            if all(external.classes[k].roc_auc.value is None for _, _, external in pairs)
        ],
        not_held_out=dict(not_held_out),
    )


def independent_mean(estimates: Sequence[Estimate]) -> Estimate:
    """Unweighted mean of defined estimates from samples without a common image, with a 95 % interval.

    The interval adds the squared distances of their bounds (Zou and Donner 2008, Stat Med 27:1693). Without an
    estimate the mean is undefined; where one has no interval the mean has none.
    """
    n, count = sum(one.n for one in estimates), len(estimates)
    if not estimates:
        return Estimate(value=None, n=0, undefined="defined on no held-out source")
    value = math.fsum(one.value for one in estimates if one.value is not None) / count
    below, above = [], []
    for one in estimates:
        if one.value is None or one.low is None or one.high is None:
            return Estimate(value=value, n=n, method="no interval: one of the sources has none")
        below.append(one.value - one.low)
        above.append(one.high - one.value)
    return Estimate(
        value=value,
        low=value - math.hypot(*below) / count,
        high=value + math.hypot(*above) / count,
        n=n,
        method="square-and-add",
    )


def _held_out(source: str, test: Evaluation, external: Evaluation) -> HeldOutSource:
    primary = primary_gap(test, external)
    positives = {one.title: one for one in external.classes if one.n_positive}
    return HeldOutSource(
        source=source,
        n=external.n,
        n_groups=external.n_groups,
        primary=MeasuredGap(internal=primary.internal, held_out=primary.external, gap=primary.difference),
        classes=[
            ClassOnHeldOut(
                name=positives[one.title].name,
                title=one.title,
                n_positive=positives[one.title].n_positive,
                measures={
                    name: MeasuredGap(internal=gap.internal, held_out=gap.external, gap=gap.difference)
                    for name, gap in one.gaps.items()
                },
            )
            for one in class_gaps(test, external)
        ],
        absent=[one.title for one in external.classes if not one.n_positive],
    )


def _external(source: str, run: Evaluations) -> Evaluation:
    if run.external is None or run.external.n == 0:
        raise ModelGateError(
            f"The run that held out {source} has no external images.",
            why="Without them it says nothing of a source the model never saw.",
            cure=f"Train with split.hold_out_source set to {source}, and with images of it that have a label.",
        )
    return run.external


def _require_comparable(tests: Sequence[Evaluation]) -> None:
    kinds = {(one.architecture, tuple(one.class_names), one.primary_metric) for one in tests}
    if len(kinds) != 1:
        found = "; ".join(
            f"{name} over {', '.join(classes)} by {metric}" for name, classes, metric in sorted(kinds)
        )
        raise ModelGateError(
            f"Leave-one-source-out needs runs of one kind; given {len(tests)}" + (f": {found}." if found else "."),
            why="A table over runs of different models would not speak of any of them.",
            cure="Run one recipe once for each source, with split.hold_out_source set to it.",
        )
