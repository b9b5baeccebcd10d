"""Faults in data that the contract finds: broken rows (F21) and classes that only one source has (F19)."""

from __future__ import annotations

import html
from pathlib import Path

import pandas as pd
import pytest

from data_contracts.catalog import Catalog
from data_contracts.errors import DataGateError
from data_contracts.expectations.report import ValidationReport, require_passed
from data_contracts.expectations.runner import validate_catalog
from data_contracts.expectations.settings import ValidationSettings
from data_contracts.ontology import task_named
from data_contracts.splits import SplitSettings
from models.reports.compose import data_page
from pipelines.recipe import load_recipe, recipe_names
from tests.unit.test_expectations import clean_rows

TASK = task_named("covid-bacterial-pneumothorax-normal")
FORMULA = '=HYPERLINK("http://evil.example","<img src=x onerror=alert(1)>")'
REASON = "No other public collection names this finding."


def four_classes() -> pd.DataFrame:
    """80 kept images of the task's four classes, each in two sources."""
    frame = clean_rows()
    kept = frame["status"] == "kept"
    classes = [TASK.class_names[i // 8 % 4] for i in range(int(kept.sum()))]
    nodes = {"normal": "no_finding"}
    frame.loc[kept, "label"] = classes
    frame.loc[kept, "nodes"] = [nodes.get(name, name) for name in classes]
    return frame


def of_one_source() -> pd.DataFrame:
    frame = four_classes()
    frame.loc[frame["label"] == "bacterial", "source"] = "mendeley"
    return frame


def validate(frame: pd.DataFrame, **section: object) -> ValidationReport:
    settings = ValidationSettings.model_validate({"quarantine_limit": 0.05, **section})
    return validate_catalog(Catalog(frame), suite="catalog", classes=TASK.class_names, settings=settings)


def page(frame: pd.DataFrame, report: ValidationReport) -> str:
    return data_page(
        Catalog.of(frame), [report], title="Data", recipe_name="odd", task=TASK, split=SplitSettings()
    )


def test_f21_unknown_label_null_path_and_impossible_age_are_found_with_their_severity_and_named_on_the_page() -> (
    None
):
    frame = four_classes()
    frame.loc[2, "label"] = "zebra"
    frame.loc[3, "file"] = None
    frame.loc[4, "age"] = 999.0
    report = validate(frame)
    found = {check.name: (check.severity, check.unexpected) for check in report.checks if not check.passed}
    names = frame["source"] + "/" + frame["file"].fillna("")
    assert found == {
        "label_in_task": ("critical", [names[2]]),
        "file_relative": ("critical", [names[3]]),
        "age": ("warning", [names[4]]),
    }
    with pytest.raises(DataGateError) as stopped:
        require_passed(report, Path("data.html"))
    assert stopped.value.exit_code == 3
    assert names[2] in str(stopped.value)
    written = page(frame, report)
    assert "'zebra'" in html.unescape(written)
    assert "999" in written


def test_f21_an_impossible_age_alone_is_a_warning_that_the_page_names_and_the_run_goes_on() -> None:
    frame = four_classes()
    frame.loc[4, "age"] = 999.0
    # A source without patient ids: its files may be named.
    frame["patient"] = ""
    report = validate(frame)
    require_passed(report, None)
    assert frame.loc[4, "file"] in page(frame, report)


def test_f21_an_extra_column_stops_the_run_and_is_named() -> None:
    report = validate(four_classes().assign(hospital="A"))
    [columns] = report.failed("critical")
    assert columns.name == "columns"
    assert "not expected: hospital" in columns.detail


def test_f21_html_and_formulas_in_labels_stay_text_on_the_page() -> None:
    frame = four_classes()
    frame.loc[2, ["label", "raw_label"]] = FORMULA
    frame.loc[80, "reason"] = FORMULA  # a quarantined file
    frame.loc[5, "flags"] = FORMULA
    written = page(frame, validate(frame))
    assert "<img src=x" not in written
    assert html.unescape(written).count(FORMULA) >= 3
    # Where it fills a cell of its own, a quotation mark keeps a spreadsheet program from running it.
    assert f'<th scope="row">\'{FORMULA}' in html.unescape(written)


def test_f19_a_class_of_one_source_stops_the_run() -> None:
    report = validate(of_one_source())
    [single] = report.failed("critical")
    assert single.name == "class_in_several_sources[bacterial]"
    with pytest.raises(DataGateError, match="Images of bacterial come from more than one source"):
        require_passed(report, None)


def test_f19_a_written_waiver_lets_it_pass_and_is_printed_on_the_page() -> None:
    frame = of_one_source()
    report = validate(frame, single_source_waivers={"bacterial": REASON})
    require_passed(report, None)
    [single] = report.failed("warning")
    assert single.waiver == REASON
    written = page(frame, report)
    assert "Confounded by design: Bacterial pneumonia comes from one source only" in written
    assert REASON in written


def test_f19_a_waiver_that_nothing_needs_is_a_warning() -> None:
    report = validate(of_one_source(), single_source_waivers={"bacterial": REASON, "covid19": REASON})
    assert report.passed
    unneeded = next(check for check in report.checks if check.name == "waivers_needed")
    assert not unneeded.passed
    assert unneeded.severity == "warning"
    assert unneeded.detail.startswith("Not needed: covid19.")


def test_f19_a_catalog_of_a_single_source_needs_no_waiver() -> None:
    assert not validate(four_classes().assign(source="nih")).failed("critical")


@pytest.mark.parametrize("name", recipe_names())
def test_f19_waivers_of_the_recipes_name_classes_of_their_task(name: str) -> None:
    recipe = load_recipe(name)
    assert set(recipe.validation.single_source_waivers) <= set(recipe.task_definition.class_names)
