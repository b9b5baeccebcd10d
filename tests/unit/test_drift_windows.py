"""Windows are cut so that each image is judged once, and each window again only where its images changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pytest

from data_contracts.drift.history import LookedAt, VerdictHistory
from data_contracts.drift.verdict import DriftVerdict, Window
from data_contracts.drift.windows import CAUGHT_UP, CutWindow, Place, WindowLength, at, between, closed_windows
from data_contracts.errors import EnvironmentProblem, UsageProblem

DAILY, WEEKLY, BY_FIVE = WindowLength("days", 1), WindowLength("days", 7), WindowLength("count", 5)
MONDAY = date(2026, 3, 2)


def log(days: Sequence[str], scored: Sequence[str] | None = None) -> pd.DataFrame:
    """A log with one image per given day of taking, scored at noon of that day or of another one."""
    frame = pd.DataFrame(
        {
            "image_key": [f"{number:064x}" for number in range(len(days))],
            "taken_on": pd.Series(list(days), dtype="str"),
            "scored_at": [f"{day}T12:00:00.{number:03d}Z" for number, day in enumerate(scored or days)],
        }
    )
    return frame.sort_values(["taken_on", "scored_at"], kind="stable").reset_index(drop=True)


def cut(
    frame: pd.DataFrame, length: WindowLength, today: date, judged: Sequence[CutWindow] = ()
) -> list[CutWindow]:
    return closed_windows(frame, "3", length, today=today, judged=[window.place for window in judged])


def verdict(place: Place, issue: int = 1, said: str = "quiet") -> DriftVerdict:
    """As short as a verdict can be."""
    window = Window(id=place.id, since=str(place.since), until=str(place.until), n=1, issue=issue, kind=place.kind)
    return DriftVerdict(
        **{
            "model": "lungline-small",
            "version": "3",
            "bundle": "b",
            "profile": "p",
            "window": window,
            "layers": (),
        },
        **{
            "outcome": "quiet",
            "verdict": said,
            "severity": "log",
            "reasons": (),
            "confirmations": 2,
            "windows": 3,
        },
        **{"false_alarm_rate": 0.01, "windows_between_false_alarms": 1e4},
    )


def give(history: VerdictHistory, window: CutWindow, issue: int = 1) -> None:
    with history.giving(verdict(window.place, issue), LookedAt.of(window)) as folder:
        (folder / "index.html").write_text("page")


@pytest.mark.parametrize("text", ["0", "7days", "-5", "d", "", "1e3"])
def test_a_length_that_is_none_is_refused_with_examples(text: str) -> None:
    with pytest.raises(UsageProblem, match="no length"):
        WindowLength.parse(text)


def test_lengths_are_read_as_they_are_named() -> None:
    assert WindowLength.parse("500") == WindowLength("count", 500)
    assert WindowLength.parse(" 7d ") == WEEKLY
    assert WindowLength.parse(WEEKLY.name) == WEEKLY


def test_weeks_begin_on_mondays_whatever_the_log_begins_with() -> None:
    frame = log(["2026-03-05", "2026-03-11", "2026-03-17"])
    windows = cut(frame, WEEKLY, date(2026, 3, 17))
    assert [window.place.since for window in windows] == [MONDAY, MONDAY + timedelta(days=7)]
    assert [len(window.rows) for window in windows] == [1, 1]


def test_a_day_is_closed_when_it_is_over_and_a_silent_day_is_a_window_too() -> None:
    frame = log(["2026-03-02", "2026-03-04", "2026-03-05"])
    windows = cut(frame, DAILY, date(2026, 3, 5))
    assert [(str(window.place.since), len(window.rows)) for window in windows] == [
        ("2026-03-02", 1),
        ("2026-03-03", 0),
        ("2026-03-04", 1),
    ]


def test_windows_that_were_judged_are_not_cut_again_even_where_the_log_is_silent_since() -> None:
    frame = log(["2026-03-02", "2026-03-03"])
    first = cut(frame, DAILY, date(2026, 3, 4))
    assert [str(window.place.since) for window in cut(frame, DAILY, date(2026, 3, 5), first)] == ["2026-03-04"]
    assert cut(frame, DAILY, date(2026, 3, 4), first) == []


def test_after_a_long_silence_only_the_latest_windows_are_caught_up_with() -> None:
    windows = cut(log(["2026-01-01"]), DAILY, date(2026, 3, 1))
    assert len(windows) == CAUGHT_UP
    assert windows[-1].place.until == date(2026, 3, 1)


@pytest.mark.parametrize(
    ("since", "until"),
    [("2026-03-18", "2026-03-25"), ("2026-03-24", "2026-03-31"), ("2026-03-30", "2026-04-06")],
    ids=["from one week into the next", "not over yet", "a week that is not over yet"],
)
def test_days_that_a_person_chose_to_look_at_hide_no_window_and_are_none_of_the_series(
    since: str, until: str
) -> None:
    frame = log([str(MONDAY + timedelta(days=day)) for day in range(28)])
    first = cut(frame, WEEKLY, date(2026, 3, 16))
    chosen = between(frame, "3", date.fromisoformat(since), date.fromisoformat(until))
    due = cut(frame, WEEKLY, date(2026, 3, 30), [*first, chosen])
    assert [str(window.place.since) for window in due] == ["2026-03-16", "2026-03-23"]
    assert not due[1].place.follows(chosen.place)


def test_a_week_that_a_person_asked_for_is_a_week_of_the_series() -> None:
    frame = log([str(MONDAY + timedelta(days=day)) for day in range(14)])
    asked = between(frame, "3", MONDAY, MONDAY + timedelta(days=7))
    (second,) = cut(frame, WEEKLY, date(2026, 3, 16), [asked])
    assert second.place.follows(asked.place)


def test_windows_of_images_follow_the_order_of_scoring_and_hold_exactly_so_many() -> None:
    days = ["2026-03-02"] * 12
    windows = cut(log(days), BY_FIVE, MONDAY)
    assert [len(window.rows) for window in windows] == [5, 5]
    keys = [key for window in windows for key in window.rows["image_key"]]
    assert keys == [f"{number:064x}" for number in range(10)]


def test_a_late_image_joins_no_earlier_window_of_images() -> None:
    first = cut(log(["2026-03-02"] * 6), BY_FIVE, MONDAY)
    late = log(["2026-03-02"] * 6 + ["2026-01-01"] * 4, ["2026-03-02"] * 6 + ["2026-03-03"] * 4)
    assert at(late, "3", first[0].place).content == first[0].content
    (second,) = cut(late, BY_FIVE, MONDAY, first)
    assert sorted(second.rows["image_key"]) == [f"{number:064x}" for number in range(5, 10)]


def test_a_window_of_days_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(UsageProblem, match="holds no day"):
        between(log(["2026-03-02"]), "3", MONDAY, MONDAY)


def test_places_follow_each_other_only_within_their_series() -> None:
    monday, tuesday = cut(log(["2026-03-02", "2026-03-03"]), DAILY, date(2026, 3, 4))
    (week,) = cut(log(["2026-03-02"]), WEEKLY, date(2026, 3, 9))
    assert tuesday.place.follows(monday.place)
    assert not monday.place.follows(tuesday.place)
    assert not week.place.follows(monday.place)


def test_a_place_survives_json() -> None:
    (window,) = cut(log(["2026-03-02"] * 5), BY_FIVE, MONDAY)
    assert Place.of_json(window.place.to_json()) == window.place


def test_a_verdict_is_kept_with_its_page_and_read_again(tmp_path: Path) -> None:
    history = VerdictHistory(tmp_path)
    (window,) = cut(log(["2026-03-02"]), DAILY, date(2026, 3, 3))
    give(history, window)
    (issued,), unreadable = history.issued()
    assert issued.place == window.place
    assert (issued.folder / "index.html").read_text() == "page"
    assert issued.looked_at.content == window.content
    assert unreadable == []


def test_of_several_issues_the_last_one_counts_and_none_is_overwritten(tmp_path: Path) -> None:
    history = VerdictHistory(tmp_path)
    (window,) = cut(log(["2026-03-02"]), DAILY, date(2026, 3, 3))
    for issue in (1, 2):
        assert history.next_issue(window.place.id) == issue
        give(history, window, issue)
    assert [one.verdict.window.issue for one in history.latest()] == [2]
    with pytest.raises(EnvironmentProblem):
        give(history, window, 2)
    assert len(history.issued()[0]) == 2


def test_verdicts_come_in_the_order_in_which_their_windows_end(tmp_path: Path) -> None:
    history = VerdictHistory(tmp_path)
    windows = cut(log(["2026-03-02", "2026-03-03", "2026-03-04"]), DAILY, date(2026, 3, 5))
    for window in reversed(windows):
        give(history, window)
    assert [one.place for one in history.latest("3")] == [window.place for window in windows]
    assert history.latest("4") == []
