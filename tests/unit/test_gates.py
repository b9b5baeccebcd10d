"""Gates of a review that hold where something was not measured: absent evidence is never a pass."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from models.evaluation.comparison import Difference, judge_non_inferiority
from models.evaluation.results import ClassSubgroups, Estimate, Evaluation, SubgroupTable, WorstGroup
from models.review.gates import class_auc_gate, subgroup_gap_gate, wear_gate
from models.review.results import Compared, ComparedClass, Comparison
from models.review.settings import ReviewSettings

SOME = Estimate(value=0.9, low=0.8, high=0.95, n=100)
NOT_WORSE = Difference(value=0.0, low=-0.01, high=0.01, n=100, method="delong")
WORSE = Difference(value=-0.1, low=-0.15, high=-0.05, n=100, method="delong")
ONE_PATIENT = Difference(value=-0.1, n=100, method="no interval: a side has images of one identity group only")


def comparison(*of_classes: Difference) -> Comparison:
    """AUC differences, one for each class."""

    def compared(observed: Difference) -> Compared:
        judged = judge_non_inferiority(observed, margin=0.02)
        return Compared(measure="ROC AUC", challenger=SOME, champion=SOME, judged=judged)

    rest = compared(NOT_WORSE)
    classes = [
        ComparedClass(
            name=f"class-{k}",
            title=f"Class {k}",
            n_positive=50,
            n_negative=50,
            auc=compared(observed),
            sensitivity=rest,
            specificity=rest,
        )
        for k, observed in enumerate(of_classes)
    ]
    return Comparison(
        n=100,
        n_groups=100,
        test_set="t",
        primary=rest,
        classes=classes,
        subgroups=[],
        not_there=[],
        rescored=False,
    )


def evaluation(*, readings: int | None = None, gap: Estimate | None = None) -> Evaluation:
    """As much of one as these gates read."""
    tables = []
    if gap is not None:
        worst = WorstGroup(group="under 5 years", gap=gap, too_wide=gap.value is not None and gap.value > 0.1)
        one = ClassSubgroups(name="covid19", title="COVID-19", readings=[], worst=worst)
        tables = [SubgroupTable(by="age", title="Age", n={}, not_evaluated=[], n_unknown=0, classes=[one])]
    return cast(Evaluation, SimpleNamespace(readings=readings, subgroups=tables))


def test_a_class_whose_areas_cannot_be_compared_is_no_class_that_passed() -> None:
    assert class_auc_gate(comparison(NOT_WORSE, NOT_WORSE)).outcome == "pass"
    for classes in ((ONE_PATIENT, ONE_PATIENT), (NOT_WORSE, ONE_PATIENT)):
        held = class_auc_gate(comparison(*classes))
        assert held.outcome == "hold"
        assert "cannot be judged: Class" in held.why
        assert "one identity group only" in held.why
    both = class_auc_gate(comparison(WORSE, ONE_PATIENT)).why
    assert both.startswith("ROC AUC is shown to be worse: Class 0 ")
    assert "ROC AUC cannot be judged: Class 1 " in both


@pytest.mark.parametrize("measured", [None, evaluation()])
def test_a_test_set_whose_readings_nobody_counted_may_be_worn_out(measured: Evaluation | None) -> None:
    held = wear_gate(measured, ReviewSettings())
    assert (held.outcome, held.why) == ("hold", "Readings of this test set were not counted.")
    assert wear_gate(evaluation(readings=1), ReviewSettings()).outcome == "pass"
    assert wear_gate(evaluation(readings=51), ReviewSettings()).outcome == "hold"


def test_a_wide_gap_without_an_interval_holds_and_says_so() -> None:
    gap = Estimate(value=0.70, n=24, method="no interval: 263 of 2000 resamples lack a class")
    held = subgroup_gap_gate(evaluation(gap=gap))
    assert held.outcome == "hold"
    assert held.why == "Sensitivity lags in COVID-19, age under 5 years: 0.70 below, no interval."
    shown = subgroup_gap_gate(evaluation(gap=gap.model_copy(update={"low": 0.5, "high": 0.9})))
    assert (shown.outcome, shown.why) == ("hold", "Sensitivity lags in COVID-19, age under 5 years: 0.70 below.")
    assert subgroup_gap_gate(evaluation(gap=Estimate(value=0.05, n=24))).outcome == "pass"
