"""Retraining on real files: flapping drift, kills, races, refusals, and a journal that somebody changed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from data_contracts.drift.history import LookedAt, VerdictHistory
from data_contracts.drift.verdict import DriftVerdict
from data_contracts.errors import EnvironmentProblem, ModelGateError, UsageProblem
from data_contracts.workspace import Workspace
from models.registry.decisions.entries import Aliases, Decision, Outcome
from models.registry.decisions.file_storage import FileStorage
from models.registry.decisions.log import DecisionLog
from models.registry.decisions.person import Person
from models.registry.evidence import Evidence, keep_evidence, lineage_of
from models.registry.follow import tracking_store
from models.registry.versions import register_challenger
from models.retraining.journal import RetrainingJournal
from models.retraining.labels import Learned, NewLabels, learned_by
from models.retraining.settings import RetrainingSettings
from models.retraining.status import RetrainingStatus
from models.retraining.trigger import close_circuit, note_verdict, read_status, training_attempt
from tests.reviewed_versions import NAME, build_bundle, build_collection

MODEL = "lungline-chest"
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
ANNA = Person(name="anna", kind="operating-system user")
SETTINGS = RetrainingSettings(cooldown_days=5)


def labels(number: int) -> NewLabels:
    return NewLabels(images=number, decisions=0, fingerprint=f"{number:064x}")


def a_verdict(day: int, verdict: str, issue: int = 1) -> DriftVerdict:
    first = date(2026, 3, 1) + timedelta(days=day)
    return DriftVerdict.model_validate(
        {
            "model": MODEL,
            "version": "1",
            "bundle": "b" * 64,
            "profile": "a" * 64,
            "window": {
                "id": f"{first}",
                "since": f"{first}",
                "until": f"{first + timedelta(days=1)}",
                "n": 500,
                "issue": issue,
            },
            "layers": [],
            "outcome": "exceeded" if verdict == "alarm" else "quiet",
            "verdict": verdict,
            "severity": "log",
            "reasons": [],
            "confirmations": 2,
            "windows": 3,
            "false_alarm_rate": 0.01,
            "windows_between_false_alarms": 1e4,
        }
    )


class Ward:
    """A workspace whose windows are judged day by day, at noon."""

    def __init__(self, home: Path) -> None:
        self.workspace = Workspace(home)
        self.workspace.create()
        self.journal = RetrainingJournal.of(self.workspace, MODEL)
        self.day = 0
        self.later = timedelta(0)

    def now(self) -> datetime:
        return START + timedelta(days=self.day) + self.later

    def judge(self, *verdicts: str) -> RetrainingStatus:
        for verdict in verdicts:
            self.day += 1
            status = note_verdict(self.workspace, MODEL, a_verdict(self.day, verdict), SETTINGS, self.now())
        return status

    def give(self, verdict: DriftVerdict) -> None:
        """Keep a verdict as the monitor does, without noting it."""
        window = verdict.window
        looked_at = LookedAt(
            kind="days",
            since=date.fromisoformat(window.since),
            until=date.fromisoformat(window.until),
            rows=window.n,
            content=f"issue {window.issue}",
        )
        with VerdictHistory(self.workspace.monitoring / MODEL).giving(verdict, looked_at):
            pass

    def train(self, seen: NewLabels, version: str | None) -> bool:
        """Train if the brakes let go. version: what is registered, None to fail."""
        with training_attempt(self.workspace, MODEL, SETTINGS, seen, self.now) as (_, attempt):
            if attempt is None:
                return False
            if version is None:
                raise RuntimeError("patient-4711.png cannot be learned from")
            attempt.made(version)
        return True

    def status(self, seen: NewLabels | None = None) -> RetrainingStatus:
        return read_status(self.workspace, MODEL, SETTINGS, self.now(), seen)

    def reject(self, version: str) -> None:
        """As the decision log holds it after `lungline reject`."""
        self.later += timedelta(minutes=1)
        log = DecisionLog(FileStorage.of(self.workspace), self.now)
        log.append(
            lambda sequence, previous, time: Decision(
                sequence=sequence,
                previous=previous,
                time=time,
                kind="reject",
                model=MODEL,
                version=version,
                bundle=None,
                person=ANNA,
                trained_by=None,
                reason="worse on children",
                dossier=None,
                verdict=None,
                overrides=[],
                before=Aliases(champion="1"),
                after=Aliases(champion="1"),
            )
        )
        log.append(
            lambda sequence, previous, time: Outcome(
                sequence=sequence,
                previous=previous,
                time=time,
                kind="done",
                model=MODEL,
                decision=sequence - 1,
                note="",
            )
        )

    def kinds(self) -> list[str]:
        return [entry.kind for entry in self.journal.read()]


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    return Ward(tmp_path / "home")


def test_f46_a_month_of_flapping_drift_asks_once_and_trains_once(ward: Ward) -> None:
    ward.judge(*["quiet"] * 7)
    trained = 0
    for number in range(8):
        ward.judge("alarm", "watch", "alarm")
        trained += ward.train(labels(number + 1), "2")
    assert (ward.kinds().count("requested"), trained) == (1, 1)
    assert ward.status(labels(99)).state == "cooling down"
    recovered = ward.judge(*["quiet"] * 3)
    assert not recovered.requested


def test_f46_the_same_verdict_noted_again_changes_nothing(ward: Ward) -> None:
    ward.judge("alarm")
    before = ward.journal.path.read_bytes()
    for _ in range(3):
        status = note_verdict(ward.workspace, MODEL, a_verdict(1, "alarm"), SETTINGS, ward.now())
    assert ward.journal.path.read_bytes() == before
    assert status.state == "confirming"


def test_f46_verdicts_that_a_killed_monitor_did_not_note_are_caught_up_in_order(ward: Ward) -> None:
    for day, verdict in enumerate(["alarm", "quiet", "alarm"], start=1):
        ward.give(a_verdict(day, verdict))
    ward.give(a_verdict(2, "alarm", issue=2))
    seen = ward.status()
    assert (seen.state, seen.requested) == ("waiting for labels", True)
    assert not ward.journal.path.exists()  # looking writes nothing
    ward.day = 3
    assert ward.judge("quiet").state == "waiting for labels"
    windows = [(entry.window, entry.issue) for entry in ward.journal.read() if entry.kind == "window"]
    days = [(f"2026-03-0{day}", issue) for day, issue in ((2, 1), (3, 1), (3, 2), (4, 1), (5, 1))]
    assert windows == days
    assert ward.kinds().count("requested") == 1


def test_f46_days_that_a_person_chose_to_look_at_ask_for_nothing(ward: Ward) -> None:
    """Their images are also those of other windows, and would count twice."""
    for day in range(1, 8):
        verdict = a_verdict(day, "alarm")
        since = date.fromisoformat(verdict.window.since)
        if (since.toordinal() - 1) % 3:  # else these three days are a window like any other
            chosen = {"id": f"v1-{since}-for-3-days", "until": str(since + timedelta(days=3))}
            ward.give(verdict.model_copy(update={"window": verdict.window.model_copy(update=chosen)}))
    assert not ward.status().requested


def test_f46_a_verdict_that_cannot_be_read_is_named_and_the_others_count(ward: Ward) -> None:
    for day in (1, 2, 3):
        ward.give(a_verdict(day, "alarm"))
    (ward.workspace.monitoring / MODEL / "2026-03-03" / "1" / "verdict.json").write_text("{")
    seen = ward.status()
    assert seen.requested
    assert seen.notes == ["the verdict 2026-03-03/1 cannot be read"]


def test_f46_a_kill_between_window_and_request_asks_the_next_time_and_once(ward: Ward) -> None:
    ward.judge("alarm", "alarm")
    complete = ward.journal.path.read_bytes()
    *lines, request = complete.splitlines(keepends=True)
    assert b'"requested"' in request
    ward.journal.path.write_bytes(b"".join(lines) + request[:20])  # half a line, as a kill leaves it
    assert ward.kinds() == ["window", "window"]
    ward.judge("alarm")
    assert ward.kinds() == ["window", "window", "requested", "window"]


def test_f46_a_full_disk_adds_nothing_and_says_so(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    ward.judge("alarm")
    before = ward.journal.path.read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EnvironmentProblem, match="No space left"):
        ward.judge("alarm")
    assert ward.journal.path.read_bytes() == before


@pytest.mark.parametrize(
    ("old", "new"), [(b'"alarm"', b'"quiet!"'), (b'"sequence":1', b'"sequence":7'), (b"{", b"")]
)
def test_f46_a_changed_journal_is_named_by_line_and_nothing_trains(ward: Ward, old: bytes, new: bytes) -> None:
    ward.judge("alarm", "alarm")
    lines = ward.journal.path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(old, new, 1)
    ward.journal.path.write_bytes(b"".join(lines))
    with pytest.raises(ModelGateError, match=r"retraining\.jsonl was changed: line 2"):
        ward.train(labels(1), "2")


def test_f46_a_changed_decision_log_stops_the_training(ward: Ward) -> None:
    ward.judge("alarm", "alarm")
    ward.train(labels(1), "2")
    ward.reject("2")
    log = ward.workspace.home / "decisions.jsonl"
    log.write_bytes(log.read_bytes().replace(b"worse on children", b"better on adults!"))
    ward.judge("alarm", "alarm")
    ward.day += 10
    status = ward.status(labels(2))
    assert not status.may_train
    assert "the decision log was changed" in next(one.why for one in status.brakes if one.name == "decision")


def test_f46_two_refused_versions_open_the_circuit_until_a_person_closes_it(ward: Ward) -> None:
    for number in (1, 2):
        ward.judge("alarm", "alarm")
        assert ward.train(labels(number), str(number + 1))
        ward.reject(str(number + 1))
        ward.day += 6
    ward.judge("alarm", "alarm")
    assert ward.status(labels(3)).state == "open circuit"
    assert not ward.train(labels(3), "4")
    program = Person(name="cron", kind="ZenML service account", account_id="7")
    with pytest.raises(ModelGateError, match="belongs to a program"):
        close_circuit(ward.workspace, MODEL, SETTINGS, ward.now(), person=program, reason="it is night")
    closed = close_circuit(
        ward.workspace, MODEL, SETTINGS, ward.now(), person=ANNA, reason="the labels were mended"
    )
    assert closed.setbacks == 0
    assert ward.train(labels(3), "4")
    with pytest.raises(UsageProblem, match="is closed"):
        close_circuit(ward.workspace, MODEL, SETTINGS, ward.now(), person=ANNA, reason="once more")


def test_f46_a_training_that_fails_twice_opens_the_circuit_and_names_no_file(ward: Ward) -> None:
    ward.judge("alarm", "alarm")
    for _ in range(2):
        with pytest.raises(RuntimeError):
            ward.train(labels(1), None)
    assert ward.status(labels(1)).state == "open circuit"
    assert not ward.train(labels(1), "2")
    assert b"patient-4711" not in ward.journal.path.read_bytes()


def test_f46_a_training_that_a_person_interrupts_may_begin_again(ward: Ward) -> None:
    ward.judge("alarm", "alarm")
    with (
        pytest.raises(KeyboardInterrupt),
        training_attempt(ward.workspace, MODEL, SETTINGS, labels(1), ward.now),
    ):
        raise KeyboardInterrupt
    assert ward.status(labels(1)).setbacks == 0
    assert ward.train(labels(1), "2")


def test_f46_a_version_that_was_there_before_is_nothing_new_and_uses_up_the_labels(ward: Ward) -> None:
    ward.judge("alarm", "alarm")
    ward.reject("2")  # a person had trained and refused it
    assert ward.train(labels(1), "2")
    assert ward.journal.read()[-1].model_dump(include={"outcome", "version"}) == {
        "outcome": "nothing new",
        "version": None,
    }
    assert ward.status(labels(1)).state == "waiting for labels"


_TRAINING = """
import os, signal, sys
from datetime import datetime
from pathlib import Path
from data_contracts.workspace import Workspace
from models.registry.follow import tracking_store
from models.retraining.labels import Learned, NewLabels, learned_by
from models.retraining.settings import RetrainingSettings
from models.retraining.trigger import training_attempt

