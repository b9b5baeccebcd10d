"""The decision log: append-only, one line per entry, each bound to the one before by its hash.

Where it lies, a head beside the lines says which line was the last, so that lines cut off at the end are missed. The
registry holds the same of each model's last line (see aliases.py).

The chain shows that something was changed. It cannot show it to someone who rewrites log, head and registry alike:
whoever needs that keeps a copy of the log where the same people cannot write.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data_contracts.errors import ModelGateError
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
from models.registry.decisions.in_use import storage_in_use
from models.registry.decisions.storage import LogStorage


class Finding(BaseModel):
    """Something a check noticed. An alarm means that log and registry are not as decisions left them.

    where: file and line, or the model.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    level: Literal["alarm", "note"]
    where: str
    what: str


class Head(BaseModel):
    """Which entry is the last: of a log beside its lines, of a model in its registry tag."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    log_id: str
    sequence: Annotated[int, Field(ge=0)]
    hash: Sha256

    def data(self) -> bytes:
        """As it stands beside the lines."""
        return self.model_dump_json().encode()


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
    """The log in a storage. now: the clock, UTC. Only `locked` code may write.

    Everything here raises EnvironmentProblem or ExternalServiceError where the storage fails.
    """

    storage: LogStorage
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    @classmethod
    def of(cls, workspace: Workspace) -> DecisionLog:
        """The log in use. Raises as `storage_in_use`."""
        return cls(storage_in_use(workspace))

    @property
    def begun(self) -> bool:
        """Whether there is anything of a log, even if only its head was left."""
        return self.storage.begun()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the log against every other process. Raises EnvironmentProblem where that is not granted in time."""
        with self.storage.locked():
            yield

    def read_between_decisions(self) -> Reading:
        """What `read` gives, for whoever does not hold the lock: no decision is half written then.

        Raises as `locked` does.
        """
        if not self.begun:
            return Reading()
        with self.locked():
            return self.read()

    def read(self) -> Reading:
        """Every line checked, up to the first bad one; an absent log has no lines. Nothing is changed.

        Under the lock: lines and head are read one after the other, and a decision made in between would look like
        tampering.
        """
        data, head = self.storage.read()
        *complete, rest = data.split(b"\n")
        lines: list[Line] = []
        findings: list[Finding] = []
        for number, line_data in enumerate(complete, start=1):
            where = f"{self.storage.name} line {number}"
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
        findings += self._compare_head(lines, head, len(rest))
        return Reading(tuple(lines), tuple(findings), len(rest))

    def settle_interrupted_writing(self, reading: Reading) -> None:
        """Finish what a kill during `append` left: cut off half a line, bring the head up to the last line.

        For a sound reading only, under the lock.
        """
        if reading.lines:
            head = reading.head(reading.lines[-1]).data()
            if reading.unfinished or self.storage.read()[1] != head:
                self.storage.append({}, head)

    def append(self, make: Callable[[int, str, datetime], Decision | Outcome]) -> Line:
        """Write the entry that `make` builds from its sequence, the hash before it and the time; under the lock.

        When this returns the line is kept. Raises ModelGateError where the log is damaged.
        """
        reading = self.read()
        require_sound(reading)
        if not reading.lines:
            genesis = Genesis(
                sequence=0, previous=BEFORE_THE_FIRST, time=self._time(), log_id=secrets.token_hex(16)
            )
            reading = self.write(reading, [Line.of(genesis)])
        last = reading.lines[-1]
        line = Line.of(make(last.entry.sequence + 1, last.hash, self._time()))
        self.write(reading, [line])
        return line

    def write(self, reading: Reading, lines: Sequence[Line]) -> Reading:
        """Add lines that follow those read, under the lock; what the log is then."""
        longer = Reading((*reading.lines, *lines), reading.findings)
        head = longer.head(longer.lines[-1])
        self.storage.append({line.entry.sequence: line.data() for line in lines}, head.data())
        return longer

    def _time(self) -> datetime:
        return self.now().astimezone(UTC).replace(microsecond=0)

    def _compare_head(self, lines: list[Line], head: bytes | None, unfinished: int) -> list[Finding]:
        """Alarms unless the head is that of the last line, or of the one before as a kill would leave it."""
        name = self.storage.head_name
        if head is None:
            return [] if len(lines) <= 1 else [Finding(level="alarm", where=name, what="it was removed")]
        try:
            stated = Head.model_validate_json(head)
        except ValidationError:
            return [Finding(level="alarm", where=name, what="it does not say which line is the last")]
        reading = Reading(tuple(lines))
        if stated in [reading.head(line) for line in lines[-1 if unfinished else -2 :]]:
            return []
        if stated.sequence >= len(lines):
            missing = stated.sequence + 1 - len(lines)
            what = f"lines were cut off at the end: {name} knows {missing} more"
            where = f"{self.storage.name} line {len(lines) + 1}"
            return [Finding(level="alarm", where=where, what=what)]
        what = f"it speaks of entry {stated.sequence} of another log or of another past than {self.storage.name}"
        return [Finding(level="alarm", where=name, what=what)]


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
