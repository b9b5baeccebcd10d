"""Which pipeline runs have a living process on this machine: each holds a lock below the workspace while it lasts.

ZenML notes no process for a run of its local orchestrator, and asks it for no sign of life.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from data_contracts.workspace import Workspace


@contextmanager
def living_run(workspace: Workspace, name: str) -> Iterator[None]:
    """Mark the run as living while the block runs; the mark of a process that was killed stays, and is free."""
    mark = _mark(workspace, name)
    mark.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(mark):
        try:
            yield
        finally:
            mark.unlink(missing_ok=True)


def sign_of_life(workspace: Workspace, name: str) -> Literal["living", "gone", "unknown"]:
    """What the run's mark says. unknown: it has none: it ended, was started elsewhere, or by another program."""
    mark = _mark(workspace, name)
    if not mark.is_file():
        return "unknown"
    try:
        with FileLock(mark, timeout=0):
            return "gone"
    except Timeout:
        return "living"


def forget_run(workspace: Workspace, name: str) -> None:
    """Take the mark of a run away that was closed."""
    _mark(workspace, name).unlink(missing_ok=True)


def _mark(workspace: Workspace, name: str) -> Path:
    return workspace.cache / "living" / f"{name}.lock"
