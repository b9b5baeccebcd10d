"""The decision log by itself: its bytes, its chain, its anchors, and who may decide."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from data_contracts.errors import ModelGateError, UsageProblem
from data_contracts.workspace import Workspace
from models.registry.decisions.decide import require_reason
from models.registry.decisions.entries import Aliases, Decision, Line, Outcome
from models.registry.decisions.file_storage import LOG, FileStorage
from models.registry.decisions.history import history
from models.registry.decisions.log import DecisionLog, require_sound
from models.registry.decisions.person import (
    ACCOUNT,
    OS_USER,
    SERVICE,
    TRAINED_BY_TAG,
    Person,
    operating_system_user,
    require_human,
    separation_doubt,
    trainer_in,
)
from models.registry.dossiers import HASH_DIGITS_IN_NAME, DossierVerdict, find_dossier, write_dossier
from models.retraining.settings import RetrainingSettings
from models.retraining.trigger import read_status

ANNA = Person(name="anna", kind=ACCOUNT, account_id="1")
BEN = Person(name="ben", kind=ACCOUNT, account_id="2")
ROBOT = Person(name="nightly", kind=SERVICE, account_id="3")
HEAD = "decisions.head.json"
USER = Person(name="müller", kind=OS_USER)


def decide(
    log: DecisionLog, kind: str, version: str, before: Aliases, after: Aliases, outcome: str = "done"
) -> None:
    def decision(sequence: int, previous: str, time: datetime) -> Decision:
        return Decision(
            sequence=sequence,
            previous=previous,
            time=time,
            kind=kind,
            model="chest",
            version=version,
            bundle="b" * 64,
            person=USER,
            trained_by=None,
            reason="größer ist besser",
            dossier=None,
            verdict=None,
            overrides=[],
            before=before,
            after=after,
        )

    line = log.append(decision)
    log.append(
        lambda sequence, previous, time: Outcome(
            sequence=sequence,
            previous=previous,
            time=time,
            kind=outcome,
            model="chest",
            decision=line.entry.sequence,
            note="",
        )
    )


@pytest.fixture
def log(tmp_path: Path) -> DecisionLog:
    """Two approvals: five lines."""
    log = DecisionLog(FileStorage(tmp_path / LOG))
    first, second = Aliases(champion="1"), Aliases(champion="2", previous="1")
    decide(log, "approve", "1", Aliases(), first)
    decide(log, "approve", "2", first, second)
    return log


def alarms(log: DecisionLog) -> list[tuple[str, str]]:
    return [(finding.where, finding.what) for finding in log.read().findings if finding.level == "alarm"]


def test_a_line_is_canonical_json_whose_hash_covers_everything_else(log: DecisionLog) -> None:
    lines = log.storage.path.read_bytes().splitlines()
    previous = "0" * 64
    for number, line in enumerate(lines):
        content = json.loads(line)
        stated = content.pop("hash")
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        assert hashlib.sha256(canonical).hexdigest() == stated
        assert (content["sequence"], content["previous"]) == (number, previous)
        assert content["time"].endswith("Z")
        previous = stated
    assert json.loads(log.storage.head_path.read_text())["hash"] == previous
    assert "größer" in lines[1].decode()


def test_two_logs_never_begin_alike(tmp_path: Path) -> None:
    ids = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        log = DecisionLog(FileStorage(tmp_path / name / LOG), now=lambda: datetime(2026, 3, 1, tzinfo=UTC))
        decide(log, "approve", "1", Aliases(), Aliases(champion="1"))
        ids.add(log.read().log_id)
    assert len(ids) == 2


def test_f39_every_changed_byte_is_found_in_the_line_it_stands_in(log: DecisionLog) -> None:
    original = log.storage.path.read_bytes()
    for position in range(0, len(original), 7):
        changed = bytearray(original)
        changed[position] ^= 1
        log.storage.path.write_bytes(changed)
        line = original[:position].count(b"\n") + 1
        found = alarms(log)
        assert found, position
        # A changed line break runs two lines together or leaves the last one unfinished.
        assert found[0][0] in (f"{LOG} line {line}", HEAD, f"{LOG} line {line + 1}"), (position, found)
        if original[position : position + 1] != b"\n" and changed[position] != 10:
            assert found[0][0] == f"{LOG} line {line}"


@pytest.mark.parametrize("line", [1, 2, 3, 4])
def test_f39_a_removed_line_is_found_where_it_stood(log: DecisionLog, line: int) -> None:
    lines = log.storage.path.read_bytes().splitlines(keepends=True)
    log.storage.path.write_bytes(b"".join(lines[: line - 1] + lines[line:]))
    assert alarms(log)[0][0] == f"{LOG} line {line}"


@pytest.mark.parametrize("kept", [0, 1, 3, 4])
def test_f39_lines_cut_off_at_the_end_are_missed(log: DecisionLog, kept: int) -> None:
    lines = log.storage.path.read_bytes().splitlines(keepends=True)
    log.storage.path.write_bytes(b"".join(lines[:kept]))
    ((where, what),) = alarms(log)
    assert where == f"{LOG} line {kept + 1}"
    assert f"{5 - kept} more" in what
    with pytest.raises(ModelGateError, match="was changed"):
        require_sound(log.read())


def test_f39_a_rewritten_line_with_a_fitting_hash_breaks_the_next(log: DecisionLog) -> None:
    lines = log.storage.path.read_bytes().splitlines()
    entry = Line.read(lines[1]).entry.model_copy(update={"reason": "it was somebody else"})
    log.storage.path.write_bytes(b"\n".join([lines[0], Line.of(entry).data(), *lines[2:], b""]))
    assert alarms(log)[0][0] == f"{LOG} line 3"


@pytest.mark.parametrize("line", [b"", b"[]", b"{", b'{"hash": 1}', b"null", b"\xff\xfe", b"[" * 100_000])
def test_f39_a_line_that_is_no_entry_is_named_and_never_crashes(log: DecisionLog, line: bytes) -> None:
    lines = log.storage.path.read_bytes().splitlines()
    log.storage.path.write_bytes(b"\n".join([*lines[:2], line, *lines[3:], b""]))
    assert alarms(log)[0][0] == f"{LOG} line 3"


def test_f39_a_clock_set_back_is_noted_and_the_sequence_orders(tmp_path: Path) -> None:
    times = iter(datetime(2026, 3, day, tzinfo=UTC) for day in (5, 5, 5, 2, 2))
    log = DecisionLog(FileStorage(tmp_path / LOG), now=lambda: next(times))
    decide(log, "approve", "1", Aliases(), Aliases(champion="1"))
    decide(log, "approve", "2", Aliases(champion="1"), Aliases(champion="2", previous="1"))
    reading = log.read()
    assert [(finding.level, finding.where) for finding in reading.findings] == [("note", f"{LOG} line 4")]
    assert reading.sound
    assert history(reading.lines, "chest").champions == ("1", "2")


@pytest.mark.parametrize("content", ["", "{}", None])
def test_f39_a_head_that_was_emptied_or_removed_is_an_alarm(log: DecisionLog, content: str | None) -> None:
    log.storage.head_path.unlink()
    if content is not None:
        log.storage.head_path.write_text(content)
    assert [where for where, _ in alarms(log)] == [HEAD]


@pytest.mark.parametrize("reads", ["the log", "the retraining trigger"])
def test_f35_a_decision_made_while_the_log_is_read_is_no_tampering(
    log: DecisionLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: str
) -> None:
    """Lines and head are two files: between the two, another process decides."""
    workspace, read_bytes, deciders = Workspace(tmp_path), Path.read_bytes, []
    two = Aliases(champion="2", previous="1")

    def decide_meanwhile() -> None:
        with log.locked():
            decide(log, "reject", "3", two, two)

    def slowly(path: Path) -> bytes:
        data = read_bytes(path)
        if path.name == LOG and not deciders:
            deciders.append(threading.Thread(target=decide_meanwhile))
            deciders[0].start()
            deciders[0].join(timeout=0.5)
        return data

    monkeypatch.setattr(Path, "read_bytes", slowly)
    if reads == "the log":
        assert log.read_between_decisions().sound
    else:
        status = read_status(workspace, "chest", RetrainingSettings(), datetime(2026, 3, 1, tzinfo=UTC))
        (decision,) = (brake for brake in status.brakes if brake.name == "decision")
        assert decision.why == "no version waits for a decision"
    deciders[0].join()
    assert (len(log.read().lines), alarms(log)) == (7, [])


def test_f41_half_a_line_and_a_head_left_behind_are_settled(log: DecisionLog) -> None:
    whole = log.storage.path.read_bytes()
    head = log.storage.head_path.read_bytes()
    with log.storage.path.open("ab") as file:
        file.write(b'{"decision":')
    reading = log.read()
    assert reading.sound
    log.settle_interrupted_writing(reading)
    assert log.storage.path.read_bytes() == whole

    decide(log, "approve", "3", Aliases(), Aliases())
    lines = log.storage.path.read_bytes().splitlines(keepends=True)
    log.storage.path.write_bytes(b"".join(lines[:-1]))  # killed after the line was written, before the head was
    log.storage.head_path.write_bytes(head)
    reading = log.read()
    assert reading.sound
    log.settle_interrupted_writing(reading)
    assert json.loads(log.storage.head_path.read_text())["sequence"] == 5


def test_f41_a_disk_that_refuses_adds_nothing(log: DecisionLog, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = log.storage.path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Exception, match="No space left"):
        decide(log, "approve", "3", Aliases(), Aliases())
    monkeypatch.undo()
    assert log.storage.path.read_bytes() == whole
    assert log.read().sound


def test_rollbacks_lead_further_back_and_withdrawn_decisions_did_not_happen(log: DecisionLog) -> None:
    two, three = Aliases(champion="2", previous="1"), Aliases(champion="3", previous="2")
    decide(log, "approve", "3", two, three)
    decide(log, "approve", "4", three, Aliases(champion="4", previous="3"), outcome="withdrawn")
    assert history(log.read().lines, "chest").aliases == three
    decide(log, "rollback", "2", three, two)
    assert history(log.read().lines, "chest").aliases == two
    decide(log, "rollback", "2", Aliases(champion="9"), two)  # puts back what somebody moved
    decide(log, "rollback", "1", two, Aliases(champion="1"))
    assert history(log.read().lines, "chest").champions == ("1",)
    assert history(log.read().lines, "other").decisions == ()


@pytest.mark.parametrize(
    "reason", ["", " " * 40, "too short", "a b c d e f g h i", "tab\x1b[2Jescapes the terminal", "\udcff" * 20]
)
def test_f37_a_reason_must_say_something(reason: str) -> None:
    with pytest.raises(UsageProblem):
        require_reason(reason)


def test_a_reason_is_kept_on_one_line() -> None:
    assert require_reason("  better on\n children ") == "better on children"


# Who


def test_f37_the_operating_system_says_who_and_no_variable_does(monkeypatch: pytest.MonkeyPatch) -> None:
    before = operating_system_user()
    for name in ("USER", "LOGNAME", "USERNAME", "SUDO_USER", "LNAME"):
        monkeypatch.setenv(name, "somebody-else")
    assert operating_system_user() == before
    monkeypatch.setattr(os, "getuid", lambda: 3_999_999)
    assert operating_system_user().name == "uid 3999999"


def test_f37_who_trained_a_model_does_not_approve_it() -> None:
    with pytest.raises(ModelGateError, match="trained this version"):
        separation_doubt(ANNA, ANNA.model_copy(update={"name": "renamed"}))
    with pytest.raises(ModelGateError, match="not signed in"):
        separation_doubt(USER, ANNA)  # signing out is no way around it
    with pytest.raises(ModelGateError, match="belongs to a program"):
        require_human(ROBOT)
    assert separation_doubt(BEN, ANNA) == separation_doubt(BEN, ROBOT) == ""
    assert separation_doubt(BEN, USER) == separation_doubt(BEN, None) == "trainer without an account"
    assert separation_doubt(USER, USER) == ""


def test_the_trainers_tag_reads_back_and_nonsense_is_nobody() -> None:
    assert trainer_in({TRAINED_BY_TAG: ANNA.model_dump_json()}) == ANNA
    assert trainer_in({}) is None
    assert trainer_in({TRAINED_BY_TAG: '{"name": "x", "kind": "ZenML account"}'}) is None


# Dossiers


def make_verdict(**changes: object) -> DossierVerdict:
    values = {
        "model_name": "chest",
        "challenger": "2",
        "champion": "1",
        "test_set_hash": "t",
        "verdict": "HOLD",
        "reasons": ["too few"],
        "created_by_run": "run-1",
    }
    return DossierVerdict.model_validate({**values, **changes})


def test_a_dossier_is_found_by_its_version_the_latest_first(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert find_dossier(workspace, "chest", "2") is None
    first = write_dossier(workspace, make_verdict(), {"dossier.html": b"<p>"})
    second = write_dossier(workspace, make_verdict(verdict="PROMOTE"), {"dossier.html": b"<p>"})
    write_dossier(workspace, make_verdict(challenger="3"), {"dossier.html": b"<p>"})
    assert (
        first.folder.name
        == first.hash[:16]
        == hashlib.sha256((first.folder / "manifest.json").read_bytes()).hexdigest()[:16]
    )
    assert find_dossier(workspace, "chest", "2") == second
    again = write_dossier(workspace, make_verdict(created_by_run="run-2"), {"dossier.html": b"<p>"})
    assert again.hash == first.hash
    assert find_dossier(workspace, "chest", "2") == first
    assert find_dossier(workspace, "other", "2") is None


def test_of_two_reviews_at_once_both_have_the_one_dossier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace, replace, first = Workspace(tmp_path), Path.replace, []

    def overtaken(part: Path, folder: Path) -> Path:
        """Between sealing and naming, another review of the same version finishes."""
        if not first and len(folder.name) == HASH_DIGITS_IN_NAME:
            first.append(None)
            first[0] = write_dossier(workspace, make_verdict(), {"dossier.html": b"<p>"})
            os.utime(first[0].folder / "verdict.json", (0, 0))
        return replace(part, folder)

    monkeypatch.setattr(Path, "replace", overtaken)
    second = write_dossier(workspace, make_verdict(), {"dossier.html": b"<p>"})
    assert second == first[0]
    assert [path.name for path in (tmp_path / "reviews").iterdir()] == [second.folder.name]
    assert (second.folder / "verdict.json").stat().st_mtime > 0, "it counts as written now"


@pytest.mark.parametrize("change", ["verdict", "page", "extra", "missing", "link", "renamed", "nonsense"])
def test_f33_a_changed_dossier_is_refused(tmp_path: Path, change: str) -> None:
    workspace = Workspace(tmp_path)
    folder = write_dossier(workspace, make_verdict(), {"dossier.html": b"<p>"}).folder
    verdict, page = folder / "verdict.json", folder / "dossier.html"
    if change == "verdict":
        verdict.write_text(verdict.read_text().replace("HOLD", "PROMOTE"))
    elif change == "page":
        page.write_bytes(b"<b>")
    elif change == "extra":
        (folder / "more.html").write_bytes(b"")
    elif change == "missing":
        page.unlink()
    elif change == "link":
        page.rename(tmp_path / "moved")
        page.symlink_to(tmp_path / "moved")
    elif change == "renamed":
        folder.rename(folder.with_name("0" * 16))
    else:
        verdict.write_text("{}")
    with pytest.raises(ModelGateError):
        find_dossier(workspace, "chest", "2")
