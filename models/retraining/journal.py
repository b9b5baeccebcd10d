"""The retraining journal on disk: append-only JSON lines, each on disk before the program goes on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import ValidationError

from data_contracts.durability import sync
from data_contracts.errors import EnvironmentProblem, LunglineError, ModelGateError
from data_contracts.workspace import Workspace
from models.registry.versions import require_model_name
from models.retraining.entries import Entry, entry_of, read_entry

FILE = "retraining.jsonl"
_LOCK_SECONDS = 60  # entries are written in milliseconds


@dataclass(frozen=True, slots=True)
class RetrainingJournal:
    """The journal of one registered model, in its monitoring folder."""

    folder: Path

    @classmethod
    def of(cls, workspace: Workspace, model_name: str) -> RetrainingJournal:
        """Raises UsageProblem for a name that cannot be a model's."""
        require_model_name(model_name)
        return cls(workspace.monitoring / model_name)

    @property
    def path(self) -> Path:
        return self.folder / FILE

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the journal against every other process. Raises EnvironmentProblem where that is not granted."""
        lock = FileLock(self.folder / "retraining.lock", timeout=_LOCK_SECONDS)
        with _file_errors(self.path):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def training_lock(self) -> Iterator[bool]:
        """Whether no living process trains for this journal; held while the block runs, and dies with its process."""
        lock = FileLock(self.folder / "training.lock")
        with _file_errors(self.path), suppress(Timeout):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        try:
            yield lock.is_locked
        finally:
            lock.release()

    def read(self) -> tuple[Entry, ...]:
        """Every complete entry; an absent journal has none, and half a line as a kill leaves it is no entry.

        Raises ModelGateError naming the line where one was changed, EnvironmentProblem where the file cannot be read.
        """
        with _file_errors(self.path):
            data = self.path.read_bytes() if self.path.exists() else b""
        entries: list[Entry] = []
        for number, line in enumerate(data.split(b"\n")[:-1], start=1):
            try:
                entry = read_entry(line)
            except ValidationError as error:
                raise _damaged(self.path, number, "it is no entry of a retraining journal") from error
            if entry.sequence != len(entries):
                raise _damaged(
                    self.path, number, f"entry {len(entries)} is expected, it is entry {entry.sequence}"
                )
            entries.append(entry)
        return tuple(entries)

    def append(self, now: datetime, **content: object) -> Entry:
        """Write one entry; under the lock. When this returns it is on disk, and when it raises nothing was added."""
        sequence = len(self.read())
        time = now.astimezone(UTC).replace(microsecond=0)
        entry = entry_of({"sequence": sequence, "time": time, **content})
        with _file_errors(self.path):
            new = not self.path.exists()
            with self.path.open("ab") as file:
                size = _complete_size(self.path)
                file.truncate(size)
                try:
                    file.write(entry.model_dump_json().encode() + b"\n")
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:
                    file.truncate(size)
                    raise
            if new:
                sync(self.folder)
        return entry


def _complete_size(path: Path) -> int:
    """Bytes up to the last line break; what follows it was left by a kill in the middle of writing."""
    return path.read_bytes().rfind(b"\n") + 1


def _damaged(path: Path, number: int, what: str) -> ModelGateError:
    return ModelGateError(
        f"{path} was changed: line {number}: {what}.",
        why="Whether a training is due, and whether one may start, is read from every line of it.",
        cure="Put back a copy from before. Moving the file away starts anew, without episodes, budget and circuit.",
    )


@contextmanager
def _file_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except LunglineError:
        raise
    except (OSError, Timeout) as error:
        raise EnvironmentProblem(
            f"{path} cannot be read or written: {getattr(error, 'strerror', None) or error}.",
            why="Without the journal nobody knows what was asked for and what was trained already.",
            cure="Make room, wait for the other process or give the folder the right permissions; then try again.",
        ) from error
