"""The decision log in two files: decisions.jsonl holds the lines, decisions.head.json says which was the last."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from data_contracts.durability import sync
from data_contracts.errors import EnvironmentProblem, LunglineError
from data_contracts.workspace import Workspace
from models.registry.decisions.storage import LOCK_SECONDS, not_locked

LOG = "decisions.jsonl"


@dataclass(frozen=True, slots=True)
class FileStorage:
    """A log on a disk. path: of the lines; the head lies beside it."""

    path: Path

    @classmethod
    def of(cls, workspace: Workspace) -> FileStorage:
        return cls(workspace.home / LOG)

    @property
    def head_path(self) -> Path:
        return self.path.with_name(f"{self.path.stem}.head.json")

    @property
    def place(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def head_name(self) -> str:
        return self.head_path.name

    def begun(self) -> bool:
        return self.path.exists() or self.head_path.exists()

    def read(self) -> tuple[bytes, bytes | None]:
        with _file_errors(self.path):
            lines = self.path.read_bytes() if self.path.exists() else b""
        with _file_errors(self.head_path):
            head = self.head_path.read_bytes().removesuffix(b"\n") if self.head_path.exists() else None
        return lines, head

    def append(self, lines: Mapping[int, bytes], head: bytes) -> None:
        new = not self.path.exists()
        whole = self.read()[0].rfind(b"\n") + 1
        with _file_errors(self.path), self.path.open("ab") as file:
            try:
                file.truncate(whole)  # half a line of a write that was killed
                file.writelines(line + b"\n" for line in lines.values())
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                file.truncate(whole)
                raise
        if new:
            sync(self.path.parent)
        self._write_head(head)

    @contextmanager
    def locked(self) -> Iterator[None]:
        lock = FileLock(self.path.with_suffix(".lock"), timeout=LOCK_SECONDS)
        try:
            lock.acquire()
        except (OSError, Timeout) as error:
            raise not_locked(self.place, error) from error
        try:
            yield
        finally:
            lock.release()

    def _write_head(self, head: bytes) -> None:
        part = self.head_path.with_suffix(".part")
        with _file_errors(self.head_path):
            with part.open("wb") as file:
                file.write(head + b"\n")
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.head_path)
            sync(self.path.parent)


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
