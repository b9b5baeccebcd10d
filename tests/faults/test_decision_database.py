"""The decision log in a real MariaDB: moved there, changed there, written by several, and the server gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from sqlalchemy.exc import OperationalError

from data_contracts.errors import (
    EnvironmentProblem,
    ExternalServiceError,
    LunglineError,
    ModelGateError,
    UsageProblem,
)
from models.registry.decisions import database_storage, decide
from models.registry.decisions.database_storage import VARIABLE, DatabaseStorage
from models.registry.decisions.file_storage import FileStorage
from models.registry.decisions.in_use import storage_in_use
from models.registry.decisions.log import DecisionLog
from models.registry.decisions.recovery import recover
from models.registry.decisions.transfer import export, move_into_database
from tests.decided_versions import REASON, Hospital, copied, registry_with_versions, rewrite
from tests.mariadb_server import MariaDB

ROOT = Path(__file__).parents[2]

# Light enough to be started several times: only the log is imported.
_DECIDING = """
import os, sys, time
from models.registry.decisions.database_storage import DatabaseStorage
from models.registry.decisions.entries import Aliases, Decision, Outcome
from models.registry.decisions.log import DecisionLog
from models.registry.decisions.person import OS_USER, Person

log = DecisionLog(DatabaseStorage(os.environ["LUNGLINE_DECISIONS_URL"]))

def rejected(sequence, previous, time):
    return Decision(
        sequence=sequence, previous=previous, time=time, kind="reject", model="lungline-chest", version="2",
        bundle=None, person=Person(name=sys.argv[1], kind=OS_USER), trained_by=None, reason="worse on children",
        dossier=None, verdict=None, overrides=[], before=Aliases(champion="1"), after=Aliases(champion="1"),
    )

