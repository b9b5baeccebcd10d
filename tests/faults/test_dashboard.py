"""Faults F43 and F48 on the side of reports and dashboard: a poor window and a broken workspace lose nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_contracts.drift.evidently_columns import drawn_columns
from data_contracts.drift.evidently_report import layer_reports
from data_contracts.drift.evidently_workspace import bring_up_to_date, damage, project_id, publish, rebuild
from data_contracts.drift.history import VerdictHistory
from data_contracts.drift.layers import LAYERS
from data_contracts.drift.profile import ReferenceProfile
from tests import monitored_windows as made

MODEL = "lungline-merged"


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> ReferenceProfile:
    return made.profile(tmp_path_factory.mktemp("reference") / "profile")


def poor_window() -> pd.DataFrame:
    """Every way in which a column can be of no use, beside columns that are."""
    window = made.scored_images(300, seed=5)
    window["mean"] = np.nan
    window["std"] = np.inf
    window["p50"] = 0.5
    window["sharpness"] = "not a number"
    window["view"] = ""
    window["source"] = None
    window["a new column"] = 1.0
    return window.drop(columns=["p99", "format"])


def test_f43_each_column_of_no_use_is_a_note_and_the_others_are_drawn(profile: ReferenceProfile) -> None:
    window = poor_window()
    descriptors = drawn_columns("descriptors", profile, window, None)
    assert descriptors.notes == {
        "mean": "unknown for every image in the window",
        "std": "unknown for every image in the window",
        "p99": "absent in the window",
        "sharpness": "unknown for every image in the window",
    }
    assert {"p01", "p50", "border_energy", "chest_likeness"} == set(descriptors.numeric)
    acquisition = drawn_columns("acquisition", profile, window, None)
    assert acquisition.notes == {
        "aspect": "one and the same value in every image",
        "mode": "one and the same value in every image",
        "format": "absent in the window",
        "view": "unknown for every image in the window",
        "source": "unknown for every image in the window",
    }
    assert drawn_columns("embedding", profile, window, None).notes["component 1"] == "absent in the window"


@pytest.mark.parametrize(
    "window",
    [poor_window(), poor_window()[:5], poor_window()[:0], pd.DataFrame({"image_id": ["a"]})],
    ids=["poor columns", "five images", "no image", "no column"],
)
def test_f43_a_poor_window_still_has_all_its_pages(
    profile: ReferenceProfile, window: pd.DataFrame, tmp_path: Path
) -> None:
    reports = layer_reports(profile, window, None, made.verdict(0, over="descriptors"), tmp_path)
    assert [report.layer for report in reports] == list(LAYERS)
    for report in reports:
        page = report.page.read_text(encoding="utf-8")
        assert json.loads(report.snapshot.read_text(encoding="utf-8"))["metric_results"]
        assert all(f"not drawn: {why}" in page for why in report.left_out.values())


def test_f43_all_images_refused_is_a_page_of_refusals(profile: ReferenceProfile, tmp_path: Path) -> None:
    probabilities = {f"p_{name}": np.nan for name in made.CLASSES}
    window = made.scored_images(40, seed=6).assign(refused="inverted", **probabilities)
    reports = {report.layer: report for report in layer_reports(profile, window, None, made.verdict(0), tmp_path)}
    assert set(reports["outputs"].left_out.values()) >= {"unknown for every image in the window"}
    assert "refused: inverted" in reports["contract"].page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def monitored(profile: ReferenceProfile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with three judged windows, the first with reports, and their dashboard."""
    home = tmp_path_factory.mktemp("home")
    history = VerdictHistory(home / "monitoring" / MODEL)
    for day in range(3):
        folder = made.issued(history, made.verdict(day, over="outputs" if day == 2 else ""))
        if day == 0:
            layer_reports(profile, made.scored_images(300, seed=7), None, made.verdict(0), folder)
    publish(home / "evidently", history)
    return home


@pytest.fixture
def home(monitored: Path, tmp_path: Path) -> Path:
    """A copy of it to break."""
    shutil.copytree(monitored, tmp_path / "home")
    return tmp_path / "home"


