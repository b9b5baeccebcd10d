"""Evidence that is missing is said to be missing: a fold of one class, a class without images, an empty split."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from pydantic import BaseModel

from data_contracts.catalog import Catalog
from data_contracts.errors import ModelGateError
from data_contracts.ontology import Task, TaskClass
from models.evaluation.comparison import compare_auc, judge_non_inferiority
from models.evaluation.evaluate import evaluate
from models.evaluation.predictions import Predictions
from models.evaluation.results import Estimate, Evaluation
from models.evaluation.selection import select_best
from models.evaluation.settings import EvaluationSettings
from models.evaluation.subgroups import subgroups
from models.evaluation.validation_choices import choose_on_validation

SETTINGS = EvaluationSettings(bootstrap_resamples=100)
NAMES = ["a", "b", "c"]
# What needs both sides of a class, and what needs every class: on less they are no numbers at all.
NEEDS_BOTH_SIDES = ("roc_auc", "roc_auc_delong", "average_precision")
NEEDS_EVERY_CLASS = ("macro_auc", "balanced_accuracy", "kappa", "mcc", "macro_f1")


def _task(*, multi_label: bool = False) -> Task:
    return Task("t", "t", tuple(TaskClass(name, name, (name,)) for name in NAMES), multi_label=multi_label)


def _rows(labels: list[str]) -> pd.DataFrame:
    n = len(labels)
    return Catalog.of(
        pd.DataFrame(
            {
                "file": [f"{i:03d}.png" for i in range(n)],
                "image_id": [f"i{i:03d}" for i in range(n)],
                "group_id": [f"g{i:03d}" for i in range(n)],
                "source": "here",
                "row": np.arange(n),
                "label": labels,
                "split": "test",
            }
        )
    ).frame


def _probabilities(n: int) -> NDArray[np.float64]:
    scores = np.random.default_rng(0).random((n, 3))
    return scores / scores.sum(axis=1, keepdims=True)


def _evaluated(labels: list[str], *, multi_label: bool = False, reverse: bool = False) -> Evaluation:
    """The whole way: choices on a fold with these labels, then its evaluation and subgroups."""
    task = _task(multi_label=multi_label)
    rows, probabilities = _rows(labels), _probabilities(len(labels))
    if reverse:
        rows, probabilities = rows.iloc[::-1], probabilities[::-1]
    predictions = Predictions.of(rows, probabilities, NAMES, multi_label=multi_label)
    chosen = choose_on_validation(
        predictions.truth,
        predictions.probabilities,
        NAMES,
        "sigmoid" if multi_label else "softmax",
        SETTINGS,
    )
    measured = evaluate(
        predictions,
        architecture="tiny",
        task=task,
        operating_points=chosen.operating_points,
        rule_in=chosen.rule_in,
        temperature=chosen.temperature,
        settings=SETTINGS,
    )
    tables = subgroups(predictions, rows, task=task, operating_points=chosen.operating_points, settings=SETTINGS)
    return measured.model_copy(update={"subgroups": tables})


def _estimates(model: object) -> Iterator[Estimate]:
    if isinstance(model, Estimate):
        yield model
    elif isinstance(model, BaseModel):
        for name in type(model).model_fields:
            yield from _estimates(getattr(model, name))
    elif isinstance(model, list):
        for item in model:
            yield from _estimates(item)


def test_f30_a_fold_of_one_class_leaves_every_comparison_of_classes_undefined_with_its_reason() -> None:
    found = _evaluated(["a"] * 40)
    for name in NEEDS_EVERY_CLASS:
        assert getattr(found, name).undefined == "no image of class b, c", name
    for one in found.classes:
        for name in NEEDS_BOTH_SIDES:
            estimate = getattr(one, name)
            assert (estimate.value, estimate.low, bool(estimate.undefined)) == (None, None, True), name
        assert one.judgement == "too few to judge"
        assert (one.roc, one.calibration, one.net_benefit, one.abstain) == (None, None, [], None)
        assert all(value.ppv.value is None for value in one.predictive_values)
    assert found.classes[0].specificity.undefined == "no image without this class"
    assert found.classes[1].sensitivity.value is None


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("labels", [[], ["a"], ["a"] * 30, ["a", "b"] * 15, ["a", "b", "c"]])
def test_f30_nothing_is_ever_without_a_value_and_without_a_reason(labels: list[str], multi_label: bool) -> None:
    found = _evaluated(labels, multi_label=multi_label)
    estimates = list(_estimates(found))
    assert len(estimates) > 50
    for one in estimates:
        assert (one.value is None) != (one.undefined == "")
        if one.value is not None and one.low is None:
            assert one.method.startswith("no interval: ")
    assert Evaluation.model_validate_json(found.model_dump_json()) == found


def test_f30_an_empty_class_is_not_read_as_zero() -> None:
    found = _evaluated(["a", "b"] * 30)
    absent = found.classes[2]
    assert absent.n_positive == 0
    assert absent.sensitivity.value is absent.roc_auc.value is absent.average_precision.value is None
    assert found.macro_f1.undefined == found.macro_auc.undefined == "no image of class c"
    assert found.classes[0].roc_auc.value is not None
    assert any("so it was not evaluated" in note for note in found.notes)
    for table in found.subgroups:
        assert all(reading.sensitivity.value is None for reading in table.classes[2].readings)


def test_f30_no_model_is_chosen_and_nothing_passes_where_the_measure_is_undefined() -> None:
    with pytest.raises(ModelGateError, match="undefined for every architecture"):
        select_best([_evaluated(["a"] * 40)])
    scores = _probabilities(40)[:, 0]
    difference = compare_auc(np.ones(40, bool), scores, scores)
    assert difference.undefined == "no negative image"
    verdict = judge_non_inferiority(difference, margin=0.02)
    assert (verdict.verdict, verdict.passed) == ("cannot be judged", False)


@pytest.mark.parametrize("multi_label", [False, True])
def test_f31_the_same_predictions_give_the_same_bytes_in_whatever_order_they_came(multi_label: bool) -> None:
    labels = ["a", "b", "c", "b"] * 20
    first = _evaluated(labels, multi_label=multi_label).model_dump_json()
    assert _evaluated(labels, multi_label=multi_label).model_dump_json() == first
    assert _evaluated(labels, multi_label=multi_label, reverse=True).model_dump_json() == first
