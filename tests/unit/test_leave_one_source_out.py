"""The leave-one-source-out table: gaps, means with intervals, and the classes that no held-out source can test."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from data_contracts.errors import ModelGateError
from data_contracts.ontology import Task, TaskClass
from models.evaluation.evaluate import evaluate
from models.evaluation.intervals import proportion
from models.evaluation.leave_one_source_out import LeaveOneSourceOut, independent_mean, leave_one_source_out
from models.evaluation.predictions import Predictions
from models.evaluation.results import Estimate, Evaluation, Evaluations
from models.evaluation.settings import EvaluationSettings

TASK = Task("t", "t", tuple(TaskClass(name, name.upper(), (name,)) for name in ("a", "b", "c")))


def _evaluation(split: str, classes: int, skill: float, n: int = 120, architecture: str = "tiny") -> Evaluation:
    """Images of the first `classes` classes in turn, from another seed for each skill."""
    labels = np.arange(n) % classes
    scores = np.random.default_rng(int(100 * skill)).random((n, 3)) + skill * np.eye(3)[labels]
    rows = pd.DataFrame(
        {
            "image_id": [f"{i:04d}" for i in range(n)],
            "group_id": [f"g{i:04d}" for i in range(n)],
            "patient": "",
            "source": "s",
            "split": split,
            "label": np.array(TASK.class_names)[labels],
        }
    )
    return evaluate(
        Predictions.of(rows, scores / scores.sum(axis=1, keepdims=True), TASK.class_names),
        architecture=architecture,
        task=TASK,
        operating_points={},
        split=split,
        settings=EvaluationSettings(bootstrap_resamples=100),
    )


def _run(classes: int, skill: float, **changes: object) -> Evaluations:
    test = _evaluation("test", 3, 0.6)
    external = _evaluation("external", classes, skill) if classes else None
    run = Evaluations(validation=test, test=test, external=external)
    return run.model_copy(update=changes)


def test_each_source_has_what_is_left_of_every_class_it_holds() -> None:
    table = leave_one_source_out({"nih": _run(3, 0.3), "mendeley": _run(2, 0.5)})
    mendeley, nih = table.sources
    assert (mendeley.source, nih.source, nih.n) == ("mendeley", "nih", 120)
    assert ([one.title for one in mendeley.classes], mendeley.absent) == (["A", "B"], ["C"])
    assert nih.absent == []
    auc = nih.classes[0].measures["roc_auc"]
    assert auc.gap.value == pytest.approx(auc.held_out.value - auc.internal.value)
    assert auc.gap.high < 0
    assert table.not_testable == []
    assert LeaveOneSourceOut.model_validate_json(table.model_dump_json()) == table


def test_the_means_are_over_the_sources_with_a_primary_metric() -> None:
    runs = {"x": _run(3, 0.3), "y": _run(3, 0.5), "z": _run(2, 0.5)}  # z lacks a class: no macro AUC there
    table = leave_one_source_out(runs)
    assert table.primary_metric == "macro_auc"
    held_out = [table.sources[i].primary.held_out.value for i in (0, 1)]
    assert table.mean_held_out.value == pytest.approx(np.mean(held_out))
    assert table.gap.value == pytest.approx(table.mean_held_out.value - table.mean_internal.value)
    assert table.worst == "x"
    assert table.sources[2].primary.held_out.undefined == "no image of class c"


def test_a_class_of_one_source_cannot_be_tested_and_is_named() -> None:
    table = leave_one_source_out({"x": _run(2, 0.3), "y": _run(2, 0.5)})
    assert table.not_testable == ["C"]
    assert table.mean_held_out.undefined == "defined on no held-out source"
    assert table.worst == ""


def test_a_mean_of_shares_has_the_interval_of_their_bounds() -> None:
    first, second = proportion(40, 50, undefined=""), proportion(60, 100, undefined="")
    mean = independent_mean([first, second])
    assert (mean.value, mean.n) == (pytest.approx(0.7), 150)
    below = math.hypot(first.value - first.low, second.value - second.low)
    assert mean.low == pytest.approx(0.7 - below / 2)
    point = Estimate(value=1.0, n=3, method="no interval: all resamples give the same value")
    assert independent_mean([first, point]).method == "no interval: one of the sources has none"
    assert independent_mean([first]).low == pytest.approx(first.low)


def test_runs_that_cannot_stand_in_one_table_are_refused() -> None:
    with pytest.raises(ModelGateError, match="given 0"):
        leave_one_source_out({})
    with pytest.raises(ModelGateError, match="held out y has no external images"):
        leave_one_source_out({"x": _run(3, 0.3), "y": _run(0, 0.3)})
    other = _run(3, 0.5, test=_evaluation("test", 3, 0.8, architecture="other"))
    with pytest.raises(ModelGateError, match=r"other over a, b, c.*tiny over a, b, c"):
        leave_one_source_out({"x": _run(3, 0.3), "y": other})