def names(home: Path) -> set[str]:
    folder = home / "evidently" / str(project_id(MODEL)) / "snapshots"
    return {json.loads(file.read_text(encoding="utf-8"))["name"] for file in folder.glob("*.json")}


def test_f48_the_dashboard_shows_numbers_of_all_windows_and_reports_where_there_are(home: Path) -> None:
    shown = names(home)
    assert len([name for name in shown if name.endswith(": numbers")]) == 3
    assert len(shown) == 3 + len(LAYERS)
    assert damage(home / "evidently") == ""


def truncate(home: Path) -> None:
    file = min((home / "evidently").glob("*/snapshots/*.json"))
    file.write_bytes(file.read_bytes()[:200])


def forge(home: Path) -> None:
    min((home / "evidently").glob("*/snapshots/*.json")).write_text("[]")


def break_project(home: Path) -> None:
    next((home / "evidently").glob("*/metadata.json")).write_bytes(b"\xff\xfe")


def replace_by_file(home: Path) -> None:
    shutil.rmtree(home / "evidently")
    (home / "evidently").write_text("oops")


@pytest.mark.parametrize("break_it", [truncate, forge, break_project, replace_by_file])
def test_f48_a_damaged_workspace_is_set_aside_and_made_again(home: Path, break_it: Callable[[Path], None]) -> None:
    before = names(home)
    break_it(home)
    said: list[str] = []
    damaged, published = bring_up_to_date(home / "evidently", home / "monitoring", said.append)
    assert damaged
    assert any("made again from the verdicts" in line for line in said)
    assert (names(home), published.added) == (before, len(before))
    assert (home / "evidently.set-aside").exists()
    assert damage(home / "evidently") == ""


def test_f48_a_lost_workspace_or_project_file_comes_back(home: Path) -> None:
    before = names(home)
    next((home / "evidently").glob("*/metadata.json")).unlink()
    bring_up_to_date(home / "evidently", home / "monitoring")
    assert next((home / "evidently").glob("*/metadata.json"))
    shutil.rmtree(home / "evidently")
    bring_up_to_date(home / "evidently", home / "monitoring")
    assert names(home) == before


def test_f48_rebuilding_a_sound_workspace_gives_the_same_snapshots(home: Path) -> None:
    before = {file.relative_to(home) for file in home.glob("evidently/*/snapshots/*.json")}
    assert rebuild(home / "evidently", home / "monitoring").added == len(before)
    assert {file.relative_to(home) for file in home.glob("evidently/*/snapshots/*.json")} == before


def test_f48_old_snapshots_go_and_those_of_other_people_stay(home: Path) -> None:
    folder = home / "evidently" / str(project_id(MODEL)) / "snapshots"
    foreign = folder / "01a1f9e3-fe18-76f4-a262-3a6fe95bf3d2.json"
    foreign.write_bytes(min(folder.glob("*.json")).read_bytes())
    history = VerdictHistory(home / "monitoring" / MODEL)
    assert publish(home / "evidently", history, kept_windows=2, kept_reports=1).removed == 1 + len(LAYERS)
    foreign.rename(home / "foreign.json")
    assert names(home) == {f"v3-2026-01-0{day}-to-2026-01-0{day + 1}: numbers" for day in (2, 3)}


def test_f48_a_verdict_or_report_that_cannot_be_read_is_noted_and_the_others_are_shown(home: Path) -> None:
    folder = home / "monitoring" / MODEL
    next(folder.glob("*-01-02-to-*/1/verdict.json")).write_text("{")
    next(folder.glob("*-01-01-to-*/1/evidently/outputs.json")).write_text("{")
    shutil.rmtree(home / "evidently")
    _, published = bring_up_to_date(home / "evidently", home / "monitoring")
    assert len(published.notes) == 2
    assert any("2026-01-02" in note and "cannot be read" in note for note in published.notes)
    assert len(names(home)) == 2 + len(LAYERS) - 1


def test_f48_no_verdict_yet_is_an_empty_workspace(tmp_path: Path) -> None:
    damaged, published = bring_up_to_date(tmp_path / "evidently", tmp_path / "monitoring")
    assert (damaged, published.added, published.notes) == ("", 0, ())
    assert (tmp_path / "evidently").is_dir()
