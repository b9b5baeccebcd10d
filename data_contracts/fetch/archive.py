"""Unpacks a downloaded archive: looked through as a whole first, refused as a whole, and nothing leaves its folder."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from data_contracts.disk import is_full, no_room, require_room
from data_contracts.errors import DataGateError, EnvironmentProblem, ExternalServiceError, UsageProblem
from data_contracts.fetch.answers import looks_like_html
from data_contracts.fetch.members import Member, UnpackLimits, refusal, tar_members, vetted, zip_members
from data_contracts.fetch.partial import rejected_place

_CHUNK = 1 << 20
_HEADER_READ = 32 << 20  # no header of an honest archive is longer
_DAMAGED = (
    *(zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError),
    *(NotImplementedError, UnicodeDecodeError),  # how zipfile meets headers that no packer writes
)


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What came out: files and bytes written, litter of macOS passed over, archives inside left as they are."""

    folder: Path
    files: int
    bytes: int
    skipped: int
    nested: list[str] = field(default_factory=list)

    def notes(self) -> list[str]:
        said = [f"{self.skipped} files left behind by macOS were skipped"] if self.skipped else []
        if self.nested:
            said.append(f"{len(self.nested)} archives inside were left packed, the first {self.nested[0]!r}")
        return said


def unpack(archive: Path, folder: Path, limits: UnpackLimits | None = None) -> Unpacked:
    """Unpack a zip, tar or tar.gz into `folder`, which must not exist yet and appears only when it is complete.

    Raises DataGateError for an archive that is dangerous in any member, ExternalServiceError for one that is damaged
    or no archive at all, EnvironmentProblem where there is no room or it cannot be unpacked here.
    """
    limits = limits or UnpackLimits()
    if folder.exists():
        raise UsageProblem(
            f"{folder} exists already; {archive.name} cannot be unpacked to it.",
            why="Files of two releases would mix.",
            cure="Move the folder out of the way.",
        )
    part = folder.with_name(folder.name + ".part")
    if part.exists():
        shutil.rmtree(part)  # left by a process that was killed
    declared = 0
    try:
        with _opened(archive) as opened:
            members = vetted(opened.members(), archive.name, archive.stat().st_size, limits)
            declared = sum(member.size for member in members)
            require_room(folder.parent, declared, f"Unpacking {archive.name}")
            part.mkdir(parents=True)
            result = _write(opened, members, part, folder)
        os.sync()  # one flush for all files; the name must not outlive their content
        os.replace(part, folder)
    except _DAMAGED as error:
        shutil.rmtree(part, ignore_errors=True)
        raise ExternalServiceError(
            f"{archive.name} is damaged or cut short ({type(error).__name__}: {error}).",
            why="Part of the images would be missing without a sign.",
            cure="Fetch it again; this file is of no use.",
        ) from error
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        if not is_full(error):
            raise
        raise no_room(folder.parent, declared, f"Unpacking {archive.name}") from error
    except DataGateError:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return result


def unpack_download(archive: Path, folder: Path) -> Unpacked:
    """Unpack an archive that can be fetched again, and remove it; one that is refused gets a name nothing reads."""
    try:
        result = unpack(archive, folder)
    except (DataGateError, ExternalServiceError):
        os.replace(archive, rejected_place(archive))
        raise
    archive.unlink()
    return result


class _Zip:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def members(self) -> Iterator[Member]:
        return zip_members(self._archive)

    def contents(self, wanted: dict[int, Member]) -> Iterator[tuple[Member, IO[bytes]]]:
        entries = self._archive.infolist()
        for index, member in wanted.items():
            with self._archive.open(entries[index]) as content:
                yield member, content


class _Tar:
    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive

    def members(self) -> Iterator[Member]:
        return tar_members(self._archive)

    def contents(self, wanted: dict[int, Member]) -> Iterator[tuple[Member, IO[bytes]]]:
        entries = self._archive.getmembers()
        for index, member in wanted.items():
            content = self._archive.extractfile(entries[index])
            if content is not None:
                with content:
                    yield member, content


