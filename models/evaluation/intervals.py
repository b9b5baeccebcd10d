"""95 % intervals of proportions."""

from __future__ import annotations

from statsmodels.stats.proportion import proportion_confint

from models.evaluation.results import Estimate


def proportion(successes: int, n: int, *, undefined: str) -> Estimate:
    """Share of successes with its Wilson interval, or Clopper-Pearson where none or all of the n succeed.

    Every image counts as independent. undefined: the reason the estimate carries where n is 0.
    """
    if n == 0:
        return Estimate(value=None, n=0, undefined=undefined)
    at_an_end = successes in (0, n)
    low, high = proportion_confint(successes, n, alpha=0.05, method="beta" if at_an_end else "wilson")
    return Estimate(
        value=successes / n,
        low=float(low),
        high=float(high),
        n=n,
        method="clopper-pearson" if at_an_end else "wilson",
    )
