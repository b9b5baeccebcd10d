"""What a change plan allows, what it does not name, and what it says of a file that is no plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from data_contracts.errors import UsageProblem
from models.review.change_plan import ChangePlan, compare_with_plan, read_change_plan
from pipelines.recipe import CHANGE_PLAN, load_recipe, recipe_names

BEFORE: dict[str, Any] = {
    "training.seed": 0,
    "training.epochs": 10,
    "task": "a",
    "architectures.resnet18.epochs": 5,
}


def plan(*allowed: dict[str, Any]) -> ChangePlan:
    entries = [{"why": "it was foreseen", **one} for one in allowed]
    return ChangePlan.model_validate({"version": 1, "purpose": "for the tests", "allowed": entries})


def outside(chosen: ChangePlan, **after: Any) -> list[str]:
    changed = {**BEFORE, **{key.replace("__", "."): value for key, value in after.items()}}
    return [change.key for change in compare_with_plan(chosen, BEFORE, changed).outside]


def test_a_setting_the_plan_names_may_change_and_any_other_may_not() -> None:
    chosen = plan({"key": "training.seed"})
    assert outside(chosen, training__seed=1) == []
    assert outside(chosen, training__seed=1, task="b") == ["task"]


def test_a_section_covers_all_below_it_and_a_star_one_name() -> None:
    assert outside(plan({"key": "training"}), training__seed=1, training__epochs=3) == []
    assert outside(plan({"key": "architectures.*.epochs"}), architectures__resnet18__epochs=6) == []
    assert outside(plan({"key": "architectures.*"}), training__seed=1) == ["training.seed"]
    # A name that merely begins alike is another setting.
    assert outside(plan({"key": "train"}), training__seed=1) == ["training.seed"]


@pytest.mark.parametrize(("epochs", "inside"), [(1, True), (20, True), (21, False), (0, False), ("many", False)])
def test_bounds_hold_for_the_new_value(epochs: object, inside: bool) -> None:
    found = outside(plan({"key": "training.epochs", "low": 1, "high": 20}), training__epochs=epochs)
    assert (found == []) is inside


def test_a_setting_may_be_limited_to_named_values() -> None:
    chosen = plan({"key": "training.loss", "one_of": ["auto", None]})
    assert outside(chosen, training__loss="auto") == []
    assert outside(chosen, training__loss="focal") == ["training.loss"]


def test_a_setting_that_is_gone_or_new_is_a_change_and_says_so() -> None:
    report = compare_with_plan(plan(), {"a": 1}, {"b": 2})
    assert [(c.key, c.before, c.after) for c in report.changes] == [("a", "1", "absent"), ("b", "absent", "2")]
    assert len(report.outside) == 2


def test_equal_settings_are_no_change() -> None:
    assert compare_with_plan(plan(), BEFORE, dict(BEFORE)).changes == []


def test_the_plan_that_is_shipped_allows_new_data_and_seed_but_not_margins_or_preprocessing() -> None:
    shipped = read_change_plan(CHANGE_PLAN)
    assert shipped.judge("data.catalog", "x")[0]
    assert shipped.judge("training.seed", 4)[0]
    for key in ("review.auc_margin", "model.preprocessing.mode", "task", "sources", "evaluation.primary_metric"):
        assert not shipped.judge(key, None)[0], key


def test_the_shipped_plan_names_only_settings_that_recipes_have() -> None:
    recipe = load_recipe("merged").model_dump(mode="json")
    for one in read_change_plan(CHANGE_PLAN).allowed:
        section, *below = one.key.split(".")
        if section == "data":
            continue
        keys = recipe[section][0] if section == "architectures" else recipe.get(section, {})
        assert section in recipe or section == "audit", one.key
        name = below[-1] if below else ""
        assert not name or name in keys, one.key


def test_the_change_plan_lies_beside_the_recipes_and_is_none() -> None:
    assert CHANGE_PLAN.is_file()
    assert "change_plan" not in recipe_names()


@pytest.mark.parametrize(
    "text",
    [
        "version: 2\npurpose: long enough\nallowed: []\n",
        "version: 1\npurpose: long enough\nallowed: [{key: a.b}]\n",
        "version: 1\npurpose: long enough\nallowed: [{key: 'a..b', why: long enough it is}]\n",
        "version: 1\npurpose: long enough\nallowed: [{key: a, low: 1, one_of: [2], why: long enough it is}]\n",
        "- a\n- list\n",
        "a: [unclosed\n",
        "",
    ],
)
def test_a_file_that_is_no_plan_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.yaml").write_text(text)
    with pytest.raises(UsageProblem, match=r"plan\.yaml is no change plan"):
        read_change_plan(tmp_path / "plan.yaml")
