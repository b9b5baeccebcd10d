"""The decision log on disk: append-only, one line per entry, each bound to the one before by its hash.

decisions.jsonl holds the lines; decisions.head.json beside it says which line was the last, so that lines cut off at
the end are missed. The registry holds the same of each model's last line (see aliases.py).

The chain shows that something was changed. It cannot show it to someone who rewrites log, head and registry alike:
whoever needs that keeps a copy of the log where the same people cannot write.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data_contracts.errors import EnvironmentProblem, LunglineError, ModelGateError
from data_contracts.workspace import Workspace
from models.registry.decisions.entries import (
    BEFORE_THE_FIRST,
    Decision,
    Genesis,
    Line,
    Outcome,
    Sha256,
    UnreadableLine,
)

LOG = "decisions.jsonl"
HEAD = "decisions.head.json"
# A decision holds the lock while it takes the bundle from the registry and verifies it.
_LOCK_SECONDS = 300


class Finding(BaseModel):
    """Something a check noticed. An alarm means that log and registry are not as decisions left them.

    where: file and line, or the model.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    level: Literal["alarm", "note"]
    where: str
    what: str


class Head(BaseModel):
    """Which entry is the last: of a log in the file beside it, of a model in its registry tag."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    log_id: str
    sequence: Annotated[int, Field(ge=0)]
    hash: Sha256


@dataclass(frozen=True, slots=True)
class Reading:
    """The lines up to the first bad one, and what was noticed.

    unfinished: bytes after the last line break, as a kill during writing leaves them.
    """

    lines: tuple[Line, ...] = ()
    findings: tuple[Finding, ...] = ()
    unfinished: int = 0

    @property
    def sound(self) -> bool:
        return not any(finding.level == "alarm" for finding in self.findings)

    @property
    def log_id(self) -> str:
        """ "" for a log without entries."""
        first = self.lines[0].entry if self.lines else None
        return first.log_id if isinstance(first, Genesis) else ""

    def head(self, line: Line) -> Head:
        return Head(log_id=self.log_id, sequence=line.entry.sequence, hash=line.hash)

    def pending(self) -> Line | None:
        """The last line, where it is a decision without an outcome."""
        return self.lines[-1] if self.lines and isinstance(self.lines[-1].entry, Decision) else None


@dataclass(frozen=True, slots=True)
class DecisionLog:
    """The log of a workspace. now: the clock, UTC. Only `locked` code may write."""

    home: Path
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    @classmethod
    def of(cls, workspace: Workspace) -> DecisionLog:
        return cls(workspace.home)

    @property
    def path(self) -> Path:
        return self.home / LOG

    @property
    def head_path(self) -> Path:
        return self.home / HEAD

    @property
    def begun(self) -> bool:
        """Whether there is anything of a log, even if only its head was left."""
        return self.path.exists() or self.head_path.exists()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the log against every other process. Raises EnvironmentProblem where that is not granted in time."""
        lock = FileLock(self.home / "decisions.lock", timeout=_LOCK_SECONDS)
        try:
            lock.acquire()
        except (OSError, Timeout) as error:
            raise EnvironmentProblem(
                f"The decision log {self.path} cannot be locked: {error}.",
                why="Two decisions at once could contradict each other.",
                cure="Wait until the other decision is made, or see that the folder may be written to.",
            ) from error
        try:
            yield
        finally:
            lock.release()

    def read(self) -> Reading:
        """Every line checked, up to the first bad one; an absent log has no lines. Nothing is changed."""
        with _file_errors(self.path):
            data = self.path.read_bytes() if self.path.exists() else b""
        *complete, rest = data.split(b"\n")
        lines: list[Line] = []
        findings: list[Finding] = []
        for number, line_data in enumerate(complete, start=1):
            where = f"{LOG} line {number}"
            try:
                line = Line.read(line_data)
                _require_follows(lines, line)
            except UnreadableLine as error:
                after = len(complete) - number
                more = f"; the {after} lines after it cannot be relied on" if after else ""
                findings.append(Finding(level="alarm", where=where, what=f"{error}{more}"))
                return Reading(tuple(lines), tuple(findings))
            if lines and line.entry.time < lines[-1].entry.time:
                clock = "its time is before that of the line before: a clock was set back"
                findings.append(Finding(level="note", where=where, what=clock))
            lines.append(line)
        findings += self._compare_head(lines, len(rest))
        return Reading(tuple(lines), tuple(findings), len(rest))

    def settle_interrupted_writing(self, reading: Reading) -> None:
        """Finish what a kill during `append` left: cut off half a line, bring the head up to the last line.

        For a sound reading only, under the lock.
        """
        if reading.unfinished:
            size = self.path.stat().st_size - reading.unfinished
            with _file_errors(self.path), self.path.open("r+b") as file:
                file.truncate(size)
                os.fsync(file.fileno())
        if reading.lines and self._stated_head() != reading.head(reading.lines[-1]):
            self._write_head(reading.head(reading.lines[-1]))

    def append(self, make: Callable[[int, str, datetime], Decision | Outcome]) -> Line:
        """Write the entry that `make` builds from its sequence, the hash before it and the time; under the lock.

        When this returns the line is on disk. Raises ModelGateError where the log is damaged, EnvironmentProblem
        where the disk refuses; then nothing was added.
        """
        reading = self.read()
        require_sound(reading)
        if not reading.lines:
            genesis = Genesis(
                sequence=0, previous=BEFORE_THE_FIRST, time=self._time(), log_id=secrets.token_hex(16)
            )
            reading = self._write(reading, Line.of(genesis))
        last = reading.lines[-1]
        line = Line.of(make(last.entry.sequence + 1, last.hash, self._time()))
        self._write(reading, line)
        return line

    def _time(self) -> datetime:
        return self.now().astimezone(UTC).replace(microsecond=0)

    def _write(self, reading: Reading, line: Line) -> Reading:
        new = not self.path.exists()
        size = 0 if new else self.path.stat().st_size
        with _file_errors(self.path), self.path.open("ab") as file:
            try:
                file.write(line.data() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                file.truncate(size)
                raise
        longer = Reading((*reading.lines, line), reading.findings)
        if new:
            _fsync_folder(self.home)
        self._write_head(longer.head(line))
        return longer

    def _write_head(self, head: Head) -> None:
        part = self.head_path.with_suffix(".part")
        with _file_errors(self.head_path):
            with part.open("w", encoding="utf-8") as file:
                file.write(head.model_dump_json() + "\n")
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.head_path)
            _fsync_folder(self.home)

    def _stated_head(self) -> Head | None:
        """What the file beside the log says; None where it is absent. Raises ValidationError where it is no head."""
        with _file_errors(self.head_path):
            return Head.model_validate_json(self.head_path.read_bytes()) if self.head_path.exists() else None

    def _compare_head(self, lines: list[Line], unfinished: int) -> list[Finding]:
        """Alarms unless the head is that of the last line, or of the one before as a kill would leave it."""
        try:
            stated = self._stated_head()
        except ValidationError:
            return [Finding(level="alarm", where=HEAD, what="it does not say which line is the last")]
        if stated is None:
            return [] if len(lines) <= 1 else [Finding(level="alarm", where=HEAD, what="it was removed")]
        reading = Reading(tuple(lines))
        if stated in [reading.head(line) for line in lines[-1 if unfinished else -2 :]]:
            return []
        if stated.sequence >= len(lines):
            missing = stated.sequence + 1 - len(lines)
            what = f"lines were cut off at the end: {HEAD} knows {missing} more"
            return [Finding(level="alarm", where=f"{LOG} line {len(lines) + 1}", what=what)]
        what = f"it speaks of entry {stated.sequence} of another log or of another past than {LOG}"
        return [Finding(level="alarm", where=HEAD, what=what)]


