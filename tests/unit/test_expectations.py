"""The data contracts let a clean catalog pass and name each row that breaks one."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from pydantic import ValidationError

from data_contracts.catalog import DUPLICATE, KEPT, QUARANTINED, Catalog
from data_contracts.errors import DataGateError, UsageProblem
from data_contracts.expectations.custom import is_multi_label
from data_contracts.expectations.report import ValidationCheck, ValidationReport, require_passed
from data_contracts.expectations.runner import Terms, run_suite, validate_catalog, validate_window
from data_contracts.expectations.settings import ValidationSettings
from data_contracts.expectations.suite import SUITE_FOLDER, load_suite
from data_contracts.expectations.window import DESCRIPTORS, WINDOW_COLUMNS
from data_contracts.splits import SplitSettings, assign_splits, leakage

CLASSES = ["normal", "pneumothorax"]


# Descriptors of an ordinary radiograph.
MEASURED = {
    **{"mean": 120.0, "std": 50.0, "p01": 2.0, "p50": 125.0, "p99": 240.0},
    **{"saturated": 0.01, "sharpness": 90.0, "border_energy": 30.0},
}


def clean_rows() -> pd.DataFrame:
    """A catalog before its split: 80 kept images of 20 patients in two classes and two sources, one quarantined
    file and one duplicate."""
    number = np.arange(82)
    frame = pd.DataFrame(
        {
            "source": np.where(number % 8 < 4, "nih", "radiography"),
            "file": [f"images/{i:02d}.png" for i in number],
            "patient": [f"patient {i // 4}" for i in number],
            "group_id": [f"group {i // 4}" for i in number],
            "image_id": [f"{i:064x}" for i in number],
            "label": np.where(number % 16 < 8, "normal", "pneumothorax"),
            "nodes": np.where(number % 16 < 8, "no_finding", "pneumothorax"),
            "row": number,
            "width": 1024,
            "height": 1024,
            **MEASURED,
            "age": 50.0,
            "sex": "F",
            "view": "PA",
            "status": KEPT,
            "reason": "",
        }
    )
    frame.loc[80, ["status", "reason", "label"]] = [QUARANTINED, "truncated", ""]
    frame.loc[81, ["status", "reason", "label"]] = [DUPLICATE, "same pixels as images/01.png", ""]
    return Catalog.of(frame).frame.sort_values("file", ignore_index=True)


def split_rows() -> pd.DataFrame:
    return assign_splits(Catalog.of(clean_rows()), SplitSettings()).frame.sort_values("file", ignore_index=True)


SETTINGS = ValidationSettings(quarantine_limit=0.05)


def validate(
    frame: pd.DataFrame, suite: str = "catalog", settings: ValidationSettings = SETTINGS
) -> ValidationReport:
    # Not Catalog.of, which would refuse or mend a broken table on the way.
    return validate_catalog(Catalog(frame), suite=suite, classes=CLASSES, settings=settings)


def failed(report: ValidationReport) -> dict[str, list[str]]:
    """Names of the failed checks and the rows they name."""
    return {check.name: check.unexpected for check in report.checks if not check.passed}


def test_a_clean_catalog_passes_every_check() -> None:
    for report in (validate(clean_rows()), validate(split_rows(), "split")):
        assert report.passed
        assert failed(report) == {}
        assert all(check.detail == "" for check in report.checks)


# A check, its severity, and cells that break a kept image with a label.
BROKEN_ROWS: list[tuple[str, str, dict[str, object]]] = [
    ("source_known", "critical", {"source": "someones-laptop"}),
    ("file_relative", "critical", {"file": "/data/04.png"}),
    ("file_relative", "critical", {"file": "images/../../04.png"}),
    ("file_relative", "critical", {"file": "C:/data/04.png"}),
    ("file_relative", "critical", {"file": "images\\04.png"}),
    ("file_relative", "critical", {"file": None}),
    ("status_known", "critical", {"status": "maybe"}),
    ("quarantine_has_reason", "critical", {"status": QUARANTINED, "label": ""}),
    ("duplicate_names_original", "critical", {"status": DUPLICATE, "label": "", "reason": "seen before"}),
    ("image_id", "critical", {"image_id": "00ff"}),
    ("image_id", "critical", {"image_id": None}),
    ("group_id", "critical", {"group_id": ""}),
    ("width", "critical", {"width": 31}),
    ("width", "critical", {"width": 12_001}),
    ("height", "critical", {"height": 31}),
    ("image_readable", "critical", {"std": float("nan")}),
    ("image_readable", "critical", {"row": -1}),
    ("not_blank", "critical", {"std": 0.9}),
    ("not_blank", "critical", {"p01": 240.0}),
    ("not_burnt_out", "warning", {"saturated": 0.91}),
    ("descriptors_in_range", "critical", {"mean": 255.5}),
    ("descriptors_in_range", "critical", {"border_energy": 128.0}),
    ("nodes_known", "critical", {"nodes": "pneumothorax|zebra"}),
    ("nodes_known", "critical", {"nodes": "pneumothorax|effusion"}),  # not as the catalog sorts them
    ("no_finding_alone", "critical", {"nodes": "no_finding|pneumothorax"}),
    ("no_finding_alone", "critical", {"nodes": "effusion|no_finding"}),
    ("label_understood", "warning", {"nodes": ""}),
    ("label_in_task", "critical", {"label": "covid19"}),
    ("nothing_unknown", "critical", {"unknown_classes": "normal"}),
    ("conflict_has_no_label", "critical", {"label_conflict": True}),
    ("exclusion_has_reason", "warning", {"label": ""}),
    ("age", "warning", {"age": 999.0}),
    ("age", "warning", {"age": -1.0}),
    ("age_fits_source", "warning", {"source": "chest-xray-pneumonia", "age": 18.0}),
    ("sex", "warning", {"sex": "female"}),
    ("view", "warning", {"view": "LATERAL"}),
]


@pytest.fixture(scope="module")
def report_on_broken_rows() -> ValidationReport:
    """The report on a catalog in which row i is broken as BROKEN_ROWS[i] says, and no other row is."""
    frame = clean_rows()
    for row, (_, _, cells) in enumerate(BROKEN_ROWS):
        for column, value in cells.items():
            frame.loc[row, column] = value
    return validate(frame)


@pytest.mark.parametrize("row", range(len(BROKEN_ROWS)), ids=lambda row: f"{BROKEN_ROWS[row][0]}-{row}")
def test_a_broken_row_fails_exactly_its_check_and_is_named(
    report_on_broken_rows: ValidationReport, row: int
) -> None:
    expected, severity, cells = BROKEN_ROWS[row]
    clean = clean_rows().loc[row]
    name = f"{cells.get('source', clean['source'])}/{cells.get('file', clean['file']) or ''}"
    naming = [check for check in report_on_broken_rows.checks if name in check.unexpected and not check.passed]
    assert [(check.name, check.severity) for check in naming] == [(expected, severity)]


def test_every_failure_on_broken_rows_is_one_that_was_made(report_on_broken_rows: ValidationReport) -> None:
    found = {check.name: check.unexpected_count for check in report_on_broken_rows.checks if not check.passed}
    assert found == Counter(name for name, _, _ in BROKEN_ROWS)
    assert not report_on_broken_rows.passed


def test_rows_that_repeat_each_other_are_all_named() -> None:
    frame = clean_rows()
    frame.loc[4, "image_id"] = frame.loc[9, "image_id"]
    frame.loc[20, "file"] = frame.loc[18, "file"]  # the same name in another source is another file
    frame.loc[16, "file"] = frame.loc[17, "file"]
    assert failed(validate(frame)) == {
        "image_kept_once": ["nih/images/09.png", "radiography/images/04.png"],
        "file_listed_once": ["nih/images/17.png", "nih/images/17.png"],
    }


@pytest.mark.parametrize(("limit", "passes"), [(0.42, True), (0.41, False)])
def test_quarantined_files_stop_the_run_only_above_the_limit_and_are_named_anyway(
    limit: float, passes: bool
) -> None:
    """Fault F12. 1 - 0.42 is 0.5800000000000001 in binary, which a share of 58/100 would miss."""
    frame = pd.concat([clean_rows().iloc[:80], clean_rows().iloc[:20]], ignore_index=True)
    frame["file"] = [f"{i:02d}.png" for i in range(100)]
    frame["image_id"] = [f"{i:064x}" for i in range(100)]
    frame.loc[:41, ["status", "reason", "label"]] = [QUARANTINED, "truncated", ""]
    report = validate(frame, settings=ValidationSettings(quarantine_limit=limit))
    assert report.passed == passes
    [check] = [check for check in report.checks if check.name == "quarantine_within_limit"]
    assert check.unexpected_count == 42
    assert check.unexpected[0] == "nih/00.png"


def one_class_of_one_source() -> pd.DataFrame:
    frame = clean_rows()
    frame.loc[frame["label"] == "pneumothorax", "source"] = "mendeley"
    return frame


def test_an_empty_class_stops_the_run() -> None:
    report = validate_catalog(Catalog(clean_rows()), suite="catalog", classes=[*CLASSES, "covid19"])
    empty = next(check for check in report.failed("critical") if check.name == "class_has_images[covid19]")
    assert empty.title == "At least three images to learn from show the class covid19."
    assert empty.detail.startswith("Found: 0.")


def test_a_source_that_is_only_measured_on_does_not_count_towards_a_class() -> None:
    """nih holds half of each class; as an external source it leaves radiography alone with both."""
    terms = {"classes": CLASSES, "settings": SETTINGS, "external_sources": ["nih"]}
    assert failed(validate_catalog(Catalog(clean_rows()), suite="catalog", **terms)) == {}
    few = clean_rows()
    few.loc[(few["label"] == "normal") & (few["source"] == "radiography"), "source"] = "nih"
    report = validate_catalog(Catalog(few), suite="catalog", **terms)
    assert [check.name for check in report.failed("critical")] == [
        "class_has_images[normal]",
        "class_in_several_sources[normal]",
    ]


def test_a_run_on_a_single_source_is_not_warned_about_it() -> None:
    assert failed(validate(clean_rows().assign(source="nih"))) == {}


def test_an_empty_catalog_stops_the_run() -> None:
    assert "has_rows" in [check.name for check in validate(clean_rows().iloc[:0]).failed("critical")]


def test_a_table_with_other_columns_stops_the_run_and_a_check_without_its_column_fails() -> None:
    report = validate(clean_rows().drop(columns="age").assign(hospital="A"))
    assert list(failed(report)) == ["columns", "age", "age_fits_source"]
    age = report.failed("warning")[0]
    assert age.detail.startswith("The check could not be made: ")


def test_at_most_twenty_rows_are_named_and_all_are_counted() -> None:
    frame = clean_rows().assign(age=999.0)
    report = validate(frame)
    [age] = report.failed("warning")
    assert age.unexpected_count == 82
    assert len(age.unexpected) == 20
    assert age.detail.startswith("82 of 82 rows contradict this. Found: 999.")
    assert report == validate(frame)
    assert report == ValidationReport.model_validate_json(report.model_dump_json())
    require_passed(report, None)  # a warning does not stop the run


def test_rows_with_the_wrong_split_are_named() -> None:
    frame = split_rows()
    train = frame.index[frame["split"] == "train"]
    frame.loc[train[0], "split"] = ""
    frame.loc[train[1], "label"] = ""
    names = (frame["source"] + "/" + frame["file"]).loc[train].tolist()
    assert failed(validate(frame, "split")) == {
        "labelled_rows_are_split": names[:1],
        "other_rows_are_not_split": names[1:2],
    }


def test_groups_patients_and_pictures_must_each_stay_in_one_split() -> None:
    frame = split_rows()
    expected = {}
    for number, (check, column) in enumerate(
        [
            ("group_in_one_split", "group_id"),
            ("patient_in_one_split", "patient"),
            ("picture_in_one_split", "image_id"),
        ]
    ):
        sides = [frame.index[frame["split"] == split][number] for split in ("test", "train")]
        frame.loc[sides, column] = "shared"
        expected[check] = (frame["source"] + "/" + frame["file"]).loc[sides].tolist()
    report = validate(frame, "split")
    assert failed(report) == expected
    assert not report.passed


def test_images_without_a_patient_are_not_taken_for_one_patient() -> None:
    report = validate(split_rows().assign(patient=""), "split")
    assert report.passed
    assert list(failed(report)) == ["test_patients_known"]


@pytest.mark.parametrize(("splits", "stops"), [(["train"], True), (["val", "test"], False)])
def test_a_class_missing_from_a_split_stops_the_run_only_for_train(splits: list[str], stops: bool) -> None:
    frame = split_rows()
    report = validate(frame[~(frame["split"].isin(splits) & (frame["label"] == "normal"))], "split")
    assert report.passed != stops
    assert failed(report) == {f"classes_in_{split}": [] for split in splits}


def test_a_leak_forced_into_the_split_stops_the_run_with_the_pair() -> None:
    """Fault F20."""
    frame = split_rows()
    group = frame.loc[frame["split"] == "train", "group_id"].iloc[0]
    first, second, *_ = frame.index[frame["group_id"] == group]
    frame.loc[second, "split"] = "test"
    assert leakage(Catalog(frame)) == [group]
    report = validate(frame, "split")
    with pytest.raises(DataGateError) as stopped:
        require_passed(report, Path("runs/7/report.html"))
    assert stopped.value.exit_code == 3
    message = str(stopped.value)
    names = frame["source"] + "/" + frame["file"]
    assert f"{names[second]} (test) = {names[first]} (train)" in message
    assert "runs/7/report.html" in message
    assert frame.loc[first, "patient"] not in message  # a patient is never quoted


def test_a_report_cannot_claim_to_have_passed_with_a_critical_failure() -> None:
    check = ValidationCheck(
        name="x", title="X.", severity="critical", passed=False, unexpected_count=0, unexpected=[], detail=""
    )
    with pytest.raises(ValidationError, match="passed must be False exactly when"):
        ValidationReport(suite="catalog", passed=True, checks=[check])


CATALOG_SUITES = sorted(path for path in SUITE_FOLDER.glob("*.yaml") if path.stem != "scoring_window")


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("path", CATALOG_SUITES, ids=lambda path: path.stem)
def test_every_suite_file_can_be_run_whatever_the_recipe_asks(path: Path, multi_label: bool) -> None:
    suite = load_suite(path)
    terms = Terms(CLASSES, SETTINGS, multi_label=multi_label, external_sources=("mendeley",), official_split=True)
    report = run_suite(suite, split_rows(), terms)
    assert len(report.checks) == len(suite.planned(CLASSES, terms.facts))
    assert report.passed


def test_images_of_external_sources_and_of_published_test_lists_are_not_learned_from() -> None:
    frame = split_rows()
    frame.loc[frame["split"] == "test", "official_split"] = "test"
    learned, tested = frame.index[frame["split"] == "train"], frame.index[frame["split"] == "test"]
    frame.loc[learned[0], "official_split"] = "test"
    frame.loc[learned[1], "source"] = "mendeley"
    frame.loc[tested[0], ["split", "group_id", "patient"]] = ["external", "alone", ""]
    report = validate_catalog(
        Catalog(frame), suite="split", classes=CLASSES, external_sources=["mendeley"], official_split=True
    )
    names = frame["source"] + "/" + frame["file"]
    assert failed(report) == {
        "external_sources_are_external": [names[learned[1]]],
        "external_rows_are_external": [names[tested[0]]],
        "official_test_not_learned": [names[learned[0]]],
    }


@pytest.mark.parametrize(
    ("label", "unknown", "holds"),
    [
        ("a", "", True),
        ("a|c", "b", True),
        ("none", "a|b", True),
        ("none", "a|b|c", False),  # nothing is known of it
        ("c|a", "", False),  # not in the order of the task
        ("a|a", "", False),
        ("a", "a", False),  # both there and unknown
        ("zebra", "", False),
    ],
)
def test_a_multi_label_cell_says_one_thing_of_each_class(label: str, unknown: str, holds: bool) -> None:
    assert is_multi_label(label, unknown, ["a", "b", "c"]) == holds


def test_an_image_of_several_classes_counts_for_each_of_them() -> None:
    frame = split_rows()
    frame.loc[frame["split"] != "", "label"] = "normal|pneumothorax"
    for suite, expected in (("catalog", {}), ("split", {})):
        report = validate_catalog(
            Catalog(frame), suite=suite, classes=CLASSES, settings=SETTINGS, multi_label=True
        )
        assert failed(report) == expected
    assert failed(validate(frame, "split")).keys() == {f"classes_in_{split}" for split in ("train", "val", "test")}


def window_rows() -> pd.DataFrame:
    """Ten scored images of a task with two classes."""
    frame = pd.DataFrame({"image_id": [f"{i:064x}" for i in range(10)]}).assign(
        source="ward-3",
        view="PA",
        age=50.0,
        width=1024,
        height=1024,
        **MEASURED,
        p_normal=0.75,
        p_pneumothorax=0.25,
    )
    assert set(frame.columns) == {*WINDOW_COLUMNS, "p_normal", "p_pneumothorax"}
    return frame


BROKEN_SCORES: list[tuple[str, str, dict[str, object]]] = [
    ("image_id", "critical", {"image_id": "c0ffee"}),
    ("source", "warning", {"source": ""}),
    ("probability[normal]", "critical", {"p_normal": 1.25, "p_pneumothorax": -0.25}),
    ("probability_known[pneumothorax]", "critical", {"p_pneumothorax": float("nan")}),
    ("probabilities_sum", "critical", {"p_normal": 0.8}),
    ("image_readable", "critical", {"sharpness": float("nan")}),
    ("descriptors_in_range", "critical", {"saturated": 1.5}),
    ("not_blank", "warning", {"std": 0.0}),
    ("age", "warning", {"age": 999.0}),
    ("view", "warning", {"view": "LATERAL"}),
]


def test_broken_rows_of_a_scoring_window_are_named_by_their_image() -> None:
    frame = window_rows()
    assert failed(validate_window(frame, classes=CLASSES)) == {}
    for row, (_, _, cells) in enumerate(BROKEN_SCORES):
        for column, value in cells.items():
            frame.loc[row, column] = value
    report = validate_window(frame, classes=CLASSES)
    found = {check.name: check for check in report.checks}
    for row, (name, severity, _) in enumerate(BROKEN_SCORES):
        assert not found[name].passed, name
        assert found[name].severity == severity
        assert frame.loc[row, "image_id"] in found[name].unexpected


def test_a_window_may_hold_more_columns_but_must_hold_all_of_its_own() -> None:
    assert validate_window(window_rows().assign(model="v3"), classes=CLASSES).passed
    report = validate_window(window_rows().drop(columns=["sharpness", "p_normal"]), classes=CLASSES)
    assert not report.passed
    [columns] = [check for check in report.failed("critical") if check.name == "columns"]
    assert columns.detail.startswith("missing: p_normal, sharpness.")
    assert not validate_window(window_rows().iloc[:0], classes=CLASSES).passed


def test_probabilities_of_classes_that_do_not_exclude_each_other_need_not_sum_to_one() -> None:
    frame = window_rows().assign(p_normal=0.9, p_pneumothorax=0.9)
    assert validate_window(frame, classes=CLASSES, multi_label=True).passed
    assert not validate_window(frame, classes=CLASSES).passed


def test_descriptors_of_the_window_are_those_of_the_catalog() -> None:
    assert set(DESCRIPTORS) == set(MEASURED)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"single_source_waivers": {"normal": "known  "}}, "at least 20 characters"),
        ({"age_limits": {"nhi": [0, 18]}}, "unknown source nhi"),
        ({"age_limits": {"nih": [18, 0]}}, "no range of ages"),
        ({"quarantine_limits": 0.1}, "Extra inputs"),
    ],
)
def test_a_wrong_validation_section_is_refused(section: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ValidationSettings.model_validate(section)


WRONG_ENTRIES: list[tuple[dict[str, object], str]] = [
    ({"expectation": "ExpectMiracles"}, r"odd\.yaml: few\.expectation: .*'ExpectMiracles'"),
    ({"expectation": "pd"}, r"odd\.yaml: few\.expectation: .*'pd'"),
    ({"kwargs": {"min_values": 1}}, r"odd\.yaml: few\.kwargs\.min_values: extra fields not permitted"),
    ({"severity": "fatal"}, r"odd\.yaml: checks\.0\.severity: .*'fatal'"),
    ({"row": "kept"}, r"odd\.yaml: checks\.0\.row: Extra inputs are not permitted"),
    ({"rows": "some"}, r"odd\.yaml: checks\.0\.rows: .*'some'"),
    ({"kwargs": {"column": "hospital"}}, r"odd\.yaml: few\.kwargs: the catalog has no column 'hospital'"),
    ({"kwargs": {"min_value": {"$PARAMETER": "few"}}}, r"odd\.yaml: few\.kwargs\.min_value: .*'few'"),
]


@pytest.mark.parametrize(("change", "message"), WRONG_ENTRIES)
def test_a_wrong_entry_is_refused_with_file_and_key(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    entry = {
        "name": "few",
        "title": "There are rows.",
        "why": "Nothing to do.",
        "severity": "critical",
        "expectation": "ExpectTableRowCountToBeBetween",
        "kwargs": {"min_value": 1},
    }
    path = tmp_path / "odd.yaml"
    path.write_text(yaml.safe_dump([entry | change]), encoding="utf-8")
    with pytest.raises(UsageProblem, match=message):
        run_suite(load_suite(path), clean_rows(), Terms(CLASSES))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- name: [", "is not YAML"),
        ("", "checks: Input should be a valid list"),
        (
            "- &x {name: a, title: b, why: c, severity: warning, expectation: d}\n- *x",
            "a: 2 checks have this name",
        ),
    ],
)
def test_a_file_that_is_no_suite_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageProblem, match=message):
        load_suite(path)


def test_reading_a_report_does_not_import_great_expectations() -> None:
    code = (
        "import sys, data_contracts.expectations.report, data_contracts.expectations.runner\n"
        "sys.exit('great_expectations' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
