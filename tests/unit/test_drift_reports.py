"""Evidently's pages and dashboard say what the verdict says, and open without a network."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_contracts.drift.dashboard_numbers import dashboard_numbers, window_end
from data_contracts.drift.evidently_columns import SAMPLE, drawn_columns
from data_contracts.drift.evidently_report import layer_reports
from data_contracts.drift.evidently_workspace import project_id, publish
from data_contracts.drift.history import VerdictHistory
from data_contracts.drift.layers import LAYERS
from data_contracts.drift.profile import ReferenceProfile
from data_contracts.drift.verdict import DriftVerdict, FeatureDrift
from tests import monitored_windows as made


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> ReferenceProfile:
    return made.profile(tmp_path_factory.mktemp("reference") / "profile")


@pytest.fixture(scope="module")
def reports(profile: ReferenceProfile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reports of a window whose source names try to break out of the page."""
    window = made.scored_images(300, seed=1)
    window.loc[:50, "source"] = "</script><script>alert(1)</script>"
    folder = tmp_path_factory.mktemp("verdict")
    layer_reports(profile, window, made.embeddings(300, seed=1), made.verdict(0, over="descriptors"), folder)
    return folder / "evidently"


def statuses(file: Path) -> dict[str, str]:
    """Name of a test -> its status, as Evidently kept it."""
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return {
        test["name"]: test["status"] for result in content["metric_results"].values() for test in result["tests"]
    }


def test_every_layer_has_a_page_and_a_snapshot(reports: Path) -> None:
    assert {file.name for file in reports.iterdir()} == {
        f"{layer}.{end}" for layer in LAYERS for end in ("html", "json")
    }


def test_evidently_passes_and_fails_exactly_what_the_verdict_does(reports: Path) -> None:
    assert statuses(reports / "descriptors.json") == {
        "Layer descriptors: exceeded": "FAIL",
        "Column mean: drifted": "FAIL",
        "Column std: not drifted": "SUCCESS",
    }
    for layer in set(LAYERS) - {"descriptors"}:
        assert set(statuses(reports / f"{layer}.json").values()) == {"SUCCESS"}


def test_the_values_on_the_page_are_the_verdicts_own(reports: Path) -> None:
    results = json.loads((reports / "descriptors.json").read_text(encoding="utf-8"))["metric_results"].values()
    layer = next(result for result in results if result["display_name"] == "Layer descriptors")
    assert {label: value["value"] for label, value in layer["values"].items()} == {"value": 6.0, "limit": 4.0}
    columns = {result["display_name"]: result.get("value") for result in results}
    assert columns["descriptors: mean"] == 0.3


def test_a_page_asks_nothing_of_a_network(reports: Path) -> None:
    for page in reports.glob("*.html"):
        markup = re.sub(r"<script\b.*?</script>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert not re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?(?:https?:)?//""", markup)
        assert not re.findall(r"<script[^>]+src=", page.read_text(encoding="utf-8"))


def test_a_name_cannot_end_the_script_it_stands_in(reports: Path) -> None:
    page = (reports / "acquisition.html").read_text(encoding="utf-8")
    assert "<script>alert(1)" not in page
    kept = json.loads((reports / "acquisition.json").read_text(encoding="utf-8"))
    assert "‹script>alert(1)" in str(kept)


def test_a_large_window_is_drawn_from_the_same_fair_sample_whatever_its_order(profile: ReferenceProfile) -> None:
    window = made.scored_images(SAMPLE + 500, seed=2)
    drawn = drawn_columns("descriptors", profile, window, None)
    turned = drawn_columns("descriptors", profile, window[::-1], None)
    assert len(drawn.window) == SAMPLE
    assert drawn.window.equals(turned.window)


def test_rare_categories_share_one_bar(profile: ReferenceProfile) -> None:
    window = made.scored_images(300, seed=3)
    window["source"] = [f"clinic {row % 60}" for row in range(300)]
    drawn = drawn_columns("acquisition", profile, window, None)
    assert drawn.window["source"].nunique() + drawn.reference["source"].nunique() <= 22
    assert (drawn.window["source"] == "others").any()


def test_a_layer_is_shown_as_a_multiple_of_its_limit_and_cut_off() -> None:
    numbers = dashboard_numbers(made.verdict(0, over="descriptors", labels=True))
    assert numbers["layer descriptors"] == pytest.approx(1.5)
    assert numbers["layer outputs"] == pytest.approx(0.25)
    broken = made.verdict(0, over="descriptors")
    layers = [layer.model_copy(update={"value": 400.0}) for layer in broken.layers]
    assert dashboard_numbers(broken.model_copy(update={"layers": tuple(layers)}))["layer outputs"] == 5.0


