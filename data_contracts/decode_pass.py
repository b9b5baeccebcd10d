"""The decode pass: looks at each file of a catalog once, with all cores, and takes what is known of it already."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_contracts.catalog import COLUMNS, KEPT, QUARANTINED
from data_contracts.images import DecodeLimits, UnreadableImage, read_image
from data_contracts.known_files import FILE_COLUMNS, Facts, Known, KnownFiles, Stamp, StoredRows

_TOGETHER = 8  # files that a thread takes at a time: handing over each one costs more than its thread saves
_OUTSIDE = "file lies outside the data folder"
_NOTHING = {name: COLUMNS[name][1] for name in FILE_COLUMNS}


@dataclass(frozen=True, slots=True)
class Examined:
    """A file as it was found.

    facts: complete, but row still -1. stamp: None where the file must be read again the
    next time. pixels: (size, size) uint8, None for a refused file. rows, row: where an earlier store has them.
    """

    file: str
    stamp: Stamp | None
    facts: Facts
    pixels: NDArray[np.uint8] | None = None
    rows: StoredRows | None = None
    row: int = -1


class DecodePass:
    """Examines files below one data folder. Links may lead anywhere inside it, and nowhere else."""

    def __init__(self, data_dir: Path, size: int, limits: DecodeLimits, known: KnownFiles) -> None:
        self._root = data_dir.resolve()
        self._size, self._limits, self._known = size, limits, known
        self._inside: dict[Path, bool] = {}  # by folder, as resolving takes longer than a small file's hash

    def examine_all(self, files: Sequence[str]) -> Iterator[list[Examined]]:
        """Every file, in order, some at a time; threads serve, as Pillow and hashlib release the interpreter lock."""
        threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        ahead: deque[Future[list[Examined]]] = deque()
        with ThreadPoolExecutor(threads) as pool:
            try:
                for start in range(0, len(files), _TOGETHER):
                    ahead.append(pool.submit(self._examine_some, files[start : start + _TOGETHER]))
                    if len(ahead) > 2 * threads:
                        yield ahead.popleft().result()
                while ahead:
                    yield ahead.popleft().result()
            finally:
                for waiting in ahead:  # what was not begun when the caller gave up
                    waiting.cancel()

    def examine(self, file: str) -> Examined:
        """What is known of the file, else what reading it tells."""
        try:
            path, status = self._find(file)
            stamp = Stamp.of(status)
            known = self._known.by_path(file, stamp)
            if known is not None:
                return _as_before(file, stamp, known)
            settled = stamp if stamp.is_conclusive() else None
            content = path.read_bytes()
        except OSError as error:
            return Examined(file, None, _refused(f"file cannot be read: {error.strerror}"))
        except UnreadableImage as error:
            return Examined(file, None, _refused(error.reason))
        file_sha256 = hashlib.sha256(content).hexdigest()
        known = self._known.by_content(file_sha256)
        if known is not None:
            return _as_before(file, settled, known)
        try:
            image = read_image(content, size=self._size, limits=self._limits)
        except UnreadableImage as error:
            return Examined(file, settled, _refused(error.reason, file_sha256))
        facts = {**_NOTHING, "file_sha256": file_sha256, "status": KEPT, **image.facts()}
        return Examined(file, settled, facts, image.pixels)

    def knowing(self, known: KnownFiles) -> DecodePass:
        """The same pass with other knowledge."""
        return DecodePass(self._root, self._size, self._limits, known)

    @property
    def knows_rows(self) -> bool:
        """Whether there are earlier stores that may hold rows already."""
        return bool(self._known)

    def _examine_some(self, files: Sequence[str]) -> list[Examined]:
        return [self.examine(file) for file in files]

    def _find(self, file: str) -> tuple[Path, os.stat_result]:
        """Path and status of a regular file inside the data folder. Raises UnreadableImage for anything else."""
        path = self._root / file
        folder = path.parent
        inside = self._inside.get(folder)
        if inside is None:
            inside = self._inside[folder] = self._holds(folder)
        if not inside:
            raise UnreadableImage(_OUTSIDE)
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            if not self._holds(path):
                raise UnreadableImage(_OUTSIDE)
            status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableImage("not a regular file")
        if status.st_size > self._limits.max_file_megabytes * 1e6:
            raise UnreadableImage(f"too large: a file of {status.st_size / 1e6:.0f} MB")
        return path, status

    def _holds(self, path: Path) -> bool:
        # Path.resolve raises where links lead in a circle; what such a link leads to is found missing later.
        return Path(os.path.realpath(path)).is_relative_to(self._root)


def _as_before(file: str, stamp: Stamp | None, known: Known) -> Examined:
    pixels = None if known.rows is None else known.rows.images[known.row]
    return Examined(file, stamp, known.facts, pixels, known.rows, known.row)


def _refused(reason: str, file_sha256: str = "") -> Facts:
    return {**_NOTHING, "file_sha256": file_sha256, "status": QUARANTINED, "reason": reason}
