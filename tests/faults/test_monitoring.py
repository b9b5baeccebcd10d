"""Monitoring where things go wrong: empty windows, late images, damaged files, versions without a reference."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_contracts.drift.profile import ReferenceProfile
from data_contracts.drift.settings import MonitorSettings
from data_contracts.drift.windows import WindowLength
from data_contracts.errors import ModelGateError
from data_contracts.workspace import Workspace
from models.monitoring.conduct import check_contract, conduct
from models.monitoring.due import collect_window, due_windows, history_of
from models.monitoring.registry_watch import registry_alarms
from models.monitoring.scored_window import ScoredWindow
from models.monitoring.watched import WatchedVersion, watched_version
from models.retraining.settings import RetrainingSettings
from models.scoring.log_rows import log_columns
from models.scoring.prediction_log import PredictionLog
from tests.faults.test_decisions import MODEL, Hospital
from tests.unit.test_bundle import make_spec

NAME = "lungline-small"
CLASSES = list(make_spec().class_names)
BEGIN = date(2026, 3, 2)
DAILY = WindowLength("days", 1)
SETTINGS = MonitorSettings(least_images=60, resamples=400, false_alarm_rate=0.05)


def rows(
    day: date, n: int, *, seed: int = 0, brighter: float = 0.0, scored_on: date | None = None
) -> pd.DataFrame:
    """Rows of the prediction log as a quiet scanner makes them; `brighter` moves the descriptors."""
    rng = np.random.default_rng([seed, day.toordinal()])
    p = rng.dirichlet(np.ones(len(CLASSES)), n)
    keys = [rng.bytes(32).hex() for _ in range(n)]
    at = datetime.combine(scored_on or day, datetime.min.time(), UTC).isoformat(timespec="milliseconds")
    level = rng.normal(110 + brighter, 8, n)
    known: dict[str, object] = {
        "image_key": keys,
        "image_id": keys,
        "taken_on": day.isoformat(),
        "scored_at": at.replace("+00:00", "Z"),
        "origin": "batch",
        "model": NAME,
        "version": "1",
        "bundle": "b" * 64,
        "source": rng.choice(["north", "south"], n),
        "view": rng.choice(["AP", "PA"], n),
        "sex": rng.choice(["F", "M"], n),
        "age": rng.integers(20, 90, n).astype(float),
        "width": 512,
        "height": 512,
        "mode": "L",
        "format": "PNG",
        "mean": level,
        "std": rng.normal(50, 4, n),
        "p01": np.clip(level - 90, 0, None),
        "p50": level,
        "p99": np.clip(level + 90, None, 255),
        "saturated": rng.uniform(0, 0.02, n),
        "sharpness": rng.normal(200, 20, n),
        "border_energy": rng.normal(40, 5, n),
        "chest_likeness": rng.uniform(0.5, 0.9, n),
        "predicted": [CLASSES[k] for k in p.argmax(axis=1)],
        **{f"p_{name}": p[:, k] for k, name in enumerate(CLASSES)},
        **{f"call_{name}": np.where(p[:, k] > 0.5, "positive", "negative") for k, name in enumerate(CLASSES)},
        "embedding": list(rng.normal(size=(n, 8)).astype(np.float32)),
    }
    columns = log_columns(CLASSES)
    frame = pd.DataFrame({name: known.get(name, "") for name in columns}, index=range(n))
    return frame.astype(columns)


@dataclass(frozen=True)
class Watch:
    """A model in use with its log, and the shorthands of a morning."""

    workspace: Workspace
    watched: WatchedVersion

    @property
    def log(self) -> PredictionLog:
        return PredictionLog.of(self.workspace, NAME)

    def due(self, today: date, labels: pd.DataFrame | None = None) -> list[ScoredWindow]:
        return due_windows(self.workspace, self.watched, DAILY, today=today, labels=labels).windows

    def judge(self, today: date, labels: pd.DataFrame | None = None, *, contract_too: bool = False) -> list[str]:
        """Judge what is due; window, issue and verdict of each."""
        said = []
        for window in self.due(today, labels):
            contract = check_contract(self.watched, window) if contract_too else None
            given = conduct(self.workspace, self.watched, window, contract, detailed=False).issued.verdict
            said.append(f"{given.window.since} {given.window.issue} {given.verdict}")
        return said


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> ReferenceProfile:
    frame = rows(date(2025, 1, 1), 400)
    frame = frame.assign(group_id=frame["image_id"], label=frame["predicted"], unknown_classes="")
    embeddings = np.stack(frame["embedding"].tolist())
    return ReferenceProfile.write(tmp_path_factory.mktemp("reference") / "profile", frame, embeddings, CLASSES)


@pytest.fixture
def watch(tmp_path: Path, profile: ReferenceProfile) -> Watch:
    return Watch(Workspace(tmp_path), version(profile))


def version(profile: ReferenceProfile | None) -> WatchedVersion:
    return WatchedVersion(NAME, "1", "b" * 64, make_spec(), profile, SETTINGS, RetrainingSettings())


def test_f43_a_day_without_images_and_one_with_five_are_insufficient_and_leave_a_page(watch: Watch) -> None:
    watch.log.append(rows(BEGIN, 5))
    watch.log.append(rows(BEGIN + timedelta(days=2), 5))
    said = watch.judge(BEGIN + timedelta(days=2), contract_too=True)
    assert said == ["2026-03-02 1 insufficient", "2026-03-03 1 insufficient"]
    for issued in history_of(watch.workspace, NAME).latest():
        assert "Insufficient" in (issued.folder / "index.html").read_text(encoding="utf-8")


def test_f43_columns_that_are_empty_or_constant_leave_the_verdict_and_the_page(watch: Watch) -> None:
    broken = rows(BEGIN, 150).assign(sharpness=np.nan, age=np.nan, width=0, view="", mean=100.0)
    watch.log.append(broken)
    (said,) = watch.judge(BEGIN + timedelta(days=1), contract_too=True)
    assert said.split()[-1] in ("watch", "alarm")
    (issued,) = history_of(watch.workspace, NAME).latest()
    assert {layer.layer for layer in issued.verdict.layers} == set(SETTINGS.layers)


def test_f45_drift_is_to_be_watched_on_the_first_day_and_an_alarm_on_the_second(watch: Watch) -> None:
    for number, brighter in enumerate([0, 0, 15, 15]):
        watch.log.append(rows(BEGIN + timedelta(days=number), 150, brighter=brighter))
    said = [line.split()[-1] for line in watch.judge(BEGIN + timedelta(days=4))]
    assert said == ["quiet", "quiet", "watch", "alarm"]


def test_f47_a_window_is_judged_once_and_again_only_when_late_images_arrive(watch: Watch) -> None:
    watch.log.append(rows(BEGIN, 100))
    tomorrow, later = BEGIN + timedelta(days=1), BEGIN + timedelta(days=3)
    assert watch.judge(tomorrow) == ["2026-03-02 1 quiet"]
    assert watch.due(tomorrow) == []
    watch.log.append(rows(BEGIN, 100))
    assert watch.due(tomorrow) == [], "the same images again change nothing"
    watch.log.append(rows(BEGIN, 20, seed=1, scored_on=later))
    assert watch.judge(tomorrow) == ["2026-03-02 2 quiet"]
    issues = history_of(watch.workspace, NAME).issued()[0]
    assert [(one.verdict.window.issue, one.looked_at.rows) for one in issues] == [(1, 100), (2, 120)]


def test_images_after_the_last_closed_window_are_counted_as_waiting(watch: Watch) -> None:
    watch.log.append(rows(BEGIN, 30))
    by_count = WindowLength("count", 20)
    due = due_windows(watch.workspace, watch.watched, by_count, today=BEGIN)
    assert ([len(window.rows) for window in due.windows], due.waiting, due.last) == ([20], 10, None)
    nothing = due_windows(watch.workspace, watch.watched, WindowLength("count", 500), today=BEGIN)
    assert (nothing.windows, nothing.waiting) == ([], 30)


def test_f47_a_damaged_file_of_the_log_is_named_and_its_window_keeps_the_verdict_it_had(watch: Watch) -> None:
    watch.log.append(rows(BEGIN, 100))
    watch.log.append(rows(BEGIN + timedelta(days=1), 100))
    tomorrow = BEGIN + timedelta(days=1)
    assert watch.judge(tomorrow) == ["2026-03-02 1 quiet"]
    (damaged,) = (watch.log.folder / f"day={BEGIN}").glob("*.parquet")
    damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
    found = due_windows(watch.workspace, watch.watched, DAILY, today=tomorrow + timedelta(days=1))
    assert found.damaged == (f"day={BEGIN}/{damaged.name}",)
    assert [str(window.place.since) for window in found.windows] == ["2026-03-03"]
    assert found.windows[0].looked_at.damaged == list(found.damaged)


def test_f47_an_image_scored_twice_is_counted_once(watch: Watch) -> None:
    first, again = rows(BEGIN, 100), rows(BEGIN, 100).assign(scored_at="2026-03-02T23:00:00.000Z")
    watch.log.append(first)
    (file,) = (watch.log.folder / f"day={BEGIN}").glob("*.parquet")
    aside = file.with_suffix(".aside")
    os.replace(file, aside)  # as where two machines wrote without seeing each other
    PredictionLog.of(watch.workspace, NAME).append(again)
    os.replace(aside, file)
    (window,) = watch.due(BEGIN + timedelta(days=1))
    assert (len(window.rows), window.looked_at.duplicates) == (100, 100)


def test_a_killed_judgement_leaves_nothing_that_looks_like_a_verdict(watch: Watch) -> None:
    watch.log.append(rows(BEGIN, 100))
    (window,) = watch.due(BEGIN + timedelta(days=1))
    left = watch.workspace.monitoring / NAME / window.place.id / ".1.part-dead"
    left.mkdir(parents=True)
    (left / "verdict.json").write_text("{")
    assert watch.judge(BEGIN + timedelta(days=1)) == ["2026-03-02 1 quiet"]
    assert not left.exists()


def test_a_version_without_a_reference_says_so_instead_of_quiet(tmp_path: Path) -> None:
    watch = Watch(Workspace(tmp_path), version(None))
    watch.log.append(rows(BEGIN, 300))
    assert watch.judge(BEGIN + timedelta(days=1)) == ["2026-03-02 1 insufficient"]
    (issued,) = history_of(watch.workspace, NAME).latest()
    assert "registered without a reference" in issued.verdict.reasons[0]


def test_labels_that_arrive_later_give_the_window_another_issue_with_what_was_true(watch: Watch) -> None:
    day = rows(BEGIN, 100)
    watch.log.append(day)
    tomorrow = BEGIN + timedelta(days=1)
    watch.judge(tomorrow)
    labels = day[["image_id", "predicted"]].rename(columns={"predicted": "label"}).iloc[:40]
    assert watch.judge(tomorrow, labels) == ["2026-03-02 2 quiet"]
    measured = history_of(watch.workspace, NAME).latest()[0].verdict.outcome_performance
    assert measured is not None
    assert (measured.n, measured.awaiting, measured.accuracy.value) == (40, 60, 1.0)
    assert watch.due(tomorrow, labels) == []
    watch.log.append(rows(BEGIN, 20, seed=1))
    assert watch.judge(tomorrow) == ["2026-03-02 3 quiet"], "labels given once are not forgotten"
    again = history_of(watch.workspace, NAME).latest()[0].verdict.outcome_performance
    assert again is not None
    assert again.n == 40


def test_what_travels_to_the_judge_holds_no_pseudonym_and_survives_the_way(watch: Watch, tmp_path: Path) -> None:
    known = rows(BEGIN, 30).assign(patient="north:" + "a" * 16)
    watch.log.append(known)
    (window,) = watch.due(BEGIN + timedelta(days=1))
    window.save(tmp_path / "window.parquet")
    read = ScoredWindow.load(tmp_path / "window.parquet")
    assert set(read.rows["patient"]) == {"patient:0"}
    assert b"a" * 16 not in (tmp_path / "window.parquet").read_bytes()
    assert read.content_hash() == window.content_hash()
    assert read.place == window.place
    assert collect_window(watch.workspace, watch.watched, window.place).content_hash() == window.content_hash()


def test_a_changed_reference_is_refused(watch: Watch, tmp_path: Path) -> None:
    assert watch.watched.profile is not None
    copy = tmp_path / "copy"
    shutil.copytree(watch.watched.profile.folder, copy)
    content = bytearray((copy / "reference.parquet").read_bytes())
    content[len(content) // 2] ^= 1
    (copy / "reference.parquet").write_bytes(bytes(content))
    with pytest.raises(ModelGateError, match=r"reference\.parquet"):
        ReferenceProfile.open(copy)


def test_a_champion_moved_behind_peoples_back_is_an_alarm_and_the_version_in_use_is_watched(
    tmp_path: Path,
) -> None:
    Workspace(tmp_path).create()
    hospital = Hospital(tmp_path)
    for number in (1, 2):
        hospital.register(number)
    hospital.approve("1", hospital.review("1"))
    assert registry_alarms(hospital.workspace) == []
    assert watched_version(hospital.workspace, MODEL).number == "1"
    hospital.store.client.set_registered_model_alias(MODEL, "champion", "2")
    (alarm,) = registry_alarms(hospital.workspace)
    assert "champion points to version 2" in alarm
    assert watched_version(hospital.workspace, MODEL).number == "2"
