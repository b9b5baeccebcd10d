"""Runs a suite file on a catalog with Great Expectations."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from data_contracts.catalog import COLUMNS, DUPLICATE, KEPT, QUARANTINED, Catalog
from data_contracts.expectations.report import MAX_NAMED_ROWS, ValidationCheck, ValidationReport
from data_contracts.expectations.suite import SUITE_FOLDER, Check, Rows, Suite, load_suite, suite_problem
from data_contracts.telemetry import switch_off_telemetry

if TYPE_CHECKING:
    import pandas as pd
    from great_expectations.core import ExpectationValidationResult
    from great_expectations.expectations.expectation import Expectation
    from great_expectations.expectations.row_conditions import Condition

_EXAMPLES = 3
_KEY = ("source", "file")
# Their values can tell who a patient is, or say nothing to a reader.
_UNQUOTED_COLUMNS = frozenset({"patient", "file", "image_id", "group_id"})


def validate_catalog(
    catalog: Catalog, *, suite: Literal["catalog", "split"], classes: list[str], quarantine_limit: float
) -> ValidationReport:
    """Check a catalog against catalog.yaml (before it is split) or split.yaml (after).

    classes: the task's class names. quarantine_limit: the tolerated share of quarantined rows, in [0, 1].
    The same catalog gives the same report. The first call in a process costs seconds for the import.
    """
    definition = load_suite(SUITE_FOLDER / f"{suite}.yaml")
    return run_suite(definition, catalog, classes=classes, quarantine_limit=quarantine_limit)


def run_suite(suite: Suite, catalog: Catalog, *, classes: list[str], quarantine_limit: float) -> ValidationReport:
    """Check a catalog against a suite. A check that cannot be evaluated counts as failed."""
    switch_off_telemetry()
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    frame = _without_nulls(catalog.frame)
    checks = suite.planned(classes)
    expectations = [build_expectation(suite.path, check) for check in checks]
    # The module that announces a temporary folder for pages nobody builds sets its own level.
    logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.WARNING)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("lungline").add_dataframe_asset("catalog")
    batch = asset.add_batch_definition_whole_dataframe("whole").get_batch({"dataframe": frame})
    outcome = batch.validate(
        context.suites.add(gx.ExpectationSuite(suite.name, expectations=expectations)),
        result_format={"result_format": "COMPLETE", "unexpected_index_column_names": list(_KEY)},
        expectation_parameters=_parameters(frame, classes, quarantine_limit),
    )
    # They come back in another order than they were asked in.
    results = {result["expectation_config"]["meta"]["name"]: result for result in outcome.results}
    return ValidationReport.of(suite.name, [_outcome(check, results[check.name]) for check in checks])


def build_expectation(path: Path, check: Check) -> Expectation:
    """The Great Expectations object of a check: one of its own expectations, or one of ours.

    Raises UsageProblem naming the file and the key where there is no such expectation, or it takes other
    arguments.
    """
    import great_expectations.expectations as built_in
    from pydantic.v1 import ValidationError

    from data_contracts.expectations import custom

    kind = getattr(custom, check.expectation, None) or getattr(built_in, check.expectation, None)
    if kind is None or not check.expectation.startswith("Expect"):
        raise suite_problem(path, f"{check.name}.expectation: there is no expectation {check.expectation!r}")
    condition = _condition(check.rows, check.class_name)
    selection = {} if condition is None else {"row_condition": condition}
    try:
        expectation: Expectation = kind(
            **check.kwargs, **selection, severity=check.severity, meta={"name": check.name}
        )
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise suite_problem(path, f"{check.name}.kwargs.{key}: {first['msg']}") from error
    return expectation


def _condition(rows: Rows, class_name: str) -> Condition | None:
    from great_expectations.expectations.row_conditions import Column

    status, label, split = Column("status"), Column("label"), Column("split")
    labelled = (status == KEPT) & (label != "")
    conditions: dict[Rows, Condition] = {
        "kept": status == KEPT,
        "quarantined": status == QUARANTINED,
        "duplicate": status == DUPLICATE,
        "labelled": labelled,
        "unused": (status == KEPT) & (label == ""),
        "not_labelled": (status != KEPT) | (label == ""),
        "in_a_split": split != "",
        "train": labelled & (split == "train"),
        "val": labelled & (split == "val"),
        "test": labelled & (split == "test"),
    }
    if rows == "all":
        return (label == class_name) if class_name else None
    return conditions[rows] & (label == class_name) if class_name else conditions[rows]


def _without_nulls(frame: pd.DataFrame) -> pd.DataFrame:
    """Unknown text as "", as catalogs write it, for Great Expectations passes over nulls in silence."""
    texts = [name for name, (dtype, _) in COLUMNS.items() if dtype == "str" and name in frame]
    return frame.assign(**{name: frame[name].fillna("") for name in texts})


def _parameters(frame: pd.DataFrame, classes: list[str], quarantine_limit: float) -> dict[str, Any]:
    from data_contracts.sources import SOURCES

    labelled = (frame["status"] == KEPT) & (frame["label"] != "")
    return {
        "columns": list(COLUMNS),
        "sources": list(SOURCES),
        "classes": classes,
        # Rounded because 1 - 0.42 is a little more than 0.58, which 58 of 100 rows would miss.
        "kept_share": round(1 - quarantine_limit, 9),
        "sources_per_class": min(2, frame.loc[labelled, "source"].nunique()),
    }


def _outcome(check: Check, result: ExpectationValidationResult) -> ValidationCheck:
    found: dict[str, Any] = result.result
    rows = _rows(found)
    trouble = _exception(result.exception_info)
    passed = bool(result.success) and not trouble
    what = f"The check could not be made: {trouble}." if trouble else _found(check, found, rows)
    return ValidationCheck(
        name=check.name,
        title=check.title,
        severity=check.severity,
        passed=passed,
        unexpected_count=int(found.get("unexpected_count", 0)),
        unexpected=[_name(row) for row in rows[:MAX_NAMED_ROWS]],
        detail="" if passed else f"{what} {check.why}",
    )


def _rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The unexpected rows with the columns looked at, sorted so that the rows of one leak stand together."""
    rows: list[dict[str, Any]] = found.get("unexpected_index_list") or []
    return sorted(rows, key=lambda row: (*(str(row[key]) for key in row if key not in _KEY), _name(row)))


