"""A short month of a model in use: quiet while nothing changes, an alarm in time when something does, one request."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from data_contracts.drift.evidently_workspace import publish
from models.monitoring.due import history_of
from models.monitoring.last_verdict import last_verdicts
from models.scoring.prediction_log import PredictionLog
from models.scoring.scorer import Scorer
from tests.month.hospital import Hospital, open_hospital, small_recipe
from tests.month.story import INVERSION, QUIET, RECOVERY, SCANNER, Judged, live_through, month, score_day
from tests.pipeline.conftest import run_lungline

PER_DAY = 150
DAYS = month(quiet=3, scanner=3, inverted=1, settled=0, recovery=4)


@dataclass(frozen=True)
class Month:
    """What was left behind after the last day but one was judged; the last day's images are scored."""

    hospital: Hospital
    judged: list[Judged]

    def verdicts(self, phase: str) -> list[str]:
        return [one.verdict.verdict for one in self.judged if one.day.phase == phase]


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Month:
    recipe = small_recipe(epochs=6, monitoring={"least_images": 100})
    hospital = open_hospital(tmp_path_factory.mktemp("month") / "home", recipe, None, images=400)
    judged = list(live_through(hospital, DAYS[:-1], n=PER_DAY, detailed=False))
    log = PredictionLog.of(hospital.workspace, hospital.model_name)
    score_day(hospital, Scorer.open(hospital.workspace, hospital.model_name), log, DAYS[-1], PER_DAY)
    return Month(hospital, judged)


def test_every_day_is_judged_once_on_the_next_morning(lived: Month) -> None:
    assert [one.verdict.window.since for one in lived.judged] == [str(day.day) for day in DAYS[:-1]]
    assert {one.verdict.window.issue for one in lived.judged} == {1}


def test_quiet_days_raise_no_alarm(lived: Month) -> None:
    assert "alarm" not in lived.verdicts(QUIET)
    assert lived.verdicts(RECOVERY)[-1] == "quiet"


def test_f45_a_new_scanner_is_an_alarm_by_its_second_day(lived: Month) -> None:
    assert lived.verdicts(SCANNER)[:2] == ["watch", "alarm"]
    first = next(one.verdict for one in lived.judged if one.day.phase == SCANNER)
    descriptors = first.layer("descriptors")
    assert descriptors is not None
    assert descriptors.outcome == "exceeded"


def test_inverted_images_are_refused_and_a_person_is_asked_for(lived: Month) -> None:
    (faulty,) = [one.verdict for one in lived.judged if one.day.phase == INVERSION]
    assert sum(faulty.refused.values()) > PER_DAY / 10
    contract = faulty.layer("contract")
    assert contract is not None
    assert contract.outcome == "exceeded"
    assert faulty.severity == "route to a person"


def test_f46_the_whole_episode_asks_for_retraining_once(lived: Month) -> None:
    assert max(one.retraining.episode for one in lived.judged) == 1
    asked = [one for one in lived.judged if one.retraining.episode == 1]
    assert asked[0].day.phase == SCANNER


def test_each_verdict_has_a_page_and_a_point_on_the_dashboard(lived: Month) -> None:
    workspace = lived.hospital.workspace
    history = history_of(workspace, lived.hospital.model_name)
    for issued in history.latest():
        assert (issued.folder / "index.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert publish(workspace.evidently, history).added == len(lived.judged)
    assert publish(workspace.evidently, history).added == 0


def test_the_command_judges_the_last_day_with_its_reports(lived: Month) -> None:
    # Days after the last one of the log are over as well; they are windows of their own that --since leaves out.
    days = ("--since", str(DAYS[-1].day), "--until", str(DAYS[-1].day + timedelta(days=1)))
    finished = run_lungline(lived.hospital.workspace.home, "monitor", *days, "--json")
    assert finished.code == 0, finished.err
    (verdict,) = finished.document["verdicts"]
    assert (verdict["window"]["since"], verdict["verdict"]) == (str(DAYS[-1].day), "quiet")
    assert Path(finished.document["page"]).parent.joinpath("evidently", "descriptors.html").is_file()
    (last,) = last_verdicts(lived.hospital.workspace, [lived.hospital.model_name])
    assert (last.since, last.verdict, last.page) == (str(DAYS[-1].day), "quiet", Path(finished.document["page"]))
