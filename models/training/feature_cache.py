"""Features of frozen trunks on disk: one .npy file per trunk and view, mapped into memory, shared by all trainings.

Machines that share no disk may share copies of the files elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from data_contracts.disk import is_full, no_room, require_room
from data_contracts.locks import only_one

# Files that nobody has read for so long are removed when the next one is written.
_KEPT_SECONDS = 30 * 24 * 3600
_log = logging.getLogger("lungline.training")
_PURPOSE = "Keeping the features of a frozen trunk (training.feature_views)"


class Elsewhere(Protocol):
    """Where copies outlive this machine. Neither raises: what cannot be had is computed."""

    def fetch(self, name: str, path: Path) -> bool:
        """Write the copy of that name to `path` as a whole; False where there is none."""

    def keep(self, path: Path, name: str) -> bool:
        """Copy the file there; False where that failed."""


@dataclass(frozen=True, slots=True)
class FeatureCache:
    """folder: holds the files, made if need be. store: content hash of the image store whose rows are asked for.

    elsewhere: asked before features are computed, and given those that were.
    """

    folder: Path
    store: str
    elsewhere: Elsewhere | None = None

    def get(
        self, made_from: Mapping[str, object], count: int, compute: Callable[[], Iterator[NDArray[np.float32]]]
    ) -> NDArray[np.float32]:
        """(count, …) features, read-only. made_from: everything besides the store that decides them, as JSON.

        compute: gives them in pieces, in order, where no file has them yet. A file has its name only when it is
        whole. Raises EnvironmentProblem where the disk is too small.
        """
        named = json.dumps({"store": self.store, **made_from}, sort_keys=True)
        path = self.folder / f"{hashlib.sha256(named.encode()).hexdigest()[:32]}.npy"
        self.folder.mkdir(parents=True, exist_ok=True)
        with only_one(path, _log.warning, "computing the same features"):
            found = _read(path, count)
            if found is None:
                self._remove_unused()
                if self.elsewhere is not None and self.elsewhere.fetch(path.name, path):
                    found = _read(path, count)
            if found is None:
                _write(path, count, compute())
                found = np.load(path, mmap_mode="r", allow_pickle=False)
                if self.elsewhere is not None:
                    self.elsewhere.keep(path, path.name)
            os.utime(path)
        return found

    def _remove_unused(self) -> None:
        for path in self.folder.glob("[0-9a-f]*"):  # not the locks, whose names begin with a dot
            with suppress(OSError):  # another process may be faster
                if time.time() - path.stat().st_mtime > _KEPT_SECONDS:
                    path.unlink()


def _read(path: Path, count: int) -> NDArray[np.float32] | None:
    try:
        found: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError):
        return None  # absent or cut short: computed again
    return found if found.dtype == np.float32 and len(found) == count else None


def _write(path: Path, count: int, pieces: Iterator[NDArray[np.float32]]) -> None:
    # Written in order rather than through a memory map: on a full disk that raises, where a map kills the process.
    part = path.with_name(path.name + ".part")
    first = next(pieces)
    shape = (count, *first.shape[1:])
    needed = int(np.prod(shape)) * first.itemsize
    require_room(path.parent, needed, _PURPOSE)
    try:
        with part.open("wb") as out:
            np.lib.format.write_array_header_1_0(out, {"descr": "<f4", "fortran_order": False, "shape": shape})
            out.write(first.astype("<f4").tobytes())
            for piece in pieces:
                out.write(piece.astype("<f4").tobytes())
            out.flush()
            os.fsync(out.fileno())
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        if is_full(error):
            raise no_room(path.parent, needed, _PURPOSE) from error
        raise