@contextmanager
def _opened(archive: Path) -> Iterator[_Zip | _Tar]:
    """The archive by what its bytes are, whatever its name says."""
    with archive.open("rb") as file:
        beginning = file.read(512)
    if looks_like_html(beginning):
        raise ExternalServiceError(
            f"{archive.name} is a web page, not an archive: it begins {beginning[:40].decode('ascii', 'replace')!r}.",
            why="The server sent a sign-in or error page in place of the data.",
            cure="Check the credentials for this source, open the dataset's page in a browser, and fetch it again.",
        )
    if beginning.startswith((b"Rar!\x1a\x07", b"7z\xbc\xaf\x27\x1c")):
        raise EnvironmentProblem(
            f"{archive.name} is a {'RAR' if beginning.startswith(b'Rar') else '7z'} archive.",
            why="Lungline unpacks zip and tar only.",
            cure=f"Unpack {archive} by hand (unar, 7z) into a folder of its own below the data folder.",
        )
    if beginning.startswith(b"PK"):
        with zipfile.ZipFile(archive) as opened:
            yield _Zip(opened)
        return
    if not (beginning.startswith(b"\x1f\x8b") or beginning[257:262] == b"ustar"):
        raise ExternalServiceError(
            f"{archive.name} is neither zip nor tar nor tar.gz; it begins {beginning[:8].hex(' ')}.",
            why="There is nothing to unpack.",
            cure="Remove the file and fetch it again; if it stays so, look at the dataset's page.",
        )
    zipped = beginning.startswith(b"\x1f\x8b")
    with (
        gzip.open(archive) if zipped else archive.open("rb") as stream,
        tarfile.open(fileobj=_ShortReads(stream, archive.name), mode="r:") as opened_tar,
    ):
        yield _Tar(opened_tar)


class _ShortReads(io.BufferedIOBase):
    """A stream that refuses huge single reads: tarfile would load a header of any length into memory."""

    def __init__(self, stream: io.BufferedIOBase, name: str) -> None:
        self._stream, self._name = stream, name

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= _HEADER_READ:
            raise refusal(self._name, [f"a header claims {size or 0:,} bytes"])
        return self._stream.read(size)


def _write(opened: _Zip | _Tar, members: list[Member], part: Path, folder: Path) -> Unpacked:
    """Write the vetted members below `part`, counting the bytes that really come out."""
    wanted = {member.index: member for member in members if not member.litter}
    written = files = 0
    for member, content in opened.contents({i: m for i, m in wanted.items() if not m.is_folder}):
        place = part.joinpath(*member.path.parts)
        place.parent.mkdir(parents=True, exist_ok=True)
        written += _copy(content, place, member)
        files += 1
    for member in wanted.values():
        if member.is_folder:
            part.joinpath(*member.path.parts).mkdir(parents=True, exist_ok=True)
    return Unpacked(
        folder=folder,
        files=files,
        bytes=written,
        skipped=len([member for member in members if member.litter and not member.is_folder]),
        nested=[str(m.path) for m in wanted.values() if not m.is_folder and is_archive(m.path.name)],
    )


def _copy(content: IO[bytes], place: Path, member: Member) -> int:
    written = 0
    with place.open("xb") as out:
        while chunk := content.read(_CHUNK):
            written += len(chunk)
            if written > member.size:
                break
            out.write(chunk)
    if written != member.size:
        raise DataGateError(
            f"{str(member.path)!r} does not hold the {member.size:,} bytes it declares.",
            why="An archive that lies about sizes can fill a disk, or is damaged.",
            cure="Do not use it; fetch the dataset again from its own page.",
        )
    return written


def is_archive(name: str) -> bool:
    """Whether a file offers itself as an archive, by its suffix."""
    return name.lower().endswith((".zip", ".tar", ".gz", ".tgz", ".rar", ".7z"))
