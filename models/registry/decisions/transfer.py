"""Carries the decision log elsewhere, byte for byte: from its file into the database, and out into a copy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from data_contracts.errors import ModelGateError, UsageProblem
from data_contracts.workspace import Workspace
from models.registry.decisions.database_storage import VARIABLE
from models.registry.decisions.file_storage import FileStorage
from models.registry.decisions.in_use import database_in_use, moved
from models.registry.decisions.log import DecisionLog, Reading, require_sound
from models.registry.decisions.storage import LogStorage


@dataclass(frozen=True, slots=True)
class Transfer:
    """Where a log lies now, with how many entries, and where the file is that it was carried from or into."""

    entries: int
    place: str
    file: Path


def move_into_database(workspace: Workspace) -> Transfer:
    """Carry the file's log into the database and keep the file under another name; repeating it changes nothing.

    Raises UsageProblem where no database is named, where there is no log to move, or where an earlier one was kept;
    ModelGateError where a log was changed or the database has another one; EnvironmentProblem or
    ExternalServiceError where disk or database fails.
    """
    file, database = FileStorage.of(workspace), database_in_use()
    kept = moved(file)
    if database is None:
        raise UsageProblem(
            f"{VARIABLE} is not set.",
            why="It says which database the decision log is to be moved into.",
            cure=f"Set {VARIABLE}=mysql+pymysql://USER:PASSWORD@HOST:PORT/DATABASE, then run the command again.",
        )
    with file.locked(), database.locked():
        was_moved = kept.path.exists() and not file.path.exists()
        if was_moved:
            _keep(file, kept)  # a kill may have come between its two names
        elif kept.path.exists():
            raise _cannot_move(
                f"There are {file.path} and {kept.path.name} beside it.", "Find out which is the log."
            )
        elif not file.begun():
            raise _cannot_move(f"There is no decision log {file.path}.", "Nothing to do.")
        source = DecisionLog(kept if was_moved else file)
        reading = _sound(source)
        if not was_moved:
            source.settle_interrupted_writing(reading)
            if reading.lines and not database.begun():
                DecisionLog(database).write(Reading(), reading.lines)
        there = _sound(DecisionLog(database))
        if there.lines[: len(reading.lines)] != reading.lines:
            raise ModelGateError(
                f"The database {database.place} does not have the log of {source.storage.place}.",
                why="A decision log is moved whole, and two of them cannot be joined.",
                cure=f"Find out whose log it has, or name an empty database in {VARIABLE}.",
            )
        if not was_moved:
            _keep(file, kept)
    return Transfer(len(there.lines), database.place, kept.path)


def export(storage: LogStorage, file: Path) -> Transfer:
    """Write a copy of the log, and its head beside it; of a log without entries nothing is written.

    Raises UsageProblem where the file is there or has no folder, ModelGateError where the log was changed,
    EnvironmentProblem or ExternalServiceError where it cannot be read or the copy cannot be written.
    """
    copy = FileStorage(file)
    if copy.begun() or not file.parent.is_dir():
        raise UsageProblem(
            f"{file} cannot be written: "
            + ("it or its head is there already." if copy.begun() else "its folder does not exist."),
            why="A copy of the decision log replaces none that was kept before.",
            cure="Give another name, with the date for instance.",
        )
    log = DecisionLog(storage)
    with log.locked():
        reading = _sound(log)
    if reading.lines:
        part = FileStorage(file.with_name(f"{file.name}.part"))
        part.path.unlink(missing_ok=True)
        DecisionLog(part).write(Reading(), reading.lines)
        _keep(part, copy)
    return Transfer(len(reading.lines), storage.place, file)


def _sound(log: DecisionLog) -> Reading:
    reading = log.read()
    require_sound(reading)
    return reading


def _keep(old: FileStorage, new: FileStorage) -> None:
    for before, after in ((old.path, new.path), (old.head_path, new.head_path)):
        if before.exists():
            before.replace(after)


def _cannot_move(what: str, cure: str) -> UsageProblem:
    return UsageProblem(what, why="A log is moved once and as a whole: two of them cannot be joined.", cure=cure)
