"""Folders of a remote store, kept on this node: fetched once for all its processes, dropped when long unused.

Each lies in FOLDER/<hash of its address>/files, which exists only when it is complete; `sizes.json` beside it says what
it holds, and the lock of `in-use` is shared by the processes that read it. A fetch that was killed leaves `part`, which
the next one removes. A folder never changes in the remote store under the same address.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from data_contracts.disk import SPARE_BYTES, is_full, no_room, require_room
from data_contracts.durability import sync
from data_contracts.errors import EnvironmentProblem, ExternalServiceError, LunglineError, UsageProblem
from data_contracts.locks import only_one
from data_contracts.workspace import Workspace

Result = TypeVar("Result")

PLACE, LIMIT = "LUNGLINE_ARTIFACT_CACHE", "LUNGLINE_ARTIFACT_CACHE_GIB"
KEPT_GIB = 50.0  # unless the environment says otherwise
_AT_ONCE = 4  # files of one folder
_PURPOSE = "Keeping an artefact of the remote store"
# This process's shared locks by entry. They are let go when it ends, however it ends: what was opened is read lazily,
# through memory maps and by path.
_HELD: dict[Path, int] = {}


class Remote(Protocol):
    """A folder of files in a remote store."""

    @property
    def uri(self) -> str: ...

    def sizes(self) -> dict[str, int]:
        """File name -> bytes, as the store lists them; empty where there is nothing."""

    def get(self, name: str, to: Path) -> None:
        """Write a file of it to the disk, replacing what is there."""


@dataclass(frozen=True, slots=True)
class NodeCache:
    """folder: shared by the processes of a node, on a file system with locks. limit_bytes: what is kept at most.

    A folder that is larger than the limit is kept nevertheless, for as long as it is in use.
    """

    folder: Path
    limit_bytes: int
    say: Callable[[str], None]

    @classmethod
    def current(cls, say: Callable[[str], None]) -> NodeCache:
        """As LUNGLINE_ARTIFACT_CACHE and LUNGLINE_ARTIFACT_CACHE_GIB say; below LUNGLINE_HOME, 50 GiB by default."""
        said = os.environ.get(LIMIT, "")
        try:
            limit = float(said or KEPT_GIB)
        except ValueError:
            limit = math.nan
        if not 0 <= limit < math.inf:
            raise UsageProblem(
                f"{LIMIT} is {said!r}.",
                why="It says how many GiB of artefacts this node keeps.",
                cure=f"Give a number such as 20, or leave it out for {KEPT_GIB:.0f}.",
            )
        folder = Path(os.environ.get(PLACE) or Workspace.current().cache / "artifacts").expanduser().resolve()
        return cls(folder, int(limit * 2**30), say)

    def open(self, remote: Remote, read: Callable[[Path], Result]) -> Result:
        """What `read` makes of the folder on this node, which this process then keeps from being dropped.

        A copy that is incomplete, or that `read` refuses, is fetched once again. Raises what `read` raises then,
        EnvironmentProblem where the disk refuses, and what `remote` raises.
        """
        entry = self.folder / hashlib.sha256(remote.uri.encode()).hexdigest()[:32]
        self._fetch(remote, entry, _is_whole)
        try:
            return read(entry / "files")
        except (LunglineError, OSError, ValueError) as error:
            refused = _stamp(entry)
            said = error.what if isinstance(error, LunglineError) else str(error)
            self.say(f"the copy of {remote.uri} on this node is damaged and fetched again: {said}")
        self._fetch(remote, entry, lambda entry: _stamp(entry) != refused and _is_whole(entry))
        return read(entry / "files")

    def _fetch(self, remote: Remote, entry: Path, is_good: Callable[[Path], bool]) -> None:
        try:
            _hold(entry)
            with only_one(entry / "files", self.say, f"fetching {remote.uri}"):
                if not is_good(entry):
                    self._fill(remote, entry)
                os.utime(entry)
        except OSError as error:
            raise EnvironmentProblem(
                f"{self.folder} cannot be written: {error.strerror or error}.",
                why="Artefacts of a remote store are kept there while they are read.",
                cure=f"Let this user (uid {os.getuid()}) write there, or set {PLACE} to another folder.",
            ) from error

    def _fill(self, remote: Remote, entry: Path) -> None:
        part, files = entry / "part", entry / "files"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        sizes = remote.sizes()
        if not sizes:
            raise ExternalServiceError(
                f"There is no artefact at {remote.uri}.",
                why="A step needs what an earlier one made.",
                cure="Find out who removed it. Training with --set, or without ZenML's cache, makes it again.",
            )
        needed = sum(sizes.values())
        self._make_room(needed)
        require_room(self.folder, needed, _PURPOSE)
        try:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                list(pool.map(lambda name: remote.get(name, part / name), sizes))
            if (found := _sizes(part)) != sizes:
                raise ExternalServiceError(
                    f"{remote.uri} came as {found} bytes; the store lists {sizes}.",
                    why="Half an artefact would be trained on or judged.",
                    cure="Run the same command again.",
                )
            for path in (*part.iterdir(), part):
                sync(path)
            (entry / "sizes.json").unlink(missing_ok=True)
            shutil.rmtree(files, ignore_errors=True)
            os.replace(part, files)
            (entry / "sizes.part").write_text(json.dumps(sizes), encoding="utf-8")
            sync(entry / "sizes.part")
            os.replace(entry / "sizes.part", entry / "sizes.json")
            sync(entry)
        except OSError as error:
            if is_full(error):
                raise no_room(self.folder, needed, _PURPOSE) from error
            raise
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def _make_room(self, needed: int) -> None:
        """Drop what was unused for longest until the limit and the disk hold `needed` bytes more."""
        kept = {entry: sum(_sizes(entry).values()) for entry in self.folder.iterdir() if entry.is_dir()}
        total = sum(kept.values()) + needed
        for entry in sorted(kept, key=_last_used):
            free = shutil.disk_usage(self.folder).free
            if total <= self.limit_bytes and free >= needed + SPARE_BYTES:
                return
            if _drop(entry):
                total -= kept[entry]


def _hold(entry: Path) -> None:
    """Share the entry's lock until this process ends; makes the entry where there is none."""
    while entry not in _HELD or not _is_same(_HELD[entry], entry / "in-use"):
        entry.mkdir(parents=True, exist_ok=True)
        try:
            lock = os.open(entry / "in-use", os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:
            continue  # dropped at this very moment
        fcntl.flock(lock, fcntl.LOCK_SH)
        _HELD[entry] = lock


def _is_same(lock: int, path: Path) -> bool:
    """Whether that is still the file at `path`, and not one that was dropped while this process waited for it."""
    with suppress(OSError):
        return os.path.samestat(os.fstat(lock), path.stat())
    return False


def _drop(entry: Path) -> bool:
    """Remove an entry unless a living process holds it."""
    try:
        lock = os.open(entry / "in-use", os.O_RDWR)
    except OSError:
        return False  # another process is making or dropping it
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(entry, ignore_errors=True)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True


def _is_whole(entry: Path) -> bool:
    try:
        return bool(json.loads((entry / "sizes.json").read_bytes()) == _sizes(entry / "files"))
    except (OSError, ValueError):
        return False


def _stamp(entry: Path) -> int:
    with suppress(OSError):
        return (entry / "sizes.json").stat().st_mtime_ns
    return 0


def _last_used(entry: Path) -> float:
    with suppress(OSError):  # another process may be faster
        return entry.stat().st_mtime
    return 0.0


def _sizes(folder: Path) -> dict[str, int]:
    found = {}
    for path in folder.rglob("*"):
        with suppress(OSError):
            if path.is_file():
                found[path.relative_to(folder).as_posix()] = path.stat().st_size
    return found
