"""Reads the suite files: which checks there are, on which rows, how severe, and why they matter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data_contracts.catalog import COLUMNS
from data_contracts.errors import UsageProblem
from data_contracts.expectations.report import Severity
from data_contracts.expectations.rows import Rows
from data_contracts.expectations.window import WINDOW_COLUMNS

SUITE_FOLDER = Path(__file__).parent

# Which suite files are about which table; every other is about the catalog.
_COLUMNS_OF: Mapping[str, frozenset[str]] = {"scoring_window": frozenset(WINDOW_COLUMNS)}

# What a suite file may take from the run, written `{$PARAMETER: name}`.
PARAMETERS = frozenset(
    {
        *("columns", "sources", "classes", "kept_share", "sources_per_class"),
        *("age_limits", "external_sources", "window_columns", "probability_columns"),
    }
)

# Facts about a run that some checks need before they mean anything.
When = Literal["single_label", "multi_label", "official_split", "external_sources"]


class Check(BaseModel):
    """One entry of a suite file: an expectation, its arguments, and what a reader needs to know of it.

    when: the check is made only where this holds of the run; None for always. each_class: the check is made once
    per class of the task, on that class's rows; title and arguments may then say `{class_name}`. each_label: an
    image of a multi-label task counts once for each class it shows. waivable: a written reason in the recipe turns
    a failure for a class into a warning. class_name: only rows of this class; "" for all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    title: str = Field(min_length=1)
    why: str = Field(min_length=1)
    severity: Severity
    expectation: str
    kwargs: dict[str, Any] = {}
    rows: Rows = "all"
    when: When | None = None
    each_class: bool = False
    each_label: bool = False
    waivable: bool = False
    class_name: str = ""

    @property
    def columns(self) -> list[str]:
        """The columns that the arguments name."""
        column, listed = self.kwargs.get("column"), self.kwargs.get("column_list")
        return [*([column] if isinstance(column, str) else []), *(listed if isinstance(listed, list) else [])]

    def for_class(self, class_name: str) -> Self:
        """The copy of an `each_class` check that looks at one class."""
        named = {
            key: value.replace("{class_name}", class_name) if isinstance(value, str) else value
            for key, value in self.kwargs.items()
        }
        return self.model_copy(
            update={
                "name": f"{self.name}[{class_name}]",
                "title": self.title.replace("{class_name}", class_name),
                "kwargs": named,
                "class_name": class_name,
            }
        )

    def with_values(self, parameters: Mapping[str, Any]) -> Self:
        """The copy whose arguments hold the values of the run in place of `{$PARAMETER: name}`."""
        filled = {
            key: parameters[value["$PARAMETER"]] if isinstance(value, dict) and "$PARAMETER" in value else value
            for key, value in self.kwargs.items()
        }
        return self.model_copy(update={"kwargs": filled})


class Suite(BaseModel):
    """A suite file. path says where it lies, for messages; it is not in the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path
    checks: list[Check] = Field(min_length=1)

    @property
    def name(self) -> str:
        return self.path.stem

    def planned(self, classes: list[str], facts: frozenset[str] = frozenset()) -> list[Check]:
        """The checks to make for a task with these classes, in the order of the file. facts: which `when` hold."""
        return [
            copy
            for check in self.checks
            if check.when is None or check.when in facts
            for copy in ([check.for_class(name) for name in classes] if check.each_class else [check])
        ]


def load_suite(path: Path) -> Suite:
    """Read a suite file.

    Raises UsageProblem naming the file and the key where an entry cannot be what was meant.
    """
    try:
        suite = Suite(path=path, checks=yaml.safe_load(path.read_text(encoding="utf-8")))
    except yaml.YAMLError as error:
        raise suite_problem(path, f"is not YAML: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise suite_problem(path, f"{key}: {first['msg']} (given: {first['input']!r})") from error
    for name, count in Counter(check.name for check in suite.checks).items():
        if count > 1:
            raise suite_problem(path, f"{name}: {count} checks have this name")
    for check in suite.checks:
        _require_known_names(path, check)
    return suite


def _require_known_names(path: Path, check: Check) -> None:
    """Columns and parameters are our names; Great Expectations would find a wrong one only while it runs."""
    known = _COLUMNS_OF.get(path.stem, COLUMNS.keys())
    for column in check.columns:
        if column not in known and "{class_name}" not in column:
            table = "the catalog" if known == COLUMNS.keys() else "the table"
            raise suite_problem(path, f"{check.name}.kwargs: {table} has no column {column!r}")
    for key, value in check.kwargs.items():
        parameter = value.get("$PARAMETER", "") if isinstance(value, dict) and "$PARAMETER" in value else None
        if parameter is not None and parameter not in PARAMETERS:
            names = ", ".join(sorted(PARAMETERS))
            problem = f"{check.name}.kwargs.{key}: no parameter {parameter!r}; there are {names}"
            raise suite_problem(path, problem)


def suite_problem(path: Path, problem: str) -> UsageProblem:
    """The error for a suite file that says something impossible."""
    return UsageProblem(
        f"{path.name}: {problem}.",
        why="A check that is not made as written would let through what it is there to stop.",
        cure=f"Correct the entry in {path}.",
    )