def _name(row: dict[str, Any]) -> str:
    return f"{row['source']}/{row['file']}"


def _found(check: Check, found: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    if "unexpected_count" in found:
        text = f"{found['unexpected_count']} of {found['element_count']} rows contradict this."
        examples = _examples(check, rows)
        more = ", …." if len(examples) > _EXAMPLES else "."
        return f"{text} Found: {', '.join(examples[:_EXAMPLES])}{more}" if examples else text
    if found.get("partial_missing_list"):
        return "Missing: " + ", ".join(str(value) for value in found["partial_missing_list"]) + "."
    return f"Found: {found.get('observed_value')}."


def _examples(check: Check, rows: list[dict[str, Any]]) -> list[str]:
    """What was found wrong, each kind once: the value, or the two sides of a leak."""
    column = check.kwargs.get("column")
    if column in _UNQUOTED_COLUMNS:
        return []
    if column is not None:
        values = [row[column] for row in rows]
        return list(dict.fromkeys(f"'{value}'" if isinstance(value, str) else str(value) for value in values))
    if check.expectation != "ExpectGroupInOneSplit":
        return []
    group, split = check.kwargs["column_list"]
    sides: dict[str, dict[str, str]] = {}
    for row in rows:
        sides.setdefault(row[group], {}).setdefault(row[split], _name(row))
    return [" = ".join(f"{name} ({side})" for side, name in leak.items()) for leak in sides.values()]


def _exception(info: dict[str, Any]) -> str:
    """The message of the exception a check raised, or ""; it is one level deeper where a metric raised it."""
    for entry in (info, *info.values()):
        if isinstance(entry, dict) and entry.get("raised_exception"):
            return str(entry.get("exception_message"))
    return ""
