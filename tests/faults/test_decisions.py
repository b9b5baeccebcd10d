"""Decisions against a real registry: at once, interrupted, undermined, and by people who may not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from data_contracts.errors import EnvironmentProblem, LunglineError, ModelGateError, UsageProblem
from models.registry.decisions import decide, recovery
from models.registry.decisions.aliases import HEAD_TAG
from models.registry.decisions.database_storage import VARIABLE
from models.registry.decisions.decide import rollback
from models.registry.decisions.entries import Aliases, Decision
from models.registry.decisions.person import ACCOUNT, OS_USER, Person
from models.registry.decisions.recovery import recover
from models.registry.decisions.watchdog import verify
from models.registry.dossiers import DossierVerdict, write_dossier
from models.registry.status import model_status
from models.registry.tracking import TrackingStore
from tests.decided_versions import ANNA, MODEL, REASON, USER, Hospital, copied, registry_with_versions
from tests.mariadb_server import MariaDB

both_storages = pytest.mark.parametrize("hospital", ["file", "database"], indirect=True)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once because that takes seconds."""
    return registry_with_versions(tmp_path_factory.mktemp("template"))


@pytest.fixture
def hospital(
    tmp_path: Path, template: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Hospital:
    """The log lies in a file, or in a database for tests of both storages."""
    home = copied(template, tmp_path / "home")
    if getattr(request, "param", "file") == "file":
        return Hospital(home)
    server: MariaDB = request.getfixturevalue("mariadb")
    server.empty("lungline")
    monkeypatch.setenv(VARIABLE, server.url("lungline"))
    return Hospital(home, server)


@pytest.fixture
def in_use(hospital: Hospital) -> Hospital:
    """Version 1 is the champion."""
    hospital.approve("1", hospital.review("1")[:8])
    return hospital


@both_storages
def test_an_approval_moves_the_aliases_and_says_who_what_and_why(in_use: Hospital) -> None:
    dossier = in_use.review("3", "1")
    made = in_use.approve("3", dossier)
    assert in_use.aliases() == ("3", "1", None)
    assert (made.person, made.reason, made.dossier, made.verdict) == (USER, REASON, dossier, "PROMOTE")
    assert (made.before, made.after) == (Aliases(champion="1"), Aliases(champion="3", previous="1"))
    assert in_use.kinds() == ["genesis", "approve", "done", "approve", "done"]
    assert in_use.alarms() == []
    status = model_status(in_use.store, MODEL, in_use.log.read().lines)
    assert [decision.version for decision in status.decisions] == ["3", "1"]
    assert list(in_use.workspace.cache.glob("decision-*")) == []


# F33, F34: what is approved


def test_f33_a_tampered_bundle_is_not_approved(hospital: Hospital) -> None:
    weights = hospital.weights_of("2")
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ModelGateError, match="was changed"):
        hospital.approve("2", hospital.review("2"))
    assert hospital.aliases() == (None, None, "3")
    assert hospital.kinds() == []


def test_f33_another_bundle_than_the_reviewed_one_is_not_approved(hospital: Hospital) -> None:
    content = {"model_name": MODEL, "challenger": "2", "champion": None, "test_set_hash": "t", "reasons": ["r"]}
    verdict = {**content, "verdict": "PROMOTE", "created_by_run": "r", "challenger_bundle": "0" * 64}
    sealed = write_dossier(hospital.workspace, DossierVerdict.model_validate(verdict), {})
    with pytest.raises(ModelGateError, match="not the bundle that was reviewed"):
        hospital.approve("2", sealed.hash)


def test_f33_a_dossier_that_was_changed_is_no_basis(hospital: Hospital) -> None:
    dossier = hospital.review("2", verdict="REJECT")
    file = hospital.workspace.home / "reviews" / dossier[:16] / "verdict.json"
    file.write_text(file.read_text().replace("REJECT", "PROMOTE"))
    with pytest.raises(ModelGateError, match="not as it was written"):
        hospital.approve("2", dossier)


