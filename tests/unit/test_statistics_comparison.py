"""Paired tests and verdicts against published tables, and what counts as no worse than the champion."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import multinomial

from models.evaluation.bootstrap import Groups, average_precision
from models.evaluation.comparison import (
    Difference,
    Margins,
    benjamini_hochberg,
    clustered_mcnemar,
    compare_auc,
    compare_rates,
    compare_statistics,
    holm,
    judge_non_inferiority,
    mcnemar_test,
)
from models.evaluation.paired_score import design_effect, score_interval

# Agresti 1990, Categorical Data Analysis, p. 350: approval of the president in two surveys.
APPROVAL = [[794, 150], [86, 570]]
SMALL_TABLE = [[26, 15], [7, 37]]


def test_mcnemar_gives_the_published_values_of_the_approval_survey() -> None:
    plain = mcnemar_test(APPROVAL)
    assert (plain.statistic, plain.p) == pytest.approx((17.3559, 3.099e-5), rel=1e-4)
    corrected = mcnemar_test(APPROVAL, correction=True)
    assert (corrected.statistic, corrected.p) == pytest.approx((16.8178, 4.1146e-5), rel=1e-4)
    assert mcnemar_test(APPROVAL, exact=True).p == pytest.approx(3.7159e-5, rel=1e-4)


def test_mcnemar_is_exact_where_few_disagree() -> None:
    exact = mcnemar_test(SMALL_TABLE)
    assert exact.statistic is None
    assert exact.p == pytest.approx(0.133801, abs=1e-6)
    plain, corrected = (mcnemar_test(SMALL_TABLE, exact=False, correction=c) for c in (False, True))
    assert (plain.statistic, plain.p) == pytest.approx((2.9091, 0.08808), abs=5e-5)
    assert (corrected.statistic, corrected.p) == pytest.approx((2.2273, 0.1356), abs=5e-5)
    assert mcnemar_test([[9, 0], [0, 9]]).p == 1


P_VALUES = [0.01, 0.04, 0.03, 0.005]


def test_adjusted_p_values_are_the_published_ones() -> None:
    assert holm(P_VALUES) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert benjamini_hochberg(P_VALUES) == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert holm([]) == []


@pytest.mark.parametrize("adjust", [holm, benjamini_hochberg])
def test_a_comparison_that_could_not_be_tested_stays_so_and_still_counts(adjust: object) -> None:
    assert adjust([0.02, None]) == [pytest.approx(0.04), None]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(max_examples=15, deadline=None)  # statsmodels collects garbage in every call
def test_holm_is_never_milder_than_benjamini_hochberg_nor_harsher_than_bonferroni(p_values: list[float]) -> None:
    for p, mild, strict in zip(p_values, benjamini_hochberg(p_values), holm(p_values), strict=True):
        assert p - 1e-12 <= mild <= strict + 1e-12
        assert strict <= min(1, p * len(p_values)) + 1e-12


def hits(gained: int, lost: int, both: int = 80, neither: int = 10) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    counts = [both, gained, lost, neither]
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


def test_the_difference_of_sensitivities_is_positive_where_the_challenger_finds_more() -> None:
    compared = compare_rates(*hits(gained=9, lost=1))
    assert compared.value == pytest.approx(0.08)
    assert 0 < compared.low < 0.08 < compared.high < 0.2
    assert compared.p == pytest.approx(mcnemar_test([[80, 1], [9, 10]]).p)
    assert compared.test == "McNemar, exact"
    swapped = compare_rates(*reversed(hits(gained=9, lost=1)))
    assert (swapped.value, swapped.low, swapped.high) == pytest.approx((-0.08, -compared.high, -compared.low))


@pytest.mark.parametrize(
    ("gained", "lost", "n", "low", "high"),
    [
        # Fagerland, Lydersen & Laake 2014 (Statistics in Medicine 33:2850) and their package contingencytables.
        (1, 7, 21, -0.517, -0.026),  # airway hyper-responsiveness, Bentur et al. 2009
        (6, 16, 161, -0.1240, -0.0054),  # complete response, Cavo et al. 2012
        # Where nothing differs it is z^2 / (n + z^2) to both sides, where everything does 1 - 2 z^2 / (n + z^2) to 1.
        (0, 0, 100, -3.841459 / 103.841459, 3.841459 / 103.841459),
        (50, 0, 50, 1 - 2 * 3.841459 / 53.841459, 1.0),
    ],
)
def test_the_score_interval_is_the_published_one(gained: int, lost: int, n: int, low: float, high: float) -> None:
    places = 5e-4 if n == 21 else 5e-5
    assert score_interval(gained, lost, n) == pytest.approx((low, high), abs=places)
    assert score_interval(lost, gained, n) == pytest.approx((-high, -low), abs=places)


def test_losing_no_image_is_no_certainty_of_losing_none() -> None:
    for gained, n in ((1, 50), (1, 100), (3, 50)):
        compared = compare_rates(*hits(gained, 0, both=n - gained, neither=0))
        assert compared.low < 0, "a bootstrap never sees a loss and says 0"
        swapped = compare_rates(*reversed(hits(gained, 0, both=n - gained, neither=0)))
        assert swapped.high == -compared.low
    once = compare_rates(*hits(1, 0, both=49, neither=0))
    assert judge_non_inferiority(once, margin=0.05).verdict == "inconclusive"
    # Losing none and gaining many is more than not being worse.
    assert compare_rates(*hits(20, 0)).low > 0


def test_few_patients_cannot_be_judged_however_many_images_they_have() -> None:
    challenger, champion = hits(1, 0, both=59, neither=0)
    compared = compare_rates(challenger, champion, Groups.of(np.arange(60) // 20))
    assert compared.method == "no interval: fewer than 10 identity groups"
    assert judge_non_inferiority(compared, margin=0.05).verdict == "cannot be judged"


@pytest.mark.parametrize(("n", "margin", "p_gained"), [(50, 0.05, 0.03), (125, 0.03, 0.002), (250, 0.03, 0.002)])
def test_a_model_worse_by_the_margin_passes_at_most_as_often_as_was_agreed(
    n: int, margin: float, p_gained: float
) -> None:
    """Exact: every outcome, times its probability. The bootstrap's intervals let 4.8, 8.8 and 6.2 % pass."""
    p_lost, passed, looked_at = p_gained + margin, 0.0, 0.0
    for gained in range(10):
        for lost in range(26):
            p = multinomial.pmf([gained, lost, n - gained - lost], n, [p_gained, p_lost, 1 - p_gained - p_lost])
            if p > 1e-6:
                compared = compare_rates(*hits(gained, lost, both=n - gained - lost, neither=0))
                passed += p * judge_non_inferiority(compared, margin=margin).passed
                looked_at += p
    assert looked_at > 0.999
    assert passed < 0.025


