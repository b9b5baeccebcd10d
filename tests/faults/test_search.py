"""What may go wrong while hyper-parameters are searched for: kills, two processes at once, a locked or damaged file."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import optuna
import pytest

from data_contracts.errors import EnvironmentProblem
from models.training.search import study as study_module
from models.training.search.results import TrialRecord
from models.training.search.settings import Choice
from models.training.search.study import STUDY, Report, run_study
from tests.faults.small_study import KILLED_AT, KILLED_IN, SETTINGS, study, value_of


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[TrialRecord]:
    return study(tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders that killed studies left behind, by the point they were killed at."""
    folder = tmp_path_factory.mktemp("killed")
    subprocess.run(
        [sys.executable, "-m", "tests.faults.small_study", str(folder)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
        timeout=300,
    )
    return folder


def states_in(folder: Path) -> list[str]:
    """The state of every trial the database holds, in the order they began."""
    kept = optuna.load_study(study_name="search", storage=f"sqlite:///{folder / STUDY}")
    return [trial.state.name for trial in kept.get_trials(deepcopy=False)]


@pytest.mark.parametrize("point", KILLED_AT)
def test_f29_a_killed_study_resumes_and_ends_with_the_same_trials(
    killed: Path, undisturbed: list[TrialRecord], point: str
) -> None:
    said: list[str] = []
    trained: list[int] = []

    def counted(number: int, parameters: dict[str, Choice], report: Report) -> float:
        trained.append(number)
        return value_of(number, parameters, report)

    assert states_in(killed / point)[-1] == "RUNNING"
    resumed = run_study(killed / point, SETTINGS, counted, say=said.append)

    assert resumed == undisturbed
    assert len({trial.seed for trial in resumed}) == len(resumed) == SETTINGS.trials
    assert trained == [4, 5, 6, 7]
    assert said == [
        "1 interrupted trial marked failed and repeated",
        f"the search goes on after {KILLED_IN - 1} of {SETTINGS.trials} trials",
    ]
    states = states_in(killed / point)
    assert states.count("FAIL") == 1
    assert "RUNNING" not in states


def _work(folder: Path, noted: Path, results: multiprocessing.SimpleQueue[list[TrialRecord]]) -> None:
    def slow(number: int, parameters: dict[str, Choice], report: Report) -> float:
        with noted.open("a", encoding="utf-8") as file:
            file.write(f"{number}\n")
        time.sleep(0.02)
        return value_of(number, parameters, report)

    results.put(study(folder, slow))


def test_f29_two_processes_on_one_study_train_every_trial_once(
    tmp_path: Path, undisturbed: list[TrialRecord]
) -> None:
    context = multiprocessing.get_context("fork")
    results: multiprocessing.SimpleQueue[list[TrialRecord]] = context.SimpleQueue()
    arguments = (tmp_path / "study", tmp_path / "noted", results)
    workers = [context.Process(target=_work, args=arguments) for _ in range(2)]

    for worker in workers:
        worker.start()
    found = [results.get(), results.get()]
    for worker in workers:
        worker.join()

    assert found == [undisturbed, undisturbed]
    assert (tmp_path / "noted").read_text().split() == [str(number) for number in range(1, 8)]


def hold(folder: Path) -> sqlite3.Connection:
    """A connection that keeps every other one from reading and writing."""
    connection = sqlite3.connect(folder / STUDY, isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN EXCLUSIVE")
    return connection


def test_f29_a_database_that_is_locked_for_a_while_is_waited_for(
    tmp_path: Path, undisturbed: list[TrialRecord]
) -> None:
    study(tmp_path, trials=2)
    connection = hold(tmp_path)
    release = threading.Timer(0.5, connection.rollback)
    release.start()

    began = time.monotonic()
    resumed = study(tmp_path)

    assert time.monotonic() - began > 0.4
    assert resumed == undisturbed
    connection.close()


def test_f29_a_database_that_stays_locked_is_named_and_costs_no_trial(
    tmp_path: Path, undisturbed: list[TrialRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_module, "LOCKED_SECONDS", 0.05)
    study(tmp_path, trials=2)
    connection = hold(tmp_path)

    with pytest.raises(EnvironmentProblem, match="database is locked") as caught:
        study(tmp_path)
    connection.close()

    assert STUDY in caught.value.what
    assert study(tmp_path) == undisturbed


def test_f29_a_lock_during_a_trial_is_named_and_the_trial_repeated(
    tmp_path: Path, undisturbed: list[TrialRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_module, "LOCKED_SECONDS", 0.05)
    held: list[sqlite3.Connection] = []

    def locked_out(number: int, parameters: dict[str, Choice], report: Report) -> float:
        if number == 2:
            held.append(hold(tmp_path))
        return value_of(number, parameters, report)

    with pytest.raises(EnvironmentProblem, match="database is locked"):
        study(tmp_path, locked_out)
    held[0].close()

    assert study(tmp_path) == undisturbed


def test_f29_a_damaged_database_is_set_aside(tmp_path: Path, undisturbed: list[TrialRecord]) -> None:
    (tmp_path / STUDY).write_bytes(b"no database at all" * 500)
    said: list[str] = []

    found = run_study(tmp_path, SETTINGS, value_of, say=said.append)

    assert found == undisturbed
    assert said == ["the search starts anew: its database is damaged and was set aside as study.damaged"]
    assert (tmp_path / "study.damaged").read_bytes().startswith(b"no database")
