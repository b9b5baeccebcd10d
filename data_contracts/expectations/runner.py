"""Runs the suite files on a catalog, or on a window of scored images, with Great Expectations."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from data_contracts.catalog import COLUMNS, Catalog
from data_contracts.expectations.outcome import not_made, outcome
from data_contracts.expectations.report import ValidationCheck, ValidationReport
from data_contracts.expectations.rows import of_class, one_per_label, select
from data_contracts.expectations.settings import ValidationSettings
from data_contracts.expectations.suite import SUITE_FOLDER, Check, Suite, load_suite, suite_problem
from data_contracts.expectations.waivers import with_waivers
from data_contracts.expectations.window import WINDOW_COLUMNS, probability_columns
from data_contracts.sources import SOURCES
from data_contracts.telemetry import switch_off_telemetry

if TYPE_CHECKING:
    from great_expectations.core import ExpectationValidationResult
    from great_expectations.data_context.data_context.ephemeral_data_context import EphemeralDataContext
    from great_expectations.expectations.expectation import Expectation

Gate = Literal["catalog", "split"]

# Which suite files each gate applies, in the order of the report.
_SUITES: dict[Gate, tuple[str, ...]] = {
    "catalog": ("catalog", "images", "labels", "patients"),
    "split": ("split",),
}
_DEFAULTS = ValidationSettings()
_CATALOG_KEY = ("source", "file")
_WINDOW_KEY = ("image_id",)


@dataclass(frozen=True, slots=True)
class Terms:
    """What checks need to know of a run besides its table.

    classes: the task's class names, in order. external_sources: sources that are only measured on.
    official_split: whether the recipe keeps the published test lists.
    """

    classes: list[str]
    settings: ValidationSettings = _DEFAULTS
    multi_label: bool = False
    external_sources: tuple[str, ...] = ()
    official_split: bool = False

    @property
    def facts(self) -> frozenset[str]:
        """Which `when` of a suite file hold."""
        known = {
            "multi_label" if self.multi_label else "single_label": True,
            "official_split": self.official_split,
            "external_sources": bool(self.external_sources),
        }
        return frozenset(name for name, holds in known.items() if holds)


def validate_catalog(
    catalog: Catalog,
    *,
    suite: Gate,
    classes: list[str],
    quarantine_limit: float | None = None,
    settings: ValidationSettings | None = None,
    multi_label: bool = False,
    external_sources: Sequence[str] = (),
    official_split: bool = False,
) -> ValidationReport:
    """Hold a catalog against the contract of a gate: `catalog` before it is split, or `split` after.

    classes: the task's class names. settings: the recipe's section; without it nobody could waive anything, and a
    class of a single source is a warning. quarantine_limit: replaces that of the settings. The other arguments
    are explained in `Terms`. The same catalog gives the same report. The first call in a process costs seconds
    for the import.
    """
    chosen = settings or ValidationSettings()
    if quarantine_limit is not None:
        chosen = chosen.model_copy(update={"quarantine_limit": quarantine_limit})
    terms = Terms(classes, chosen, multi_label, tuple(external_sources), official_split)
    checks = [
        check
        for name in _SUITES[suite]
        for check in run_suite(load_suite(SUITE_FOLDER / f"{name}.yaml"), catalog.frame, terms).checks
    ]
    if suite == "catalog":
        waivers = None if settings is None else settings.single_source_waivers
        checks = with_waivers(checks, waivers)
    return ValidationReport.of(suite, checks)


def validate_window(frame: pd.DataFrame, *, classes: list[str], multi_label: bool = False) -> ValidationReport:
    """Hold a window of scored images against its contract, before drift is measured on it.

    frame: the columns of window.py and one probability column per class; further columns are passed over.
    multi_label: the classes do not exclude each other, so their probabilities need not sum to 1.
    """
    return run_suite(
        load_suite(SUITE_FOLDER / "scoring_window.yaml"),
        frame,
        Terms(classes, multi_label=multi_label),
    )


def run_suite(suite: Suite, frame: pd.DataFrame, terms: Terms) -> ValidationReport:
    """Check a table against a suite file. A check that cannot be evaluated counts as failed."""
    switch_off_telemetry()
    table = _without_nulls(frame)
    parameters = _parameters(table, terms)
    checks = [check.with_values(parameters) for check in suite.planned(terms.classes, terms.facts)]
    expectations = {check.name: build_expectation(suite.path, check) for check in checks}
    key = [name for name in (_WINDOW_KEY if suite.name == "scoring_window" else _CATALOG_KEY) if name in table]
    context = _context()
    found: dict[str, ValidationCheck] = {}
    for together in _by_rows(checks):
        try:
            rows = _rows_of(table, together, terms, key)
        except KeyError as error:
            found |= {check.name: not_made(check, f"there is no column {error}") for check in together}
            continue
        results = _validate(context, rows, [expectations[check.name] for check in together])
        found |= {check.name: outcome(check, results[check.name], rows, key) for check in together}
    return ValidationReport.of(suite.name, [found[check.name] for check in checks])


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
    try:
        expectation: Expectation = kind(**check.kwargs, severity=check.severity, meta={"name": check.name})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise suite_problem(path, f"{check.name}.kwargs.{key}: {first['msg']}") from error
    return expectation


def _by_rows(checks: list[Check]) -> list[list[Check]]:
    """The checks by the rows they look at.

    Great Expectations hashes a whole table for every batch, and would filter it for every check: so checks of the
    same rows share one batch, of only the columns they name.
    """
    groups: dict[tuple[object, ...], list[Check]] = {}
    for check in checks:
        about_header = "column_set" in check.kwargs
        groups.setdefault((check.rows, check.class_name, check.each_label, about_header), []).append(check)
    return list(groups.values())


def _rows_of(table: pd.DataFrame, together: list[Check], terms: Terms, key: list[str]) -> pd.DataFrame:
    first = together[0]
    if "column_set" in first.kwargs:
        return table.iloc[:0]
    rows = select(table, first.rows, terms.external_sources)
    if first.class_name and "label" in rows:
        rows = of_class(rows, first.class_name)
    named = {name for check in together for name in check.columns}
    # In the order of the table, so that equal tables make equal batches.
    rows = rows[[name for name in rows if name in named or name in key]]
    return one_per_label(rows) if first.each_label and terms.multi_label else rows


@cache
def _context() -> EphemeralDataContext:
    """One for the process: it holds no data, and making it takes as long as ten checks."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    # The module that announces a temporary folder for pages nobody builds sets its own level.
    logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.WARNING)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    context.data_sources.add_pandas("lungline").add_dataframe_asset("table").add_batch_definition_whole_dataframe(
        "whole"
    )
    return context