def test_shares_and_budget_of_a_window() -> None:
    numbers = dashboard_numbers(made.verdict(0, over="descriptors", labels=True))
    assert numbers["share of drifted columns"] == pytest.approx(1 / 5)
    assert numbers["predicted normal"] == pytest.approx(150 / 291)
    assert numbers["refused: blank"] == pytest.approx(6 / 300)
    assert (numbers["windows judged"], numbers["over a limit"], numbers["alarms"]) == (1, 1, 1)
    assert numbers["expected by chance alone"] == 0.01
    assert numbers["sensitivity covid19"] == pytest.approx(0.93)
    assert numbers["estimated sensitivity covid19"] == pytest.approx(0.9)


def test_what_is_undefined_is_absent_and_not_zero() -> None:
    numbers = dashboard_numbers(made.verdict(0))
    assert "sensitivity covid19" not in numbers
    assert "estimated sensitivity pneumothorax" not in numbers
    silent = made.verdict(0).model_copy(
        update={"layers": (), "predicted": {}, "refused": {}, "outcome": "insufficient"}
    )
    numbers = dashboard_numbers(silent)
    assert not [name for name in numbers if name.startswith(("layer", "predicted", "share"))]
    assert (numbers["windows judged"], numbers["expected by chance alone"], numbers["too few images"]) == (0, 0, 1)


def test_a_window_is_dated_by_its_end() -> None:
    assert window_end(made.verdict(0)).isoformat() == "2026-01-01T23:59:59+00:00"
    assert (
        window_end(made.verdict(0), "2026-01-05T10:00:00.500Z").isoformat() == "2026-01-05T10:00:00.500000+00:00"
    )


def shown(workspace: Path) -> dict[str, tuple[str, str]]:
    """Snapshot's name -> window's end and issue, of the one project there is."""
    folder = workspace / str(project_id("lungline-merged")) / "snapshots"
    contents = [json.loads(file.read_text(encoding="utf-8")) for file in folder.glob("*.json")]
    return {content["name"]: (content["timestamp"], content["metadata"].get("issue", "")) for content in contents}


def test_publishing_twice_changes_nothing_and_a_new_issue_takes_the_place_of_the_old(tmp_path: Path) -> None:
    workspace, history = tmp_path / "evidently", VerdictHistory(tmp_path / "monitoring" / "lungline-merged")
    for day in range(2):
        made.issued(history, made.verdict(day))
    assert publish(workspace, history).added == 2
    files = {file: file.read_bytes() for file in workspace.rglob("*.json")}
    assert (publish(workspace, history).added, publish(workspace, history).removed) == (0, 0)
    assert files == {file: file.read_bytes() for file in workspace.rglob("*.json")}
    made.issued(history, made.verdict(0, issue=2))
    again = publish(workspace, history)
    assert (again.added, again.removed) == (1, 1)
    assert shown(workspace)["v3-2026-01-01-to-2026-01-02: numbers"] == ("2026-01-01T23:59:59+00:00", "2")
    assert len(shown(workspace)) == 2


def test_panels_follow_the_numbers_there_are(tmp_path: Path) -> None:
    workspace, history = tmp_path / "evidently", VerdictHistory(tmp_path / "monitoring" / "lungline-merged")
    titles = "Sensitivity where labels have arrived"
    for labels in (False, True):
        made.issued(history, made.verdict(int(labels), labels=labels))
        publish(workspace, history)
        board = json.loads((workspace / str(project_id("lungline-merged")) / "dashboard.json").read_text("utf-8"))
        panels = {panel["title"]: panel for panel in board["panels"]}
        assert (titles in panels) is labels
    legends = [value["legend"] for value in panels["Each layer's statistic as a multiple of its limit"]["values"]]
    assert legends == [*LAYERS, "limit"]


def test_failed_checks_are_tests_though_there_is_no_column_to_draw(
    profile: ReferenceProfile, tmp_path: Path
) -> None:
    given = made.verdict(0)
    contract = given.layers[-1].model_copy(
        update={
            "features": (
                FeatureDrift(name="size", statistic="failed check", value=1.0, limit=0.0, drifted=True),
                FeatureDrift(name="refused or flagged", statistic="share", value=0.03, limit=0.1),
            )
        }
    )
    given = DriftVerdict.model_validate({**given.model_dump(), "layers": (contract.model_dump(),)})
    layer_reports(profile, made.scored_images(300, seed=4), np.zeros((0, 16), dtype=np.float32), given, tmp_path)
    assert statuses(tmp_path / "evidently" / "contract.json")["Column size: drifted"] == "FAIL"
