"""Looks through an archive's list of members before a byte is written: names, kinds, collisions, sizes."""

from __future__ import annotations

import re
import stat
import tarfile
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from data_contracts.errors import DataGateError

_SHOWN = 3
_READABLE = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


@dataclass(frozen=True, slots=True)
class UnpackLimits:
    """What an archive may contain at most. The largest dataset here has 112,120 images and 45 GB.

    ratio: declared bytes for each byte of the archive, per member and in all; images hardly compress. It is not asked
    of less than `ratio_from_bytes`, which cannot hurt.
    """

    members: int = 250_000
    total_bytes: int = 200 << 30
    ratio: float = 200.0
    ratio_from_bytes: int = 8 << 20


@dataclass(frozen=True, slots=True)
class Member:
    """One entry. index: its position in the archive. size: declared bytes. stored: compressed bytes, None in a tar.

    fault: why it may not be unpacked, or "". litter: macOS left it, nobody wants it.
    """

    index: int
    path: PurePosixPath
    size: int
    stored: int | None
    is_folder: bool
    fault: str

    @property
    def litter(self) -> bool:
        parts = self.path.parts
        return "__MACOSX" in parts or any(part == ".DS_Store" or part.startswith("._") for part in parts)


def zip_members(archive: zipfile.ZipFile) -> Iterator[Member]:
    """The entries of a zip as it names them itself, before zipfile makes the names harmless."""
    for index, entry in enumerate(archive.infolist()):
        kind = stat.S_IFMT(entry.external_attr >> 16)
        fault = _name_fault(entry.orig_filename)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            fault = fault or "is a link or a device"
        elif entry.flag_bits & 1:
            fault = fault or "is encrypted"
        elif entry.compress_type not in _READABLE:
            fault = fault or f"is compressed by method {entry.compress_type}, which is not supported"
        path = PurePosixPath(entry.orig_filename)
        yield Member(index, path, entry.file_size, entry.compress_size, entry.is_dir(), fault)


def tar_members(archive: tarfile.TarFile) -> Iterator[Member]:
    """The entries of a tar, one at a time, so that a dangerous one is found before what follows it is read."""
    for index, entry in enumerate(archive):
        fault = _name_fault(entry.name)
        if not (entry.isdir() or (entry.isreg() and not entry.issparse())):
            fault = fault or "is a link, a device or a sparse file"
        size = 0 if entry.isdir() else entry.size
        yield Member(index, PurePosixPath(entry.name), size, None, entry.isdir(), fault)


def vetted(members: Iterable[Member], name: str, archive_bytes: int, limits: UnpackLimits) -> list[Member]:
    """All members, or DataGateError for the whole archive. Nothing has been written when this returns or raises."""
    accepted: list[Member] = []
    faults: list[str] = []
    spellings: dict[str, tuple[PurePosixPath, bool]] = {}
    total = 0
    for member in members:
        total += member.size
        _within(limits, name, member, len(accepted) + 1, total, archive_bytes)
        fault = member.fault or _collision(member, spellings)
        if fault:
            faults.append(f"{str(member.path)!r} {fault}")
            if len(faults) > _SHOWN:
                break
        accepted.append(member)
    if faults:
        raise refusal(name, faults)
    return accepted


def refusal(name: str, faults: list[str]) -> DataGateError:
    shown = "; ".join(faults[:_SHOWN]) + ("; and more" if len(faults) > _SHOWN else "")
    return DataGateError(
        f"{name} is refused as a whole: {shown}.",
        why="Unpacking it could write outside its folder, overwrite files, or fill the disk.",
        cure="Nothing was written. Fetch the dataset from its own page; an original does not look like this.",
    )


def _within(limits: UnpackLimits, name: str, member: Member, count: int, total: int, archive_bytes: int) -> None:
    """Checked with every member, so that a list that never ends is not read to its end."""
    if count > limits.members:
        raise refusal(name, [f"more than {limits.members:,} members"])
    if total > limits.total_bytes:
        raise refusal(name, [f"more than {limits.total_bytes:,} bytes unpacked"])
    if total >= limits.ratio_from_bytes and total > limits.ratio * archive_bytes:
        raise refusal(name, [f"{archive_bytes:,} bytes that claim to unpack to {total:,} or more"])
    if (
        member.stored is not None
        and member.size >= limits.ratio_from_bytes
        and member.size > limits.ratio * member.stored
    ):
        raise refusal(
            name, [f"{str(member.path)!r} claims to unpack from {member.stored:,} to {member.size:,} bytes"]
        )


def _name_fault(name: str) -> str:
    if not name or any(ord(letter) < 32 for letter in name):
        return "has a name with control characters or none"
    if name.startswith("/"):
        return "has an absolute path"
    if "\\" in name:
        return "has a backslash in its path"
    if re.match(r"[A-Za-z]:", name):
        return "has a drive letter"
    if ".." in name.split("/"):
        return "leaves its folder by '..'"
    return ""


def _collision(member: Member, spellings: dict[str, tuple[PurePosixPath, bool]]) -> str:
    """Two members that are one where upper and lower case are the same, or a file where a folder is needed.

    spellings: every path and folder so far by its folded name, as it was spelled, and whether it is a folder.
    """
    if not (member.path.parts or member.is_folder):
        return "has no name"
    for place in (*reversed(member.path.parents), member.path):
        is_folder = place != member.path or member.is_folder
        key = unicodedata.normalize("NFC", str(place)).casefold()
        earlier, was_folder = spellings.get(key, (place, is_folder))
        if earlier != place or was_folder != is_folder or (key in spellings and not is_folder):
            return f"collides with {str(earlier)!r}"
        spellings[key] = (place, is_folder)
    return ""
