"""Two models on the same images: paired differences with intervals and p values, and what they allow to be claimed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.stats import chi2, norm, rankdata
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from models.evaluation.bootstrap import Groups, Statistic, bootstrap, difference
from models.evaluation.delong import Z, certainty_bound, roc_areas
from models.evaluation.paired_score import FEWEST_GROUPS, design_effect, score_interval
from models.evaluation.results import Estimate

EXACT_BELOW = 25  # discordant pairs; the chi-squared approximation is poor below
SIGNIFICANCE = 0.05
# A variance this much smaller than the two it is the difference of is rounding.
_ROUNDING = 1e-12


class Difference(Estimate):
    """Challenger minus champion on the same images: positive where the challenger is better.

    p is two-sided, None where no test is possible. statistic is the z of DeLong or the chi-squared of McNemar
    (None where it was exact); test names it.
    """

    p: float | None = None
    statistic: float | None = None
    test: str = ""


@dataclass(frozen=True, slots=True)
class Margins:
    """How much worse a challenger may be, as absolute differences, and still count as not worse.

    Each is compared with the lower bound of a two-sided 95 % interval, which is a one-sided test at 2.5 %.
    A subgroup is tested where it holds at least minimum_subgroup_positives.
    """

    auc: float = 0.02
    sensitivity: float = 0.03
    subgroup: float = 0.05
    minimum_subgroup_positives: int = 50


class NonInferiority(BaseModel):
    """What one difference allows to be said, and why in words.

    superior: the interval lies above 0 and the adjusted p is significant. non-inferior: it lies above -margin.
    inferior: it lies below -margin. inconclusive: it holds -margin. cannot be judged: there is no interval,
    which is never a pass.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    verdict: Literal["superior", "non-inferior", "inferior", "inconclusive", "cannot be judged"]
    difference: Difference
    margin: float
    adjusted_p: float | None = None
    why: str

    @property
    def passed(self) -> bool:
        return self.verdict in ("superior", "non-inferior")


def judge_non_inferiority(
    observed: Difference, *, margin: float, adjusted_p: float | None = None
) -> NonInferiority:
    """Compare the interval of a difference with -margin (margin > 0) and with 0.

    adjusted_p: the p value after correction for all comparisons made (`holm`); without one superiority is not
    claimed. FDA 2016, Non-Inferiority Clinical Trials to Establish Effectiveness.
    """
    low, high = observed.low, observed.high
    verdict: Literal["superior", "non-inferior", "inferior", "inconclusive", "cannot be judged"]
    if low is None or high is None:
        verdict, why = "cannot be judged", observed.undefined or observed.method
    elif high < -margin:
        verdict, why = "inferior", f"upper bound {high:+.4f} is below the margin {-margin:+.4f}"
    elif low <= -margin:
        verdict, why = "inconclusive", f"lower bound {low:+.4f} does not exclude a loss of {margin:.4f}"
    elif low > 0 and adjusted_p is not None and adjusted_p < SIGNIFICANCE:
        verdict, why = "superior", f"lower bound {low:+.4f} is above 0, adjusted p = {adjusted_p:.4g}"
    else:
        verdict, why = "non-inferior", f"lower bound {low:+.4f} is above the margin {-margin:+.4f}"
    return NonInferiority(verdict=verdict, difference=observed, margin=margin, adjusted_p=adjusted_p, why=why)


def compare_auc(
    positive: NDArray[np.bool_],
    challenger: NDArray[np.float64],
    champion: NDArray[np.float64],
    groups: Groups | None = None,
) -> Difference:
    """Difference of two ROC AUCs on the same images, z test and interval of DeLong 1988.

    positive (n,), scores (n,) of both models. With groups the covariance is that of Obuchowski 1997, for several
    images of one patient. Undefined where a class is empty. Where no pair of images is ordered differently the
    difference is 0 and its variance too; the interval then allows for the disagreement that k disjoint pairs
    could have missed (Clopper-Pearson), as the difference is at most the share of pairs ordered differently.
    """
    n = len(positive)
    if not positive.any() or positive.all():
        missing = "negative" if n and positive.all() else "positive"
        return Difference(value=None, n=n, undefined=f"no {missing} image")
    areas = roc_areas(positive, np.stack([challenger, champion], axis=1), groups)
    contrast = np.array([1.0, -1.0])
    value, variance = float(contrast @ areas.auc), float(contrast @ areas.covariance @ contrast)
    same_order = np.array_equal(rankdata(challenger, "dense"), rankdata(champion, "dense"))
    if same_order or (value == 0 and areas.auc[0] in (0, 1)):
        return _no_disagreement(n, areas.disjoint_pairs, "disjoint pairs ordered differently")
    if not np.isfinite(variance):
        method = "no interval: a side has images of one identity group only"
        return Difference(value=value, n=n, method=method)
    if variance <= _ROUNDING * np.trace(areas.covariance):
        return Difference(value=value, n=n, method="no interval: the difference does not vary")
    error = np.sqrt(variance)
    return Difference(
        value=value,
        low=max(-1.0, float(value - Z * error)),
        high=min(1.0, float(value + Z * error)),
        n=n,
        method="delong" if groups is None else "obuchowski",
        p=float(2 * norm.sf(abs(value) / error)),
        statistic=float(value / error),
        test="paired DeLong z",
    )


