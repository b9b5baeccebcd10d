"""The entries of the decision log and their one form as bytes.

A line of the log is the canonical JSON of its entry (UTF-8, sorted keys, no spaces) with one more key, `hash`: the
SHA-256 of the canonical JSON without it. Each entry holds the hash of the entry before.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from models.registry.decisions.person import Person

BEFORE_THE_FIRST = "0" * 64

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Version = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,8}$")]
VerdictName = Literal["PROMOTE", "HOLD", "REJECT"]
Action = Literal["approve", "reject", "rollback"]


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Aliases(_Form):
    """The versions of a model that only decisions move; None where there is none."""

    champion: Version | None = None
    previous: Version | None = None


class _Entry(_Form):
    """sequence: 0, 1, 2 … without gaps; this alone orders entries. previous: hash of the entry before.

    time: UTC, as the machine's clock had it.
    """

    sequence: Annotated[int, Field(ge=0)]
    previous: Sha256
    time: AwareDatetime


class Genesis(_Entry):
    """The first entry. log_id: 32 random hex digits, so that no two logs are taken for each other."""

    kind: Literal["genesis"] = "genesis"
    format_version: Literal[1] = 1
    log_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]


class Decision(_Entry):
    """What a person decided; written before anything is moved, so it is the intent until an outcome follows.

    version: decided about; after a rollback the champion, None where the model has none then. bundle: content hash
    of that version's verified files, None where they were not looked at (a refusal). trained_by: None where unknown.
    dossier, verdict: of the review it rests on, None without one. overrides: what the person decided against, e.g.
    "verdict HOLD"; empty where nothing. before, after: the aliases.
    """

    kind: Action
    model: str
    version: Version | None
    bundle: Sha256 | None
    person: Person
    trained_by: Person | None
    reason: str
    dossier: Sha256 | None
    verdict: VerdictName | None
    overrides: list[str]
    before: Aliases
    after: Aliases


class Outcome(_Entry):
    """What became of the decision right before: done, or withdrawn without effect. note: why, "" for the usual."""

    kind: Literal["done", "withdrawn"]
    model: str
    decision: int
    note: str


Entry = Annotated[Genesis | Decision | Outcome, Field(discriminator="kind")]
_ENTRY: TypeAdapter[Genesis | Decision | Outcome] = TypeAdapter(Entry)


class UnreadableLine(ValueError):
    """A line that is no entry; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Line:
    """An entry with its hash."""

    entry: Genesis | Decision | Outcome
    hash: str

    @classmethod
    def of(cls, entry: Genesis | Decision | Outcome) -> Line:
        return cls(entry, hashlib.sha256(_canonical(entry.model_dump(mode="json"))).hexdigest())

    @classmethod
    def read(cls, data: bytes) -> Line:
        """The entry of a line without its line break. Raises UnreadableLine for anything `data` never wrote."""
        try:
            content = json.loads(data)
            stated = content.pop("hash")
            line = cls.of(_ENTRY.validate_python(content))
        except ValidationError as error:
            first = error.errors()[0]
            raise UnreadableLine(f"it is no entry: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
            raise UnreadableLine("it is no entry of a decision log") from error
        if stated != line.hash:
            raise UnreadableLine(f"its content has the hash {line.hash[:16]}…, it says {str(stated)[:16]}…")
        if line.data() != data:
            raise UnreadableLine("it is not written the way Lungline writes it")
        return line

    def data(self) -> bytes:
        """The line without its line break."""
        return _canonical({**self.entry.model_dump(mode="json"), "hash": self.hash})


def utc_text(time: datetime) -> str:
    """UTC to the second, for people."""
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"


def _canonical(value: object) -> bytes:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()