def test_f34_odd_names_and_versions_are_refused(hospital: Hospital) -> None:
    for version in ("", "0", "9", "99", "champion", "challenger", "../1", "1#x", "1/..", "１", "-1", "1 "):
        with pytest.raises(UsageProblem):
            hospital.approve(version, "0" * 8)
        with pytest.raises(UsageProblem):
            hospital.reject(version)
    for model in ("", "../x", "a/b", "x#y", "a'b", "ä", "nobody"):
        with pytest.raises(UsageProblem):
            hospital.approve("1", "0" * 8, model=model)
        with pytest.raises(UsageProblem):
            rollback(hospital.workspace, hospital.store, USER, model=model, reason=REASON)
    assert hospital.kinds() == []


# F35: at once


@both_storages
def test_f35_of_two_approvals_at_once_one_wins_and_the_other_is_told(in_use: Hospital) -> None:
    dossiers = {version: in_use.review(version, "1") for version in ("2", "3")}
    refused: list[LunglineError] = []
    ready = threading.Barrier(2)

    def attempt(version: str) -> None:
        own = Hospital(in_use.workspace.home, in_use.server)
        ready.wait()
        try:
            own.approve(version, dossiers[version])
        except LunglineError as error:
            refused.append(error)

    threads = [threading.Thread(target=attempt, args=(version,)) for version in dossiers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (error,) = refused
    assert isinstance(error, ModelGateError)
    champion = in_use.aliases()[0]
    assert f"the champion is version {champion} (approve by {USER}" in error.what
    assert "lungline review" in error.cure
    assert in_use.kinds() == ["genesis", "approve", "done", "approve", "done"]
    assert in_use.alarms() == []


def test_f35_approving_the_champion_again_says_who_made_it_so(in_use: Hospital) -> None:
    with pytest.raises(ModelGateError, match="is the champion already \\(approve by mueller"):
        in_use.approve("1", in_use.review("1"))


# F36: the registry moved by hand


@pytest.mark.parametrize("alias", ["champion", "previous"])
def test_f36_an_alias_moved_elsewhere_is_an_alarm_and_stops_decisions(in_use: Hospital, alias: str) -> None:
    dossier = in_use.review("3", "1")
    in_use.store.client.set_registered_model_alias(MODEL, alias, "2")
    (alarm,) = in_use.alarms()
    assert f"alias {alias} points to version 2" in alarm
    with pytest.raises(ModelGateError, match="were moved elsewhere"):
        in_use.approve("3", dossier)

    assert in_use.rollback().after == Aliases(champion="1")  # puts back what was decided, no further
    assert in_use.alarms() == []
    in_use.approve("3", dossier)


def test_f36_a_champion_nobody_decided_on_is_an_alarm(hospital: Hospital) -> None:
    assert hospital.alarms() == []
    hospital.store.client.create_registered_model("of-another-program")
    hospital.store.client.set_registered_model_alias(MODEL, "champion", "2")
    assert hospital.alarms() == ["alias champion points to version 2; decided was none"]
    hospital.rollback()
    assert hospital.aliases()[0] is None
    assert hospital.alarms() == []


def test_f36_a_removed_champion_and_an_exchanged_bundle_are_alarms(in_use: Hospital) -> None:
    in_use.store.client.set_model_version_tag(MODEL, "1", "lungline.bundle", "0" * 64)
    (alarm,) = in_use.alarms()
    assert "version 1 is bundle 0000" in alarm
    in_use.store.client.delete_model_version(MODEL, "1")
    assert in_use.alarms() == ["alias champion points to none; decided was version 1"]
    in_use.store.client.delete_registered_model(MODEL)
    assert in_use.alarms() == ["it was removed from the registry, or renamed"]


# F37: who may not, and on what grounds


def test_f37_a_decision_needs_its_dossier(hospital: Hospital) -> None:
    with pytest.raises(ModelGateError, match="has no dossier"):
        hospital.approve("2", "0" * 64, override=True)
    dossier = hospital.review("2")
    wrong = ("0" if dossier[0] != "0" else "1") * 8
    with pytest.raises(ModelGateError, match="is not the hash of the latest dossier"):
        hospital.approve("2", wrong)
    for stated in ("", dossier[:7], "not a hash", f"{dossier}0"):
        with pytest.raises(UsageProblem):
            hospital.approve("2", stated)
    with pytest.raises(ModelGateError):
        hospital.reject("2", dossier=wrong)
    assert hospital.kinds() == []  # none of it is taken for a refusal of the model


def test_f37_a_dossier_about_another_champion_is_out_of_date(in_use: Hospital) -> None:
    with pytest.raises(ModelGateError, match="compares version 2 with none, but the champion is version 1"):
        in_use.approve("2", in_use.review("2"), override=True)


@pytest.mark.parametrize("verdict", ["HOLD", "REJECT"])
def test_f37_deciding_against_a_verdict_is_said_and_recorded(hospital: Hospital, verdict: str) -> None:
    dossier = hospital.review("2", verdict=verdict)
    with pytest.raises(ModelGateError, match=f"verdict {verdict}"):
        hospital.approve("2", dossier)
    made = hospital.approve("2", dossier, override=True)
    assert (made.verdict, made.overrides) == (verdict, [f"verdict {verdict}"])


def test_f37_a_needless_override_is_refused(hospital: Hospital) -> None:
    with pytest.raises(UsageProblem, match="nothing to override"):
        hospital.approve("2", hospital.review("2"), override=True)


def test_f37_the_trainer_of_a_version_cannot_approve_it(hospital: Hospital) -> None:
    hospital.register(4, trained_by=ANNA)
    dossier = hospital.review("4")
    for person in (ANNA, USER):
        with pytest.raises(ModelGateError, match="anna"):
            hospital.approve("4", dossier, person, override=True)
    assert hospital.kinds() == []
    ben = Person(name="ben", kind=ACCOUNT, account_id="2")
    assert hospital.approve("4", dossier, ben).trained_by == ANNA


def test_f37_no_environment_variable_approves(tmp_path: Path) -> None:
    names = ("APPROVE", "REASON", "DOSSIER", "OVERRIDE", "APPROVE_REASON", "APPROVE_DOSSIER", "YES", "CI", "FORCE")
    variables = {f"{prefix}{name}": "deadbeef" for name in names for prefix in ("", "LUNGLINE_")}
    command = [str(Path(sys.executable).with_name("lungline")), "approve", "1"]
    environment = {**os.environ, **variables, "LUNGLINE_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)}
    for more, said in (
        ([], "--reason"),
        (["--reason", REASON], "no terminal to ask at"),
        (["--reason", "ok"], "reason"),
    ):
        done = subprocess.run(
            [*command, *more],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            input="deadbeef\n",
            check=False,
            timeout=120,
        )
        assert done.returncode == 2, done.stderr
        assert said in done.stderr
        assert "Traceback" not in done.stderr


# F38: refusals


@both_storages
def test_f38_a_refusal_is_recorded_like_an_approval(in_use: Hospital) -> None:
    dossier = in_use.review("3", "1", verdict="REJECT")
    made = in_use.reject("3", dossier=dossier[:10].upper())
    assert (made.kind, made.version, made.person, made.reason) == ("reject", "3", USER, REASON)
    assert (made.dossier, made.verdict, made.before) == (dossier, "REJECT", made.after)
    assert in_use.kinds()[-2:] == ["reject", "done"]
    assert in_use.aliases() == ("1", None, None)
    assert in_use.alarms() == []

    again = in_use.review("3", "1")
    with pytest.raises(ModelGateError, match="refusal in entry 3"):
        in_use.approve("3", again)
    assert in_use.approve("3", again, override=True).overrides == ["refusal in entry 3"]


def test_f38_what_was_never_reviewed_can_be_refused_and_a_champion_cannot(in_use: Hospital) -> None:
    assert in_use.reject("2").dossier is None
    assert in_use.aliases() == ("1", None, "3")  # the challenger is another one
    with pytest.raises(ModelGateError, match="lungline rollback"):
        in_use.reject("1", dossier=in_use.review("1"))


# F39: the log changed


@both_storages
def test_f39_a_changed_log_is_found_and_nothing_is_decided_on_it(in_use: Hospital) -> None:
    dossier = in_use.review("3", "1")
    lines, head = in_use.log.storage.read()
    in_use.rewrite(lines.replace(REASON.encode(), b"worse on every class"), head)
    (finding,) = verify(in_use.workspace, in_use.store).findings[:1]
    assert finding.where == f"{in_use.log.storage.name} line 2"
    with pytest.raises(ModelGateError, match=f"{in_use.log.storage.name} line 2"):
        in_use.approve("3", dossier)


@both_storages
def test_f39_lines_cut_off_together_with_the_head_are_missed_by_the_registry(in_use: Hospital) -> None:
    lines, head = in_use.log.storage.read()
    dossier = in_use.review("3", "1")
    in_use.approve("3", dossier)
    in_use.rewrite(lines, head)
    assert in_use.log.read().sound
    found = " ".join(in_use.alarms())
    assert "the registry knows entry 4, and the log ends with entry 2" in found
    assert "alias champion points to version 3; decided was version 1" in found
    for refused in (in_use.rollback, lambda: in_use.reject("2")):
        with pytest.raises(ModelGateError, match="another last decision"):
            refused()


@both_storages
def test_f39_a_log_that_was_removed_is_not_begun_anew(in_use: Hospital) -> None:
    dossier = in_use.review("3", "1")
    _, head = in_use.log.storage.read()
    in_use.rewrite(b"", head)
    assert any("lines were cut off" in alarm for alarm in in_use.alarms())
    in_use.rewrite(b"", None)
    assert any("kept in another log" in alarm for alarm in in_use.alarms())
    with pytest.raises(ModelGateError, match="another last decision"):
        in_use.approve("3", dossier)
    assert not in_use.log.begun


# F41: interrupted


class Killed(BaseException):
    """Stands in for a kill: nothing catches it."""


STOPS = [
    "before the tag",
    "before the aliases",
    "between the aliases",
    "before the outcome",
    "before the last tag",
]


def kill_at(stop: str, patch: pytest.MonkeyPatch, store: TrackingStore) -> None:
    """The next decision dies there."""

    def killed(*_: object, **__: object) -> None:
        raise Killed

    if stop == "before the tag":
        patch.setattr(decide, "write_head", killed)
    elif stop == "before the aliases":
        patch.setattr(decide, "carry_out", killed)
    elif stop == "between the aliases":
        real = store.client.set_registered_model_alias

        def killed_at_the_champion(name: str, alias: str, version: str) -> None:
            if alias == "champion":
                raise Killed
            real(name, alias, version)

        patch.setattr(store.client, "set_registered_model_alias", killed_at_the_champion)
    elif stop == "before the outcome":
        patch.setattr(decide, "conclude", killed)
    else:
        patch.setattr(recovery, "write_head", killed)


@both_storages
@pytest.mark.parametrize("stop", STOPS)
def test_f41_a_decision_killed_anywhere_is_settled_at_the_next_start(
    in_use: Hospital, monkeypatch: pytest.MonkeyPatch, stop: str
) -> None:
    dossier = in_use.review("3", "1")
    with monkeypatch.context() as patch:
        kill_at(stop, patch, in_use.store)
        with pytest.raises(Killed):
            in_use.approve("3", dossier)

    notes = recover(in_use.workspace, in_use.store)
    if stop == "before the tag":
        assert "was withdrawn" in notes[0]
        assert in_use.aliases() == ("1", None, "3")
        assert in_use.kinds()[-2:] == ["approve", "withdrawn"]
    else:
        assert in_use.aliases() == ("3", "1", None)
        assert in_use.kinds()[-2:] == ["approve", "done"]
        assert ("was carried out now" in "".join(notes)) == (stop != "before the last tag")
    assert in_use.alarms() == []
    assert recover(in_use.workspace, in_use.store) == []
    if stop == "before the tag":
        in_use.approve("3", dossier)
    assert in_use.alarms() == []


@both_storages
def test_f41_the_very_first_decision_killed_is_settled_too(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        kill_at("before the tag", patch, hospital.store)
        with pytest.raises(Killed):
            hospital.reject("2")
    assert "was withdrawn" in recover(hospital.workspace, hospital.store)[0]
    assert hospital.alarms() == []


@pytest.mark.parametrize("meanwhile", ["moved", "tampered"])
def test_f41_an_interrupted_decision_is_not_carried_out_on_changed_ground(
    in_use: Hospital, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    dossier = in_use.review("3", "1")
    with monkeypatch.context() as patch:
        kill_at("between the aliases", patch, in_use.store)
        with pytest.raises(Killed):
            in_use.approve("3", dossier)
    if meanwhile == "moved":
        in_use.store.client.set_registered_model_alias(MODEL, "champion", "2")
    else:
        in_use.weights_of("3").write_bytes(b"")
    (note,) = recover(in_use.workspace, in_use.store)
    assert "was withdrawn" in note
    assert in_use.kinds()[-1] == "withdrawn"
    if meanwhile == "tampered":
        assert in_use.aliases() == ("1", None, "3")
        assert in_use.alarms() == []
    else:
        assert any("alias champion points to version 2" in alarm for alarm in in_use.alarms())


@both_storages
def test_f41_a_line_written_into_the_log_alone_moves_nothing(in_use: Hospital) -> None:
    """Who can write files and not the registry cannot have a decision carried out."""

    def forged(sequence: int, previous: str, time: object) -> Decision:
        last = in_use.log.read().lines[1].entry
        after = Aliases(champion="3", previous="1")
        changes = {"sequence": sequence, "previous": previous, "time": time, "version": "3", "after": after}
        assert isinstance(last, Decision)
        return last.model_copy(update={**changes, "before": last.after})

    with in_use.log.locked():
        in_use.log.append(forged)
    assert "was withdrawn" in recover(in_use.workspace, in_use.store)[0]
    assert in_use.aliases()[0] == "1"


@both_storages
def test_f41_an_outage_in_the_middle_is_said_and_settled_later(
    in_use: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.exceptions import MlflowException

    def down(*_: object) -> None:
        raise MlflowException("no connection")

    dossier = in_use.review("3", "1")
    with monkeypatch.context() as patch:
        patch.setattr(in_use.store.client, "set_registered_model_alias", down)
        with pytest.raises(EnvironmentProblem, match="not carried through"):
            in_use.approve("3", dossier)
    assert "was carried out now" in recover(in_use.workspace, in_use.store)[0]
    assert in_use.aliases() == ("3", "1", None)


# F42: back


@both_storages
def test_f42_rollback_leads_back_one_champion_after_the_other(in_use: Hospital) -> None:
    in_use.approve("2", in_use.review("2", "1"))
    in_use.approve("3", in_use.review("3", "2"))
    started = time.monotonic()
    made = in_use.rollback()
    assert time.monotonic() - started < 60
    assert (made.version, made.reason, made.person) == ("2", REASON, USER)
    assert in_use.aliases() == ("2", "1", None)
    in_use.rollback()
    assert in_use.aliases() == ("1", None, None)
    with pytest.raises(ModelGateError, match="no champion before version 1"):
        in_use.rollback()
    assert in_use.alarms() == []


def test_f42_rollback_to_a_bundle_that_was_exchanged_is_refused(in_use: Hospital) -> None:
    in_use.approve("2", in_use.review("2", "1"))
    in_use.weights_of("1").write_bytes(in_use.weights_of("3").read_bytes())
    with pytest.raises(ModelGateError):
        in_use.rollback()
    assert in_use.aliases()[0] == "2"


def test_f42_the_command_rolls_back_and_verify_sees_what_was_changed_after(in_use: Hospital) -> None:
    in_use.approve("2", in_use.review("2", "1"))
    home = in_use.workspace.home

    def lungline(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "LUNGLINE_HOME": str(home), "HOME": str(home.parent), "USER": "somebody-else"}
        command = [str(Path(sys.executable).with_name("lungline")), *arguments]
        return subprocess.run(
            command, cwd=home.parent, env=environment, capture_output=True, text=True, check=False, timeout=120
        )

    done = lungline("rollback", "--reason", REASON, "--json")
    assert done.returncode == 0, done.stderr
    decision = json.loads(done.stdout)
    assert (decision["version"], decision["person"]["kind"]) == ("1", OS_USER)
    assert decision["person"]["name"] != "somebody-else"
    in_use.store.client.delete_registered_model_tag(MODEL, HEAD_TAG)
    checked = lungline("log", "verify")
    assert checked.returncode == 4
    assert f"ALARM {MODEL}" in checked.stdout
    assert "Traceback" not in checked.stderr
