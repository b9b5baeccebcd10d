"""Three answers instead of two: rule out below one threshold, rule in above another, a person reads between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from statsmodels.stats.proportion import proportion_confint

from models.evaluation.intervals import proportion
from models.evaluation.results import RuleIn, ZoneReading

TARGET_SPECIFICITY = 0.98
REQUIRED_LOWER_BOUND = 0.95


@dataclass(frozen=True, slots=True)
class AbstainZone:
    """Scores in [rule_out, rule_in) are left to a person; the zone is empty where the two are equal."""

    rule_out: float
    rule_in: float


def choose_rule_in(
    positive: NDArray[np.bool_],
    scores: NDArray[np.float64],
    *,
    target_specificity: float = TARGET_SPECIFICITY,
    required_lower_bound: float = REQUIRED_LOWER_BOUND,
) -> RuleIn | None:
    """The lowest threshold that keeps the target specificity and the required Wilson lower bound of it.

    positive (n,) and scores (n,) of the validation split. The lowest, because sensitivity only falls above it.
    The threshold is the next float above the highest negative score that must be refused, so that ties with that
    negative are refused too. With too few negatives for the bound the target alone decides. None where
    validation holds no negative image.
    """
    negatives = np.sort(scores[~positive])
    n = len(negatives)
    if n == 0:
        return None
    refused = np.arange(1, n + 1)
    # Compared as counts: 0.98 * 50 is 49 and must not fail on the last bit of 49 / 50.
    on_target = refused >= target_specificity * n - 1e-9
    sure = on_target & (proportion_confint(refused, n, method="wilson")[0] >= required_lower_bound)
    assured = bool(sure.any())
    required = int(refused[sure if assured else on_target][0])
    threshold = float(np.nextafter(negatives[required - 1], np.inf))
    called = scores >= threshold
    kept = int((~called & ~positive).sum())
    note = f"{kept} of {n} validation negatives are refused; at least {required} had to be."
    if not assured:
        note += f" {n} negatives are too few for a Wilson lower bound of {required_lower_bound:g}."
    return RuleIn(
        threshold=threshold,
        target_specificity=target_specificity,
        specificity=proportion(kept, n, undefined=""),
        sensitivity=proportion(
            int((called & positive).sum()), int(positive.sum()), undefined="no positive image in validation"
        ),
        assured=assured,
        note=note,
    )


def choose_rule_ins(
    truth: NDArray[np.int8], probabilities: NDArray[np.float64], class_names: Sequence[str]
) -> dict[str, RuleIn]:
    """The rule-in threshold of each class against the rest, by class name, from the validation split.

    truth (n, K): 1, 0 or -1 where it is unknown, and such an image is left out of that class; probabilities
    (n, K). A class without a positive or without a negative validation image is absent from the result.
    """
    chosen = {}
    for k, name in enumerate(class_names):
        known = truth[:, k] >= 0
        found = choose_rule_in(truth[known, k] == 1, probabilities[known, k])
        if found is not None and (truth[:, k] == 1).any():
            chosen[name] = found
    return chosen


def abstain_zone(rule_out: float, rule_in: float) -> AbstainZone:
    """The zone between the operating point and the rule-in threshold.

    Where the operating point is already as specific as asked, nothing lies between and nobody abstains.
    """
    return AbstainZone(rule_out, max(rule_out, rule_in))


def read_zone(zone: AbstainZone, positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> ZoneReading:
    """Apply a frozen zone to positive (n,) and scores (n,); Wilson intervals over images."""
    ruled_in, ruled_out = scores >= zone.rule_in, scores < zone.rule_out
    decided = ruled_in | ruled_out
    right = (ruled_in & positive) | (ruled_out & ~positive)
    return ZoneReading(
        abstained=proportion(int((~decided).sum()), len(positive), undefined="no image"),
        decided_accuracy=proportion(int(right.sum()), int(decided.sum()), undefined="no image is decided"),
        missed=proportion(int((ruled_out & positive).sum()), int(positive.sum()), undefined="no positive image"),
        false_alarm=proportion(
            int((ruled_in & ~positive).sum()), int((~positive).sum()), undefined="no negative image"
        ),
    )
