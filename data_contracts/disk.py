"""Room on the disk: asked for before anything is written, and put into words when it runs out all the same."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from data_contracts.errors import EnvironmentProblem

SPARE_BYTES = 64 << 20
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def require_room(folder: Path, needed_bytes: int, purpose: str) -> None:
    """Raise EnvironmentProblem unless the disk of `folder` has `needed_bytes` free and a little to spare."""
    if shutil.disk_usage(folder).free < needed_bytes + SPARE_BYTES:
        raise no_room(folder, needed_bytes, purpose)


def is_full(error: OSError) -> bool:
    """Whether an error means that the disk, a quota or the file system's largest file was reached."""
    return error.errno in _NO_ROOM


def no_room(folder: Path, needed_bytes: int, purpose: str) -> EnvironmentProblem:
    """The error to raise: how many bytes are needed, and how many are free now."""
    free = shutil.disk_usage(folder).free
    return EnvironmentProblem(
        f"{purpose} needs {needed_bytes:,} bytes in {folder}; {free:,} are free.",
        why="A disk that fills up half-way leaves the work undone.",
        cure="Free some space, or use a folder on a larger disk (--data DIR for datasets, LUNGLINE_HOME for what is "
        "made of them), and run the same command again.",
    )
