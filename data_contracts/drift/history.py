"""The verdicts that were given, one folder per window and issue; written once, complete or absent, never changed."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from data_contracts.disk import is_full, no_room
from data_contracts.drift.verdict import DriftVerdict
from data_contracts.drift.windows import CutWindow, Kind, Place
from data_contracts.durability import sync
from data_contracts.errors import EnvironmentProblem
from data_contracts.locks import only_one

VERDICT, LOOKED_AT = "verdict.json", "window.json"


class LookedAt(BaseModel):
    """What a verdict rests on, so that a window which changed since is noticed.

    since, until, first, last, kind: as in `Place`. rows: images of the window, refused ones too. content: hash of
    which images they were. labels: hash of the labels of these images, "" without. duplicates: rows that were left
    out because their image was in the log already. damaged: files of the log that could not be read.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    since: date
    until: date
    first: str = ""
    last: str = ""
    rows: int
    content: str
    labels: str = ""
    duplicates: int = 0
    damaged: list[str] = []

    @classmethod
    def of(
        cls, window: CutWindow, *, labels: str = "", duplicates: int = 0, damaged: Sequence[str] = ()
    ) -> LookedAt:
        place = window.place
        return cls(
            kind=place.kind,
            since=place.since,
            until=place.until,
            first=place.first,
            last=place.last,
            rows=len(window.rows),
            content=window.content,
            labels=labels,
            duplicates=duplicates,
            damaged=list(damaged),
        )

    def place(self, window_id: str) -> Place:
        return Place(window_id, self.kind, self.since, self.until, self.first, self.last)


@dataclass(frozen=True, slots=True)
class Issued:
    """One verdict as it was given. folder: holds verdict, page and reports."""

    verdict: DriftVerdict
    looked_at: LookedAt
    folder: Path

    @property
    def place(self) -> Place:
        return self.looked_at.place(self.verdict.window.id)


class VerdictHistory:
    """The verdicts about one registered model."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def issued(self) -> tuple[list[Issued], list[str]]:
        """Every verdict, by window's end and issue, and the names of folders that could not be read."""
        found, unreadable = [], []
        for folder in sorted(self.folder.glob("*/[0-9]*")):
            try:
                verdict = DriftVerdict.model_validate_json((folder / VERDICT).read_bytes())
                found.append(
                    Issued(verdict, LookedAt.model_validate_json((folder / LOOKED_AT).read_bytes()), folder)
                )
            except (OSError, ValidationError):
                unreadable.append(folder.relative_to(self.folder).as_posix())
        found.sort(
            key=lambda one: (one.looked_at.until, one.looked_at.last, one.place.id, one.verdict.window.issue)
        )
        return found, unreadable

    def latest(self, version: str | None = None) -> list[Issued]:
        """The last issue of every window, of one version or of all, by the window's end."""
        last = {one.place.id: one for one in self.issued()[0] if version in (None, one.verdict.version)}
        return list(last.values())

    def next_issue(self, window_id: str) -> int:
        """1 for a window that was never judged; a folder that cannot be read keeps its number."""
        return 1 + max(
            (int(folder.name) for folder in (self.folder / window_id).glob("[0-9]*") if folder.name.isdecimal()),
            default=0,
        )

    @contextmanager
    def alone(self, say: Callable[[str], None]) -> Iterator[None]:
        """Hold the model's lock: between looking for an earlier verdict and giving one, nobody else gives one."""
        with self._file_errors():
            self.folder.mkdir(parents=True, exist_ok=True)
        with only_one(self.folder, say, "judging a window of this model"):
            yield

    @contextmanager
    def giving(self, verdict: DriftVerdict, looked_at: LookedAt) -> Iterator[Path]:
        """A folder to put page and reports into; it gets its name, with the verdict in it, when the block is left.

        Raises EnvironmentProblem where the disk refuses, or where the issue was given already.
        """
        place = self.folder / _safe(verdict.window.id)
        final = place / str(verdict.window.issue)
        part = place / f".{verdict.window.issue}.part-{secrets.token_hex(4)}"
        with self._file_errors():
            for left in place.glob(".*.part-*"):  # of a killed run: whoever holds the lock is not writing
                shutil.rmtree(left, ignore_errors=True)
            part.mkdir(parents=True)
        try:
            yield part
            with self._file_errors():
                for name, content in ((LOOKED_AT, looked_at), (VERDICT, verdict)):
                    _write(part / name, content.model_dump_json(indent=2) + "\n")
                os.replace(part, final)
                sync(place)
        finally:
            shutil.rmtree(part, ignore_errors=True)

    @contextmanager
    def _file_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if is_full(error):
                existing = next(place for place in (self.folder, *self.folder.parents) if place.is_dir())
                raise no_room(existing, 1 << 20, "The verdict on a window") from error
            raise EnvironmentProblem(
                f"The verdict cannot be kept below {self.folder}: {error.strerror or error}.",
                why="Without its history no alarm can be told from a single odd window.",
                cure="See that the folder may be read and written, then run the same command again.",
            ) from error


def _safe(window_id: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", window_id):
        raise ValueError(f"{window_id!r} cannot name a folder")
    return window_id


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
