"""A study on disk: which parameters come next, what came of each, and going on with it after a kill.

One process at a time works on a study; another one waits and finds its trials done. So a trial that the database calls
running, when a process takes the study up, was killed: it is marked failed and its place is taken again, by a trial
with the same seed. The draw of each trial depends on the study's seed, its number and the finished trials before it:
a study ends with the same trials, however often it was interrupted.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from data_contracts.errors import EnvironmentProblem, ModelGateError
from data_contracts.locks import only_one
from models.training.search.results import TrialRecord
from models.training.search.settings import Choice, LogRange, SearchSettings

if TYPE_CHECKING:
    import optuna

STUDY = "study.db"
# So long does a write wait for somebody who looks into the database at the same time.
LOCKED_SECONDS = 60.0
# The median is taken of at least so many trials, and not before this epoch: first epochs say little.
TRIALS_BEFORE_PRUNING, FIRST_PRUNED_EPOCH = 5, 2
_NUMBER, _STATE = "number", "state"

Say = Callable[[str], None]
# (epoch from 1, value so far): raises to end a trial that is not worth its time.
Report = Callable[[int, float], None]
# (number from 1, parameters, report) -> value. A ModelGateError means that the training diverged.
Train = Callable[[int, dict[str, Choice], Report], float]


def trial_seed(seed: int, number: int) -> int:
    """Where trial `number` of a study starts its draws."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:4], "big")


def run_study(
    folder: Path,
    settings: SearchSettings,
    train: Train,
    *,
    say: Say,
    on_trial: Callable[[TrialRecord], None] | None = None,
) -> list[TrialRecord]:
    """The first `settings.trials` trials of the study in `folder`, running those that are missing.

    on_trial: called with each of them in order, also with those of earlier processes. Raises EnvironmentProblem where
    the database cannot be read or written, and whatever else `train` raises.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    end = None if settings.timeout_minutes is None else time.monotonic() + 60 * settings.timeout_minutes
    with only_one(folder / STUDY, say, "working on this search"), _database_errors(folder / STUDY):
        study = _open(folder / STUDY, settings, say)
        if stopped := _fail_stale(study):
            say(f"{stopped} interrupted trial{'s' if stopped > 1 else ''} marked failed and repeated")
        done = _finished(study, settings)
        if done:
            say(f"the search goes on after {len(done)} of {settings.trials} trials")
        for record in done:
            if on_trial is not None:
                on_trial(record)
        while len(done) < settings.trials:
            if end is not None and done and time.monotonic() >= end:
                say(f"the time of the search is up after {len(done)} of {settings.trials} trials")
                break
            _run_trial(study, settings, len(done) + 1, train)
            done = _finished(study, settings)
            if on_trial is not None:
                on_trial(done[-1])
    return done


def _run_trial(study: optuna.Study, settings: SearchSettings, number: int, train: Train) -> None:
    import optuna

    # A sampler of its own for each trial: its draws do not depend on which process drew the earlier ones.
    study.sampler = optuna.samplers.TPESampler(seed=trial_seed(settings.seed, number), constant_liar=False)
    trial = study.ask()
    trial.set_user_attr(_NUMBER, number)
    parameters = _suggest(trial, settings)

    def report(epoch: int, value: float) -> None:
        trial.report(value, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned

    try:
        value = train(number, parameters, report)
    except optuna.TrialPruned:
        trial.set_user_attr(_STATE, "pruned")
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    except ModelGateError:
        # To the sampler a trial that ended early is worse than those that did not: it learns to stay away.
        trial.set_user_attr(_STATE, "diverged")
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    else:
        trial.set_user_attr(_STATE, "complete")
        study.tell(trial, value)


def _suggest(trial: optuna.Trial, settings: SearchSettings) -> dict[str, Choice]:
    parameters: dict[str, Choice] = {}
    for name, space in settings.spaces.items():
        if isinstance(space, list):
            parameters[name] = cast(Choice, trial.suggest_categorical(name, space))
        else:
            parameters[name] = trial.suggest_float(name, space.low, space.high, log=isinstance(space, LogRange))
    return parameters


def _open(path: Path, settings: SearchSettings, say: Say) -> optuna.Study:
    """The study in this file; a file that is no database is set aside."""
    from sqlalchemy.exc import DatabaseError, OperationalError

    try:
        return _load(path, settings)
    except DatabaseError as error:
        if isinstance(error, OperationalError):
            raise
        aside = path.with_suffix(".damaged")
        os.replace(path, aside)
        say(f"the search starts anew: its database is damaged and was set aside as {aside.name}")
        return _load(path, settings)


def _load(path: Path, settings: SearchSettings) -> optuna.Study:
    import optuna

    storage = optuna.storages.RDBStorage(
        f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": LOCKED_SECONDS}}
    )
    pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
    if settings.pruner == "median":
        pruner = optuna.pruners.MedianPruner(
            n_startup_trials=TRIALS_BEFORE_PRUNING, n_warmup_steps=FIRST_PRUNED_EPOCH
        )
    study = optuna.create_study(
        storage=storage, study_name="search", direction="maximize", pruner=pruner, load_if_exists=True
    )
    study.get_trials(deepcopy=False)
    return study


def _fail_stale(study: optuna.Study) -> int:
    """Mark what a killed process left running as failed; how many there were."""
    import optuna

    stale = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,))
    for trial in stale:
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    return len(stale)


def _finished(study: optuna.Study, settings: SearchSettings) -> list[TrialRecord]:
    """The finished trials by number, at most as many as asked for."""
    import optuna

    states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    records = [
        TrialRecord(
            number=trial.user_attrs[_NUMBER],
            seed=trial_seed(settings.seed, trial.user_attrs[_NUMBER]),
            state=cast(Literal["complete", "pruned", "diverged"], trial.user_attrs[_STATE]),
            parameters={name: trial.params[name] for name in settings.spaces},
            value=trial.value if trial.state == optuna.trial.TrialState.COMPLETE else None,
            curve=[value for _, value in sorted(trial.intermediate_values.items())],
        )
        for trial in study.get_trials(deepcopy=False, states=states)
    ]
    return sorted(records, key=lambda record: record.number)[: settings.trials]


@contextmanager
def _database_errors(path: Path) -> Iterator[None]:
    """Turn what the database raises into EnvironmentProblem."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        cause = (str(error.__cause__ or error).splitlines() or [""])[0]
        raise EnvironmentProblem(
            f"The database of the search, {path}, cannot be used: {cause}",
            why="Without it the trials that are done would be lost.",
            cure="Check the disk and that no other program keeps the file locked, and run the same command again; "
            "finished trials are not repeated.",
        ) from error
