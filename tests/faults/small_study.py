"""A study of a second for the fault tests; run as a program, it is killed at several points, once at each.

`python -m tests.faults.small_study FOLDER` leaves FOLDER/POINT as a killed study of that point left it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import optuna

from models.training.search.results import TrialRecord
from models.training.search.settings import Choice, SearchSettings
from models.training.search.study import Report, run_study

SETTINGS = SearchSettings.model_validate(
    {
        "trials": 7,
        "learning_rate": {"low": 1e-4, "high": 1e-1},
        "options": {"drop_rate": {"low": 0.0, "high": 0.5}},
        "seed": 3,
    }
)
KILLED_AT = ("drawing", "training", "telling")
KILLED_IN = 4


def value_of(number: int, parameters: dict[str, Choice], report: Report) -> float:
    """Stands in for a training of two epochs."""
    value = float(parameters["drop_rate"]) - float(parameters["learning_rate"])
    report(1, value / 2)
    report(2, value)
    return value


def study(folder: Path, train: Callable[..., float] = value_of, **changes: object) -> list[TrialRecord]:
    """All trials; `changes` replace settings."""
    settings = SearchSettings.model_validate({**SETTINGS.model_dump(), **changes})
    return run_study(folder, settings, train, say=lambda line: None)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed_study(folder: Path, point: str) -> None:
    def train(number: int, parameters: dict[str, Choice], report: Report) -> float:
        if number == KILLED_IN and point == "training":
            report(1, 0.1)
            die()
        value = value_of(number, parameters, report)
        if number == KILLED_IN and point == "telling":
            optuna.Study.tell = lambda *_, **__: die()  # type: ignore[method-assign]
        return value

    if point == "drawing":
        ask = optuna.Study.ask

        def asked(self: optuna.Study) -> optuna.Trial:
            trial = ask(self)
            if trial.number == KILLED_IN - 1:
                die()
            return trial

        optuna.Study.ask = asked  # type: ignore[method-assign]
    study(folder, train)


if __name__ == "__main__":
    for point in KILLED_AT:
        child = os.fork()
        if child == 0:
            killed_study(Path(sys.argv[1]) / point, point)
            os._exit(1)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL, point