def _validate(
    context: EphemeralDataContext, rows: pd.DataFrame, expectations: list[Expectation]
) -> dict[str, ExpectationValidationResult]:
    """The results by name of the check; they come back in another order than they were asked in."""
    import great_expectations as gx

    definition = context.data_sources.get("lungline").get_asset("table").get_batch_definition("whole")
    results = definition.get_batch({"dataframe": rows}).validate(
        gx.ExpectationSuite("checks of the same rows", expectations=expectations),
        # Rows by position; naming columns here would build them a dictionary each, minutes for a large catalog.
        result_format={"result_format": "COMPLETE"},
    )
    return {result["expectation_config"]["meta"]["name"]: result for result in results.results}


def _without_nulls(frame: pd.DataFrame) -> pd.DataFrame:
    """Unknown text as "", as catalogs write it, for Great Expectations passes over nulls in silence."""
    texts = [name for name, (dtype, _) in COLUMNS.items() if dtype == "str" and name in frame]
    return frame.reset_index(drop=True).assign(**{name: frame[name].fillna("").to_numpy() for name in texts})


def _parameters(table: pd.DataFrame, terms: Terms) -> dict[str, Any]:
    return {
        "columns": list(COLUMNS),
        "sources": list(SOURCES),
        "classes": terms.classes,
        # Rounded because 1 - 0.42 is a little more than 0.58, which 58 of 100 rows would miss.
        "kept_share": round(1 - terms.settings.quarantine_limit, 9),
        "sources_per_class": _sources_per_class(table, terms),
        "age_limits": {source: list(limits) for source, limits in terms.settings.age_limits.items()},
        "external_sources": list(terms.external_sources),
        "window_columns": [*WINDOW_COLUMNS, *probability_columns(terms.classes)],
        "probability_columns": probability_columns(terms.classes),
    }


def _sources_per_class(table: pd.DataFrame, terms: Terms) -> int:
    """2 where images to learn from come from several sources, else 1."""
    try:
        return min(2, select(table, "internal", terms.external_sources)["source"].nunique())
    except KeyError:  # a table without these columns fails the checks that name them
        return 1
