"""Lets one process at a time work on a place; whoever comes second says so and waits."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def only_one(place: Path, say: Callable[[str], None], doing: str) -> Iterator[None]:
    """Hold the lock of `place`, a file beside it. The lock dies with its process, however that ends.

    doing: what the holder does, for the one sentence that a waiting process says.
    """
    lock = _lock_of(place)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"another process is {doing}; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def remove_unless_held(folder: Path) -> None:
    """Remove a folder, unless a living process holds its lock."""
    lock = _lock_of(folder)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return
    with lock:
        shutil.rmtree(folder, ignore_errors=True)
    lock.release()


def _lock_of(place: Path) -> FileLock:
    return FileLock(place.with_name(f".{place.name}.lock"))
