"""Means and medians over independent images with bootstrap intervals, and what an interval says of a requirement."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.evaluation.bootstrap import Groups, Statistic, bootstrap, ratio
from models.evaluation.results import Estimate
from models.explanation.results import ClassCheck, Verdict
from models.explanation.settings import FaithfulnessSettings
from models.reports import formatting

LEFT_OUT = "left out by the recipe"
FEWEST_IMAGES = 5  # resamples of fewer say little about other images


def estimate(
    kind: Literal["mean", "median"], values: NDArray[np.float64], settings: FaithfulnessSettings, undefined: str
) -> Estimate:
    """Over images (n,) of different identity groups; undefined: the reason where there are none."""
    if not len(values):
        return Estimate(value=None, n=0, undefined=undefined)
    groups = Groups.each_image_alone(len(values))
    statistic = ratio(values, np.ones(len(values)), groups) if kind == "mean" else _median(values)
    (found,) = bootstrap(statistic, groups, n=len(values), resamples=settings.resamples, seed=settings.seed)
    return found


def verdict_on(measured: Estimate, *, at_least: float) -> Verdict:
    """passed where the whole interval reaches `at_least`, failed where none of it does.

    Images that all give the same value have no interval; that alone proves no success.
    """
    if measured.value is None:
        return "not evaluated"
    if measured.n < FEWEST_IMAGES:
        return "inconclusive"
    if measured.low is not None and measured.low >= at_least:
        return "passed"
    highest = measured.value if measured.high is None else measured.high
    return "failed" if highest < at_least else "inconclusive"


def worst_of(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict on several requirements at once: what is not evaluated says nothing, unless nothing is."""
    order: list[Verdict] = ["failed", "inconclusive", "passed", "not evaluated"]
    return min(verdicts, key=order.index, default="not evaluated")


def listed(checks: Iterable[ClassCheck]) -> str:
    """`passed for mass, nodule; failed for hernia`: the evaluated classes by verdict, in their order."""
    by_verdict: dict[Verdict, list[str]] = {}
    for check in checks:
        if check.verdict != "not evaluated":
            by_verdict.setdefault(check.verdict, []).append(check.title)
    return "; ".join(f"{verdict} for {', '.join(titles)}" for verdict, titles in by_verdict.items())


def in_words(measured: Estimate) -> str:
    """`0.62 (0.55–0.70, n = 24)`, or the reason why there is no value."""
    return measured.undefined if measured.value is None else formatting.estimate_with_n(measured)


def share_in_words(measured: Estimate) -> str:
    """A share in [0, 1] as `62% (55%–70%, n = 24)`, or the reason why there is no value."""
    if measured.value is None:
        return measured.undefined
    interval = (
        "no interval"
        if measured.low is None or measured.high is None
        else formatting.percent(measured.low) + formatting.EN_DASH + formatting.percent(measured.high)
    )
    return f"{formatting.percent(measured.value)} ({interval}, n = {formatting.count(measured.n)})"


def _median(values: NDArray[np.float64]) -> Statistic:
    """The mean of the two middle values, which are one where their number is odd, under counts of the images."""
    order = np.argsort(values, kind="stable")
    ascending = values[order]

    def under(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        twice_so_far = 2 * np.cumsum(counts[order], axis=0)
        total = twice_so_far[-1] / 2
        lower, upper = (reached.argmax(axis=0) for reached in (twice_so_far >= total, twice_so_far > total))
        medians: NDArray[np.float64] = (ascending[lower] + ascending[upper])[None] / 2
        return medians

    return under
