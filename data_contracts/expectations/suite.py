"""Reads the suite files: which checks there are, on which rows, how severe, and why they matter."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data_contracts.catalog import COLUMNS
from data_contracts.errors import UsageProblem
from data_contracts.expectations.report import Severity

SUITE_FOLDER = Path(__file__).parent

# The rows a check looks at. labelled: kept and with a label; unused: kept and without; not_labelled: all that
# are not labelled; in_a_split: with any split, whether or not they should have one; train, val and test are
# labelled rows.
Rows = Literal[
    "all",
    "kept",
    "quarantined",
    "duplicate",
    "labelled",
    "unused",
    "not_labelled",
    "in_a_split",
    "train",
    "val",
    "test",
]

# What a suite file may take from the run, written `{$PARAMETER: name}`.
PARAMETERS = frozenset({"columns", "sources", "classes", "kept_share", "sources_per_class"})


class Check(BaseModel):
    """One entry of a suite file: an expectation, its arguments, and what a reader needs to know of it.

    each_class: the check is made once per class of the task, on that class's rows; the title may then say
    `{class_name}`. class_name: only rows of this class; "" for all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    title: str = Field(min_length=1)
    why: str = Field(min_length=1)
    severity: Severity
    expectation: str
    kwargs: dict[str, Any] = {}
    rows: Rows = "all"
    each_class: bool = False
    class_name: str = ""

    def for_class(self, class_name: str) -> Self:
        """The copy of an `each_class` check that looks at one class."""
        return self.model_copy(
            update={
                "name": f"{self.name}[{class_name}]",
                "title": self.title.replace("{class_name}", class_name),
                "class_name": class_name,
            }
        )


class Suite(BaseModel):
    """A suite file. path says where it lies, for messages; it is not in the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path
    checks: list[Check] = Field(min_length=1)

    @property
    def name(self) -> str:
        return self.path.stem

    def planned(self, classes: list[str]) -> list[Check]:
        """The checks to make for a task with these classes, in the order of the file."""
        return [
            copy
            for check in self.checks
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
    columns = [check.kwargs.get("column"), *check.kwargs.get("column_list", [])]
    for column in columns:
        if column is not None and column not in COLUMNS:
            raise suite_problem(path, f"{check.name}.kwargs: the catalog has no column {column!r}")
    for key, value in check.kwargs.items():
        parameter = value.get("$PARAMETER", "") if isinstance(value, dict) else None
        if parameter is not None and parameter not in PARAMETERS:
            known = ", ".join(sorted(PARAMETERS))
            problem = f"{check.name}.kwargs.{key}: no parameter {parameter!r}; there are {known}"
            raise suite_problem(path, problem)


def suite_problem(path: Path, problem: str) -> UsageProblem:
    """The error for a suite file that says something impossible."""
    return UsageProblem(
        f"{path.name}: {problem}.",
        why="A check that is not made as written would let through what it is there to stop.",
        cure=f"Correct the entry in {path}.",
    )