def require_sound(reading: Reading) -> None:
    """Raise ModelGateError where the log was changed."""
    if reading.sound:
        return
    first = next(finding for finding in reading.findings if finding.level == "alarm")
    raise ModelGateError(
        f"The decision log was changed: {first.where}: {first.what}.",
        why="Nothing may be decided on a history that is not the one that happened.",
        cure="Find out who changed it (`lungline log verify` tells more) and put back a copy from before.",
    )


def _require_follows(lines: list[Line], line: Line) -> None:
    """Raise UnreadableLine unless the line may follow: number, hash, genesis first, each decision with its outcome."""
    entry = line.entry
    if entry.sequence != len(lines):
        raise UnreadableLine(f"entry {len(lines)} is expected there, it is entry {entry.sequence}")
    if entry.previous != (lines[-1].hash if lines else BEFORE_THE_FIRST):
        raise UnreadableLine("it does not follow the line before: that one was changed, removed or added")
    if isinstance(entry, Genesis) != (not lines):
        raise UnreadableLine("a log begins with its genesis entry and has no other")
    before = lines[-1].entry if lines else None
    if isinstance(before, Decision) != isinstance(entry, Outcome):
        raise UnreadableLine("a decision is followed by its outcome, and nothing else has one")
    if (
        isinstance(entry, Outcome)
        and isinstance(before, Decision)
        and (entry.decision, entry.model) != (before.sequence, before.model)
    ):
        raise UnreadableLine("it is the outcome of another decision than the one before it")


@contextmanager
def _file_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except LunglineError:
        raise
    except OSError as error:
        raise EnvironmentProblem(
            f"{path} cannot be read or written: {error.strerror or error}.",
            why="A decision counts when it is on disk, and none is made without knowing the earlier ones.",
            cure="Make room or give the file the right permissions, then run the command again.",
        ) from error


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