def compare_rates(
    challenger: NDArray[np.bool_],
    champion: NDArray[np.bool_],
    groups: Groups | None = None,
) -> Difference:
    """Difference of two proportions of the same images: sensitivity over positives, specificity over negatives.

    challenger and champion (n,): which images each model got right at its frozen threshold. The interval is Tango's
    score interval, of as many images as these are worth where identity groups hold several; below FEWEST_GROUPS groups
    there is none. p is McNemar's where every image is a group of its own, else Obuchowski's version for clusters
    (1998, Statistics in Medicine 17:1495). Where the models never disagree the interval allows for the disagreement
    that so many groups could have missed (Clopper-Pearson). Undefined without images.
    """
    n = len(challenger)
    if n == 0:
        return Difference(value=None, n=0, undefined="no image to compare on")
    # Only groups that are seen here count as evidence.
    groups = (groups or Groups.each_image_alone(n)).within(np.ones(n, dtype=bool))
    gained, lost = challenger & ~champion, champion & ~challenger
    if not (gained | lost).any():
        return _no_disagreement(n, groups.count, "groups with a disagreement")
    n_gained, n_lost = int(gained.sum()), int(lost.sum())
    value = (n_gained - n_lost) / n
    if groups.count < FEWEST_GROUPS:
        return Difference(value=value, n=n, method=f"no interval: fewer than {FEWEST_GROUPS} identity groups")
    if groups.count == n:
        test = mcnemar_test([[0, n_lost], [n_gained, 0]])
    else:
        test = clustered_mcnemar(groups.totals(gained)[0], groups.totals(lost)[0])
    effect = design_effect(gained.astype(np.int64) - lost, groups)
    low, high = score_interval(n_gained / effect, n_lost / effect, n / effect)
    method = "tango score" + (f", design effect {effect:.2f}" if groups.count < n else "")
    return Difference(
        value=value, low=low, high=high, n=n, method=method, p=test.p, statistic=test.statistic, test=test.method
    )


def compare_statistics(
    challenger: Statistic,
    champion: Statistic,
    groups: Groups,
    *,
    n: int,
    resamples: int = 2000,
    seed: int = 0,
    undefined: str = "not defined on these images",
) -> list[Difference]:
    """Differences of any statistics of bootstrap.py, both computed on the same resamples of identity groups.

    For what has no closed form: macro AUC, average precision, F1. Intervals only; p is None.
    """
    estimates = bootstrap(
        difference(challenger, champion), groups, n=n, resamples=resamples, seed=seed, undefined=undefined
    )
    return [Difference(**estimate.model_dump()) for estimate in estimates]


@dataclass(frozen=True, slots=True)
class PairedTest:
    """p of a paired test of two proportions, two-sided. statistic: chi-squared, None where the test is exact."""

    p: float
    statistic: float | None
    discordant: int
    method: str


def mcnemar_test(
    table: Sequence[Sequence[int]], *, exact: bool | None = None, correction: bool = False
) -> PairedTest:
    """McNemar's test of a 2 x 2 table of counts whose off-diagonal cells disagree.

    exact: the binomial test; by default where fewer than 25 disagree. correction: the continuity correction,
    off by default because it makes the test too cautious (Fagerland, Lydersen & Laake 2013, BMC Med Res
    Methodol 13:91).
    """
    discordant = int(table[0][1] + table[1][0])
    if exact is None:
        exact = discordant < EXACT_BELOW
    if discordant == 0:
        return PairedTest(1.0, None, 0, "McNemar, no disagreement")
    result = mcnemar(np.asarray(table), exact=exact, correction=correction)
    statistic = None if exact else float(result.statistic)
    name = "McNemar, exact" if exact else "McNemar" + (", continuity-corrected" if correction else "")
    return PairedTest(float(min(result.pvalue, 1.0)), statistic, discordant, name)


def clustered_mcnemar(gained: NDArray[np.float64], lost: NDArray[np.float64]) -> PairedTest:
    """McNemar's test where groups hold several images: counts (G,) of images gained and lost in each group.

    (G - 1) / G * (sum of differences)^2 / sum of squared differences, chi-squared with one degree of freedom;
    Obuchowski 1998 as simplified by Yang, Sun & Hardin 2010 (Biometrical Journal 52:638).
    """
    net, count = gained - lost, len(gained)
    squares = float(np.sum(net**2))
    statistic = (count - 1) / count * float(net.sum()) ** 2 / squares if squares > 0 else 0.0
    discordant = int(gained.sum() + lost.sum())
    return PairedTest(float(chi2.sf(statistic, 1)), statistic, discordant, "McNemar for clusters (Obuchowski)")


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p values adjusted so that the chance of any false claim among all of them stays below 5 % (Holm 1979).

    A comparison that could not be tested is None, stays None, and still counts: leaving it out afterwards would
    make the others look better.
    """
    return _adjusted(p_values, "holm")


def benjamini_hochberg(p_values: Sequence[float | None]) -> list[float | None]:
    """p values adjusted for the expected share of false claims (Benjamini & Hochberg 1995); None as in `holm`."""
    return _adjusted(p_values, "fdr_bh")


def _adjusted(p_values: Sequence[float | None], method: str) -> list[float | None]:
    if not p_values:
        return []
    adjusted = multipletests([1.0 if p is None else p for p in p_values], method=method)[1]
    return [None if p is None else float(q) for p, q in zip(p_values, adjusted, strict=True)]


def _no_disagreement(n: int, trials: int, of_what: str) -> Difference:
    if trials == 0:
        return Difference(value=0.0, n=n, method="no interval: a single identity group", p=1.0)
    reach = 1 - certainty_bound(trials)
    method = f"clopper-pearson, 0 of {trials} {of_what}"
    return Difference(value=0.0, low=-reach, high=reach, n=n, method=method, p=1.0, test="no disagreement")
