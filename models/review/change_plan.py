"""The change plan: what retraining may change without a new review of the design, and whether a challenger kept to it.

The plan is written before the training it judges. It follows the idea of a predetermined change control plan (FDA,
final guidance of December 2024): a description of allowed modifications, each with its bounds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, ValidationError, model_validator

from data_contracts.errors import UsageProblem
from models.registry.bundle import BundleSpec
from models.registry.sealed_folder import canonical_json
from models.review.results import Change, ChangeReport

ABSENT = "absent"
_NOT_COMPARED = ("title",)  # words for people


class AllowedChange(BaseModel):
    """One setting that may change. key: a path such as training.epochs; `*` stands for one name; a section allows all
    below it. low, high: bounds of the new value, both allowed. one_of: the values it may take. why: in words.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: Annotated[str, StringConstraints(pattern=r"^[\w*-]+(\.[\w*-]+)*$")]
    low: float | None = None
    high: float | None = None
    one_of: list[JsonValue] | None = None
    why: str = Field(min_length=10)

    @model_validator(mode="after")
    def _one_kind_of_bound(self) -> Self:
        if self.one_of is not None and (self.low is not None or self.high is not None):
            raise ValueError(f"{self.key}: give low and high, or one_of")
        return self

    def covers(self, key: str) -> bool:
        """Whether the key is this one or lies below it."""
        own, asked = self.key.split("."), key.split(".")
        return len(own) <= len(asked) and all(a in ("*", b) for a, b in zip(own, asked, strict=False))

    def problem_with(self, value: JsonValue) -> str:
        """Why the new value is out of bounds, or ""."""
        if self.one_of is not None:
            return "" if value in self.one_of else f"allowed are {', '.join(map(json.dumps, self.one_of))}"
        if self.low is None and self.high is None:
            return ""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return "the plan bounds a number here"
        if self.low is not None and value < self.low:
            return f"the plan allows no less than {self.low:g}"
        if self.high is not None and value > self.high:
            return f"the plan allows no more than {self.high:g}"
        return ""


class ChangePlan(BaseModel):
    """What retraining may change. Everything that is not named may not."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1]
    purpose: str = Field(min_length=10)
    allowed: list[AllowedChange]

    @property
    def content_hash(self) -> str:
        return hashlib.sha256(canonical_json(self.model_dump(mode="json"))).hexdigest()

    def judge(self, key: str, after: JsonValue) -> tuple[bool, str]:
        """Whether the plan allows a setting to become `after`, and the reason either way."""
        covering = [one for one in self.allowed if one.covers(key)]
        if not covering:
            return False, "the plan does not name this setting"
        problems = [one.problem_with(after) for one in covering]
        if "" in problems:
            return True, covering[problems.index("")].why
        return False, problems[0]


def read_change_plan(path: Path) -> ChangePlan:
    """A plan from YAML. Raises UsageProblem naming file, key and what is wrong with it."""
    try:
        return ChangePlan.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        problem = f"{'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg'].removeprefix('Value error, ')}"
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        problem = " ".join(str(error).split())
    raise UsageProblem(
        f"{path.name} is no change plan: {problem}.",
        why="Without it nobody can say whether this retraining was foreseen.",
        cure="Mend that place; pipelines/recipes/change_plan.yaml shows the form.",
    )


def settings_of(spec: BundleSpec, recipe: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Everything that shapes a version, by path: its recipe, and under `model` and `data` what came of it.

    Items of a list that have a name are told apart by it: architectures.resnet18.epochs. Where the recipe trains
    several architectures, only that of the version counts, because the others do not shape it.
    """
    shaping = {name: value for name, value in recipe.items() if name not in _NOT_COMPARED}
    competitors = shaping.get("architectures")
    if isinstance(competitors, list):
        shaping["architectures"] = [
            one for one in competitors if isinstance(one, dict) and one.get("name") == spec.architecture
        ]
    shaping["model"] = {
        "architecture": spec.architecture,
        "output": spec.output,
        "class_names": list(spec.class_names),
        "in_chans": spec.in_chans,
        "preprocessing": spec.preprocessing.model_dump(mode="json"),
        "initial_weights": spec.initial_weights,
    }
    shaping["data"] = {"catalog": spec.data_hash}
    return dict(_flat(shaping))


def compare_with_plan(
    plan: ChangePlan, before: Mapping[str, JsonValue], after: Mapping[str, JsonValue]
) -> ChangeReport:
    """Each path whose value differs, by path, with what the plan says of it."""
    changes = []
    for key in sorted({*before, *after}):
        if key in before and key in after and before[key] == after[key]:
            continue
        # What is gone has no new value to be within bounds: naming it is enough.
        allowed, why = plan.judge(key, after.get(key))
        changes.append(
            Change(key=key, before=_said(before, key), after=_said(after, key), allowed=allowed, why=why)
        )
    return ChangeReport(plan=plan.content_hash, changes=changes)


def _flat(value: JsonValue, prefix: str = "") -> Iterator[tuple[str, JsonValue]]:
    if isinstance(value, dict) and value:
        for name, below in value.items():
            yield from _flat(below, f"{prefix}{name}.")
    elif isinstance(value, list) and value and all(isinstance(one, dict) and "name" in one for one in value):
        for one in value:
            if isinstance(one, dict):
                yield from _flat(one, f"{prefix}{one['name']}.")
    else:
        yield prefix.removesuffix("."), value


def _said(values: Mapping[str, JsonValue], key: str) -> str:
    return json.dumps(values[key], ensure_ascii=False, sort_keys=True) if key in values else ABSENT
