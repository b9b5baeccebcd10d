"""From a number with its interval to pass, warn or fail.

A verdict speaks of what is shown: it fails where the whole interval lies from the failing limit on, and passes where
the interval begins in the passing range and does not reach the failing one. An interval that spans both is too wide
to tell and warns.
"""

from __future__ import annotations

from models.audit.results import BARE_AUC, Limits, Verdict
from models.evaluation.results import Estimate
from models.reports.formatting import decimal

_ALL_THE_SAME = "no interval: all resamples give the same value"


def interval(estimate: Estimate) -> tuple[float, float] | None:
    """Both ends; twice the value where every resample gives it; None where there is no value or no interval."""
    if estimate.value is None:
        return None
    if estimate.low is not None and estimate.high is not None:
        return estimate.low, estimate.high
    return (estimate.value, estimate.value) if estimate.method == _ALL_THE_SAME else None


def judge(estimate: Estimate, limits: Limits) -> tuple[Verdict, str]:
    """The verdict on a number of which more is worse, and why."""
    ends = interval(estimate)
    if ends is None:
        return "not evaluated", estimate.undefined or estimate.method
    low, high = ends
    said = f"The interval is {decimal(low, 3)} to {decimal(high, 3)}"
    if limits.fail_from is not None and low >= limits.fail_from:
        return "fail", f"{said}, all of it from {limits.fail_from:g} on."
    if low >= limits.warn_from:
        return "warn", f"{said}, all of it from {limits.warn_from:g} on."
    if limits.fail_from is not None and high >= limits.fail_from:
        return "warn", (
            f"{said}: it begins below {limits.warn_from:g} and ends above {limits.fail_from:g}, "
            "so there are too few images to tell."
        )
    return "pass", f"{said}; it begins below {limits.warn_from:g}" + (
        "." if limits.fail_from is None else f" and ends below {limits.fail_from:g}."
    )


def judge_without_disease(auc: Estimate, share: Estimate, limits: Limits) -> tuple[Verdict, str]:
    """The verdict on an AUC reached without seeing the lungs, and why.

    share: (auc - 0.5) / (AUC of the model - 0.5), undefined where the model itself is hardly better than chance;
    limits are of the share. An AUC shown to be at least BARE_AUC cannot pass, and one that is not shown to be cannot
    fail.
    """
    ends = interval(auc)
    if ends is None:
        return "not evaluated", auc.undefined or auc.method
    shown = ends[0] >= BARE_AUC
    said = f"The AUC's interval is {decimal(ends[0], 3)} to {decimal(ends[1], 3)}"
    if interval(share) is None:
        if shown:
            return "warn", f"{said}, from {BARE_AUC:g} on; there is nothing to compare it with: {share.undefined}."
        return "not evaluated", share.undefined or share.method
    verdict, reason = judge(share, limits)
    if shown and verdict == "pass":
        return "warn", f"{said}, from {BARE_AUC:g} on, though the share of the model's is small."
    if not shown and verdict == "fail":
        return "warn", f"{said}, which begins below {BARE_AUC:g}, though the share of the model's is large."
    return verdict, f"{said}. Share of the model's: {reason[0].lower()}{reason[1:]}"