def test_a_design_effect_counts_alike_images_once() -> None:
    rng = np.random.default_rng(0)
    of_patient = rng.choice([-1, 0, 1], 400, p=[0.1, 0.8, 0.1])
    three_each = Groups(np.repeat(np.arange(400), 3), 400)
    assert design_effect(np.repeat(of_patient, 3), three_each) == pytest.approx(3)
    assert design_effect(rng.permutation(np.repeat(of_patient, 3)), three_each) < 1.2
    assert design_effect(of_patient, Groups.each_image_alone(400)) == 1
    # One image of one patient differs: nobody saw whether the others would have differed with it.
    once = np.zeros(1200, dtype=np.int64)
    once[0] = 1
    assert design_effect(once, three_each) == pytest.approx(3)
    uneven = Groups(np.repeat(np.arange(40), [1] * 39 + [21]), 40)
    assert design_effect(once[:60], uneven) == pytest.approx((39 + 21**2) / 60)
    # All of them differ, so there is nothing to see a likeness by.
    assert design_effect(np.ones(1200, dtype=np.int64), three_each) == 3


def test_mcnemar_for_clusters_is_mcnemars_where_each_image_is_a_patient_up_to_its_small_sample_factor() -> None:
    gained, lost = np.zeros(1000), np.zeros(1000)
    gained[:40] = 1
    lost[40:60] = 1
    clustered = clustered_mcnemar(gained, lost)
    assert clustered.statistic == pytest.approx(0.999 * mcnemar_test([[0, 20], [40, 0]]).statistic)