for _ in range(int(sys.argv[2])):
    with log.locked():
        decision = log.append(rejected).entry
        print("written", flush=True)
        if sys.argv[3] == "hang":
            time.sleep(300)
        log.append(lambda sequence, previous, time: Outcome(
            sequence=sequence, previous=previous, time=time, kind="done", model=decision.model,
            decision=decision.sequence, note=""))
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry whose champion is version 1, decided on with the log in a file."""
    hospital = Hospital(registry_with_versions(tmp_path_factory.mktemp("template")))
    hospital.approve("1", hospital.review("1"))
    return hospital.workspace.home


@pytest.fixture
def server(mariadb: MariaDB) -> MariaDB:
    """No log in it yet."""
    mariadb.empty("lungline")
    return mariadb


@pytest.fixture
def on_files(tmp_path: Path, template: Path) -> Hospital:
    return Hospital(copied(template, tmp_path / "home"))


@pytest.fixture
def hospital(on_files: Hospital, server: MariaDB, monkeypatch: pytest.MonkeyPatch) -> Hospital:
    """Its log was moved into the database."""
    monkeypatch.setenv(VARIABLE, server.url("lungline"))
    move_into_database(on_files.workspace)
    return Hospital(on_files.workspace.home, server)


def deciding(person: str, decisions: int, then: str = "go on") -> subprocess.Popen[str]:
    """A process of its own that decides."""
    command = [sys.executable, "-c", _DECIDING, person, str(decisions), then]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def lungline(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lungline")), *arguments]
    environment = {**os.environ, "LUNGLINE_HOME": str(home), "HOME": str(home.parent)}
    return subprocess.run(
        command, cwd=home.parent, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def content(log: DecisionLog) -> tuple[bytes, bytes | None]:
    return log.storage.read()


def alarms(log: DecisionLog) -> list[str]:
    return [f"{finding.where}: {finding.what}" for finding in log.read().findings if finding.level == "alarm"]


# From the file into the database, and out again


def test_a_moved_log_has_the_same_bytes_and_the_registry_agrees_with_it(
    on_files: Hospital, server: MariaDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, home = content(on_files.log), on_files.workspace.home
    written = (home / "decisions.jsonl").read_bytes()
    monkeypatch.setenv(VARIABLE, server.url("lungline"))
    moved = move_into_database(on_files.workspace)
    assert (moved.entries, moved.file) == (3, home / "decisions.moved.jsonl")
    assert (moved.file.read_bytes(), before[0]) == (written, written)
    assert not FileStorage.of(on_files.workspace).begun()

    hospital = Hospital(home, server)
    assert isinstance(hospital.log.storage, DatabaseStorage)
    assert content(hospital.log) == before
    assert hospital.alarms() == []
    hospital.approve("3", hospital.review("3", "1"))
    assert hospital.alarms() == []
    assert move_into_database(on_files.workspace).entries == 5  # it was moved, and went on there
    assert content(hospital.log)[0].startswith(written)


def test_a_log_in_a_file_and_one_in_a_database_are_never_used_side_by_side(
    on_files: Hospital, server: MariaDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    dossier = on_files.review("3", "1")
    monkeypatch.setenv(VARIABLE, server.url("lungline"))
    with pytest.raises(UsageProblem, match="lungline log move"):
        on_files.approve("3", dossier)
    move_into_database(on_files.workspace)
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(UsageProblem, match="was moved into a database") as refused:
        on_files.approve("3", dossier)
    assert VARIABLE in refused.value.cure
    assert on_files.aliases() == ("1", None, "3")


def test_f41_a_move_killed_before_its_end_is_finished_by_the_next(hospital: Hospital) -> None:
    home, whole = hospital.workspace.home, content(hospital.log)
    (home / "decisions.moved.head.json").rename(home / "decisions.head.json")
    with pytest.raises(UsageProblem):
        storage_in_use(hospital.workspace)  # it could be the head of a log that was removed
    move_into_database(hospital.workspace)
    assert content(hospital.log) == whole
    assert hospital.alarms() == []

    for name in ("jsonl", "head.json"):  # killed after the database had it, before the file was renamed
        (home / f"decisions.moved.{name}").rename(home / f"decisions.{name}")
    assert move_into_database(hospital.workspace).entries == 3
    assert content(hospital.log) == whole


def test_what_cannot_be_moved_stays_where_it_is(
    on_files: Hospital, server: MariaDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = FileStorage.of(on_files.workspace)
    lines, head = file.read()
    with pytest.raises(UsageProblem, match="is not set"):
        move_into_database(on_files.workspace)
    monkeypatch.setenv(VARIABLE, server.url("lungline"))
    rewrite(file, lines.replace(REASON.encode(), b"worse on every class"), head)
    with pytest.raises(ModelGateError, match=r"decisions\.jsonl line 2"):
        move_into_database(on_files.workspace)
    assert not DatabaseStorage(server.url("lungline")).begun()

    assert deciding("somebody else", 1).wait(60) == 0
    theirs = content(DecisionLog(DatabaseStorage(server.url("lungline"))))
    rewrite(file, lines, head)
    with pytest.raises(ModelGateError, match="does not have the log"):
        move_into_database(on_files.workspace)
    assert content(DecisionLog(DatabaseStorage(server.url("lungline")))) == theirs
    assert file.read() == (lines, head)

    (on_files.workspace.home / "decisions.moved.jsonl").write_bytes(lines)
    with pytest.raises(UsageProblem, match="beside it"):
        move_into_database(on_files.workspace)
    rewrite(file, b"", None)
    (on_files.workspace.home / "decisions.moved.jsonl").unlink()
    with pytest.raises(UsageProblem, match="There is no decision log"):
        move_into_database(on_files.workspace)


@pytest.mark.parametrize("where", ["file", "database"])
def test_an_exported_log_has_the_same_bytes_and_replaces_no_earlier_copy(
    on_files: Hospital, tmp_path: Path, where: str, request: pytest.FixtureRequest
) -> None:
    hospital: Hospital = on_files if where == "file" else request.getfixturevalue("hospital")
    copy = FileStorage(tmp_path / "copy.jsonl")
    assert export(hospital.log.storage, copy.path).entries == 3
    assert copy.read() == content(hospital.log)
    assert alarms(DecisionLog(copy)) == []
    assert [path.name for path in sorted(tmp_path.glob("*copy*"))] == ["copy.head.json", "copy.jsonl"]
    with pytest.raises(UsageProblem, match="there already"):
        export(hospital.log.storage, copy.path)
    with pytest.raises(UsageProblem, match="folder does not exist"):
        export(hospital.log.storage, tmp_path / "nowhere" / "copy.jsonl")
    lines, head = content(hospital.log)
    hospital.rewrite(lines[:-1].rpartition(b"\n")[0] + b"\n", head)
    with pytest.raises(ModelGateError, match="cut off"):
        export(hospital.log.storage, tmp_path / "another.jsonl")


def test_the_nightly_backup_holds_a_log_file_that_verifies(hospital: Hospital, tmp_path: Path) -> None:
    manifest = yaml.safe_load(
        (ROOT / "deploy" / "kubernetes" / "base" / "backup.yaml").read_text(encoding="utf-8")
    )
    (container,) = manifest["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert hospital.server is not None
    for begun in (True, False):
        backups = tmp_path / f"backups-{begun}"
        backups.mkdir()
        script = hospital.server.as_in_the_cluster(container["args"][0]).replace("/backup", str(backups))
        done = subprocess.run([*container["command"], script], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        (folder,) = backups.iterdir()
        assert (folder / "decisions.jsonl").exists() == begun
        assert subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=folder).returncode == 0
        if begun:
            copy = FileStorage(folder / "decisions.jsonl")
            assert copy.read() == content(hospital.log)
            assert alarms(DecisionLog(copy)) == []
            dumped = subprocess.run(
                ["zcat", folder / "databases.sql.gz"], capture_output=True, text=True, check=True
            )
            assert "CREATE TABLE `decision_lines`" in dumped.stdout
        hospital.server.empty("lungline")


# Changed by somebody who may


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (
            "UPDATE lungline.decision_lines SET line = REPLACE(line, 'every', 'any') WHERE sequence = 1",
            "line 2: its content",
        ),
        ("DELETE FROM lungline.decision_lines WHERE sequence = 2", "line 3: lines were cut off"),
        ("DELETE FROM lungline.decision_lines WHERE sequence = 1", "line 2: entry 1 is expected there"),
        (
            "UPDATE lungline.decision_lines SET sequence = sequence + 7 ORDER BY sequence DESC",
            "line 2: it is no entry",
        ),
        (
            "UPDATE lungline.decision_lines SET line = CONCAT(line, '\n{}') WHERE sequence = 0",
            "line 2: it is no entry",
        ),
        ("DELETE FROM lungline.decision_head", "it was removed"),
        ("DROP TABLE lungline.decision_head", "it was removed"),
        (
            "INSERT INTO lungline.decision_head SELECT 2, head FROM lungline.decision_head",
            "does not say which line is the last",
        ),
        ("DROP TABLE lungline.decision_lines", "line 1: lines were cut off"),
    ],
)
def test_f39_whatever_was_changed_in_the_database_is_named(hospital: Hospital, change: str, found: str) -> None:
    assert hospital.server is not None
    hospital.server.run(change)
    (alarm,) = alarms(hospital.log)
    assert found in alarm
    with pytest.raises(ModelGateError, match="was changed"):
        hospital.rollback()


def test_f39_who_decides_can_change_no_line_and_who_reads_can_verify_but_not_decide(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    storage = DatabaseStorage(os.environ[VARIABLE])
    for change in (
        "UPDATE lungline.decision_lines SET line = ''",
        "DELETE FROM lungline.decision_lines",
        "DROP TABLE lungline.decision_lines",
        "DELETE FROM lungline.decision_head",
    ):
        with storage._engine.connect() as connection, pytest.raises(OperationalError, match="command denied"):
            connection.exec_driver_sql(change)
    before = content(hospital.log)
    dossier = hospital.review("3", "1")
    assert hospital.server is not None
    monkeypatch.setenv(VARIABLE, hospital.server.url("lungline-reader"))
    reader = Hospital(hospital.workspace.home, hospital.server)
    assert recover(reader.workspace, reader.store) == []
    assert reader.alarms() == []
    assert export(reader.log.storage, tmp_path / "copy.jsonl").entries == 3
    with pytest.raises(ExternalServiceError, match="INSERT command denied"):
        reader.approve("3", dossier)
    assert content(hospital.log) == before
    assert hospital.aliases() == ("1", None, "3")


# Several at once, and killed


def test_f35_of_processes_that_decide_at_once_each_waits_for_the_other(hospital: Hospital) -> None:
    both = [deciding(person, 5) for person in ("anna", "ben")]
    assert [process.wait(120) for process in both] == [0, 0]
    reading = hospital.log.read()
    assert reading.sound
    assert [line.entry.sequence for line in reading.lines] == list(range(3 + 2 * 5 * 2))


def test_f35_who_does_not_hold_the_lock_writes_nothing(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = content(hospital.log)
    reading = hospital.log.read()
    with pytest.raises(ExternalServiceError, match="lost"):
        hospital.log.write(reading, reading.lines[-1:])
    monkeypatch.setattr(database_storage, "LOCK_SECONDS", 1.0)
    other = Hospital(hospital.workspace.home, hospital.server)
    with other.log.locked(), pytest.raises(EnvironmentProblem, match="cannot be locked"), hospital.log.locked():
        pass
    # A lock that two hold, as in a cluster with several masters: the number of a line is taken once.
    monkeypatch.setattr(DatabaseStorage, "_require_lock", lambda *_: None)
    with pytest.raises(ExternalServiceError, match="Duplicate entry '2'"):
        hospital.log.write(reading, reading.lines[-1:])
    assert content(hospital.log) == before


def test_f41_a_process_killed_after_the_line_frees_the_lock_and_its_decision_is_withdrawn(
    hospital: Hospital,
) -> None:
    process = deciding("anna", 1, then="hang")
    assert process.stdout is not None
    assert process.stdout.readline() == "written\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    (note,) = recover(hospital.workspace, hospital.store)
    assert "was withdrawn" in note
    assert hospital.kinds()[-2:] == ["reject", "withdrawn"]
    assert hospital.alarms() == []


# The database away


def break_the_locks_connection(server: MariaDB | None) -> None:
    assert server is not None
    with server.root() as connection:
        held = connection.exec_driver_sql("SELECT IS_USED_LOCK('lungline decisions lungline')").scalar()
        connection.exec_driver_sql(f"KILL {held}")


def test_f35_a_connection_lost_with_the_lock_is_noticed_before_anything_is_written(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    before, dossier = content(hospital.log), hospital.review("3", "1")
    verified_bundle = decide.verified_bundle

    def slow(*asked: object) -> str:
        break_the_locks_connection(hospital.server)
        return verified_bundle(*asked)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(decide, "verified_bundle", slow)
        with pytest.raises(ExternalServiceError) as refused:
            hospital.approve("3", dossier)
    assert refused.value.cure
    assert content(hospital.log) == before
    assert hospital.aliases() == ("1", None, "3")
    assert "Traceback" not in "".join(capfd.readouterr())
    hospital.approve("3", dossier)
    assert hospital.alarms() == []


def test_f35_a_connection_that_came_back_has_lost_its_lock(hospital: Hospital) -> None:
    reading, before = hospital.log.read(), content(hospital.log)
    with hospital.log.locked():
        break_the_locks_connection(hospital.server)
        with pytest.raises(ExternalServiceError):
            hospital.log.read()
        assert hospital.log.read().lines == reading.lines  # over a new connection
        with pytest.raises(ExternalServiceError, match="and with it the lock"):
            hospital.log.write(reading, reading.lines[-1:])
    assert content(hospital.log) == before


def test_f41_without_its_database_nothing_is_decided_and_no_password_is_shown(
    on_files: Hospital, server: MariaDB, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(VARIABLE, server.url("lungline"))
    home, copy = on_files.workspace.home, tmp_path / "copy.jsonl"
    asked = [
        ("log", "verify"),
        ("log", "move"),
        ("log", "verify"),
        ("log", "export", str(copy)),
        ("log", "verify", str(copy)),
    ]
    answered = [lungline(home, *arguments) for arguments in asked]
    assert [done.returncode for done in answered] == [2, 0, 0, 0, 0], [done.stderr for done in answered]
    assert "3 entries in mysql+pymysql://lungline:***@127.0.0.1" in answered[1].stdout
    assert "the registry agrees" in answered[2].stdout
    server.stop()
    try:
        answered += [
            lungline(home, *arguments)
            for arguments in (("rollback", "--reason", REASON), ("--debug", "log", "export", "x"))
        ]
    finally:
        server.start()
    assert [done.returncode for done in answered[-2:]] == [6, 6]
    assert "What to do: See that the database answers" in answered[-2].stderr
    assert "Traceback" not in answered[-2].stderr
    assert on_files.aliases() == ("1", None, "3")
    said = "".join(done.stdout + done.stderr for done in answered)
    assert server.password("lungline") not in said


@pytest.mark.parametrize(
    "address",
    [
        "sqlite:////home/decisions.db",
        "postgresql://lungline:pass%2Fword@database/lungline",
        "mysql+pymysql://lungline:pass%2Fword@database",
        "mysql+pymysql://lungline:pass@word@database:3306/lungline",
        "mysql+pymysql://lungline@database:pass/lungline",
        "pass/word",
    ],
)
def test_an_address_that_cannot_hold_the_log_is_refused_without_its_password(address: str) -> None:
    with pytest.raises(UsageProblem, match=VARIABLE) as refused:
        DatabaseStorage(address)
    assert "pass" not in f"{refused.value}{refused.value.__cause__}".replace("password", "").replace(
        "PASSWORD", ""
    )


def test_a_refused_login_names_the_user_and_no_password(server: MariaDB) -> None:
    storage = DatabaseStorage(
        server.url("lungline").replace("secret-of-", "another-secret-of-") + "?charset=utf8mb4"
    )
    with pytest.raises(LunglineError, match="Access denied for user 'lungline'") as refused:
        storage.begun()
    assert "secret" not in str(refused.value)
    assert refused.value.exit_code == 6