now = lambda: datetime.fromisoformat(sys.argv[2])
seen = NewLabels(images=1, decisions=0, fingerprint=f"{1:064x}")
with training_attempt(Workspace(Path(sys.argv[1])), sys.argv[3], RetrainingSettings(cooldown_days=5), seen, now) as (
    _, attempt
):
    print("training" if attempt else "held", flush=True)
    signal.pause()
"""


def a_training_elsewhere(ward: Ward) -> subprocess.Popen[str]:
    """A process in the middle of a training."""
    process = subprocess.Popen(
        [sys.executable, "-c", _TRAINING, str(ward.workspace.home), ward.now().isoformat(), MODEL],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "training\n"
    return process


def test_f46_only_one_process_trains_and_a_killed_one_is_noticed(ward: Ward) -> None:
    ward.judge("alarm", "alarm")
    running = a_training_elsewhere(ward)
    try:
        assert ward.status(labels(1)).state == "training"
        assert not ward.train(labels(1), "2")
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()
        assert running.stdout is not None
        running.stdout.close()
    after = ward.status(labels(1))
    assert (after.state, after.setbacks) == ("requested", 1)
    assert ward.train(labels(1), "2")
    assert ward.kinds()[-4:] == ["started", "ended", "started", "ended"]
    assert ward.kinds().count("requested") == 1


def test_f46_what_versions_were_offered_is_read_from_the_registry_and_unknown_without_evidence(
    tmp_path: Path,
) -> None:
    collection = build_collection(tmp_path)
    workspace, store = collection.workspace, tracking_store(collection.workspace)
    assert learned_by(workspace, store, NAME, None) == Learned()
    versions = []
    for seed in (1, 2):
        bundle = build_bundle(collection, tmp_path / str(seed), seed=seed)
        versions.append(register_challenger(store, bundle, model_name=NAME, tags={}, description_markdown=""))
    lineage = lineage_of(collection.catalog, collection.store.content_hash)
    keep_evidence(store, versions[0], Evidence(lineage=lineage))
    store.client.set_registered_model_alias(NAME, "champion", versions[0].version)
    today = datetime.now(UTC).date()
    assert learned_by(workspace, store, NAME, None) == Learned(images=160, since=today)
    assert learned_by(workspace, store, NAME, versions[1].version) == Learned(images=None, since=today)