def test_five_copies_of_every_patient_are_no_new_evidence_of_a_difference() -> None:
    challenger, champion = hits(gained=30, lost=15)
    groups = Groups(np.repeat(np.arange(len(challenger)), 5), len(challenger))
    once = compare_rates(challenger, champion)
    five = compare_rates(np.repeat(challenger, 5), np.repeat(champion, 5), groups)
    assert five.test == "McNemar for clusters (Obuchowski)"
    assert five.p == pytest.approx(once.p, rel=0.05)
    assert (five.low, five.high) == pytest.approx((once.low, once.high), abs=1e-12)
    careless = compare_rates(np.repeat(challenger, 5), np.repeat(champion, 5))
    assert careless.p < once.p / 100


def test_models_that_never_disagree_may_still_differ_by_what_so_few_patients_can_hide() -> None:
    same, _ = hits(gained=0, lost=0)
    compared = compare_rates(same, same)
    assert (compared.value, compared.p) == (0, 1)
    assert compared.high == -compared.low == pytest.approx(1 - 0.025 ** (1 / 90))
    patients = compare_rates(same, same, Groups.of(np.arange(90) // 9))
    assert patients.method == "clopper-pearson, 0 of 10 groups with a disagreement"
    assert compare_rates(same[:0], same[:0]).undefined == "no image to compare on"


def test_groups_without_an_image_in_the_comparison_are_no_evidence() -> None:
    same, _ = hits(gained=0, lost=0)
    groups = Groups(np.arange(90), 5000)  # as when only the positives of a split are compared
    assert compare_rates(same, same, groups).method.startswith("clopper-pearson, 0 of 90 ")


def test_any_bootstrap_statistic_can_be_compared() -> None:
    generator = np.random.default_rng(0)
    positive = generator.random(300) < 0.3
    better, worse = (generator.normal(size=300) + gain * positive for gain in (2.0, 0.5))
    groups = Groups.of(np.arange(300) // 2)
    of = [average_precision(positive, scores, groups) for scores in (better, worse)]
    (compared,) = compare_statistics(*of, groups, n=300, resamples=300)
    assert 0 < compared.low < compared.value
    assert compared.p is None
    (with_itself,) = compare_statistics(of[0], of[0], groups, n=300, resamples=100)
    assert with_itself.method.startswith("no interval")
    assert judge_non_inferiority(with_itself, margin=0.02).verdict == "cannot be judged"


def interval(low: float, high: float, p: float = 0.5) -> Difference:
    return Difference(value=(low + high) / 2, low=low, high=high, n=500, method="delong", p=p)


@pytest.mark.parametrize(
    ("low", "high", "adjusted_p", "verdict"),
    [
        (-0.010, 0.030, None, "non-inferior"),
        (-0.019, -0.001, 0.03, "non-inferior"),
        (-0.020, 0.040, None, "inconclusive"),  # on the margin is not above it
        (-0.090, 0.090, None, "inconclusive"),
        (-0.090, -0.021, 0.001, "inferior"),
        (0.001, 0.030, 0.04, "superior"),
        (0.001, 0.030, 0.06, "non-inferior"),  # not significant after the correction
        (0.001, 0.030, None, "non-inferior"),  # nothing corrected, nothing claimed
    ],
)
def test_the_verdict_follows_from_the_interval_and_the_margin(
    low: float, high: float, adjusted_p: float | None, verdict: str
) -> None:
    judged = judge_non_inferiority(interval(low, high), margin=Margins().auc, adjusted_p=adjusted_p)
    assert judged.verdict == verdict
    assert judged.passed == (verdict in ("superior", "non-inferior"))
    assert judged.why


def test_without_evidence_nothing_passes() -> None:
    nothing = Difference(value=None, n=0, undefined="no positive image")
    judged = judge_non_inferiority(nothing, margin=0.02)
    assert (judged.verdict, judged.passed, judged.why) == ("cannot be judged", False, "no positive image")


def test_an_identical_challenger_is_non_inferior_only_with_enough_images() -> None:
    generator = np.random.default_rng(0)
    verdicts = []
    for n in (200, 2000):
        positive, scores = np.arange(n) % 2 == 0, generator.normal(size=n)
        verdicts.append(judge_non_inferiority(compare_auc(positive, scores, scores), margin=0.02).verdict)
    assert verdicts == ["inconclusive", "non-inferior"]


def test_the_margins_are_those_of_the_promotion_rule() -> None:
    margins = Margins()
    assert (margins.auc, margins.sensitivity, margins.subgroup) == (0.02, 0.03, 0.05)
    assert margins.minimum_subgroup_positives == 50
