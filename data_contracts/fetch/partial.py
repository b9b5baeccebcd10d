"""The files around a download: `.part` with what is known of it, the receipt of a verified file, `.rejected`."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from data_contracts.durability import sync
from data_contracts.errors import DataGateError, UsageProblem


class Receipt(BaseModel):
    """Written beside a verified file: where it came from and what its bytes were."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: str
    bytes: int
    sha256: str

    @classmethod
    def beside(cls, target: Path) -> Receipt | None:
        """The receipt of `target`, or None where there is none that can be read."""
        try:
            return cls.model_validate_json(receipt_place(target).read_bytes())
        except (OSError, ValidationError):
            return None


class Version(BaseModel):
    """What a server said of the file that a `.part` holds the beginning of; "" and None where it said nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: str
    size: int | None = None
    etag: str = ""
    last_modified: str = ""

    @property
    def validator(self) -> str:
        """What If-Range may carry: a strong ETag, else the date. A weak ETag does not vouch for bytes."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.last_modified

    def agrees(self, other: Version) -> bool:
        """Whether both may be the same bytes, judged by everything that both servers' answers name."""
        pairs = (
            (self.size, other.size),
            (self.etag, other.etag),
            (self.last_modified, other.last_modified),
        )
        return all(mine == theirs for mine, theirs in pairs if mine and theirs)


@dataclass(frozen=True, slots=True)
class Partial:
    """The unfinished download of `target`: `<target>.part`, and beside it the version it is part of."""

    target: Path

    @property
    def file(self) -> Path:
        return self.target.with_name(self.target.name + ".part")

    @property
    def _facts(self) -> Path:
        return self.target.with_name(self.target.name + ".part.json")

    def version(self) -> Version | None:
        try:
            return Version.model_validate_json(self._facts.read_bytes())
        except (OSError, ValidationError):
            return None

    def remember(self, version: Version) -> None:
        write_atomically(self._facts, version.model_dump_json())

    def resume_from(self, address: str, sha256: str | None) -> tuple[int, Version | None]:
        """How many bytes to go on from, and of which version.

        0 where the part is of another address, or where neither a validator nor a hash could tell a mixture of two
        versions from one file.
        """
        version = self.version()
        if version is None or version.address != address or not (version.validator or sha256):
            return 0, None
        offset = self.file.stat().st_size if self.file.is_file() else 0
        if version.size is not None and offset > version.size:
            return 0, None
        return offset, version

    def start_anew(self, version: Version) -> None:
        """Empty the part before it is said to belong to `version`, so that versions never mix."""
        self.file.write_bytes(b"")
        self.remember(version)

    def discard(self) -> None:
        for path in (self.file, self._facts):
            path.unlink(missing_ok=True)

    def reject(self) -> Path:
        """Move the part out of the way under a name that nothing reads."""
        os.replace(self.file, rejected_place(self.target))
        self.discard()
        return rejected_place(self.target)

    def publish(self, receipt: Receipt) -> None:
        """Give the verified part its final name; the receipt comes first, so a final name always has one."""
        with self.file.open("rb+") as part:
            os.fsync(part.fileno())
        write_atomically(receipt_place(self.target), receipt.model_dump_json())
        os.replace(self.file, self.target)
        sync(self.target.parent)
        self.discard()


def rejected_place(target: Path) -> Path:
    return target.with_name(target.name + ".rejected")


def receipt_place(target: Path) -> Path:
    return target.with_name(target.name + ".receipt.json")


def verified(target: Path, sha256: str | None, expected_bytes: int | None) -> Receipt | None:
    """The receipt of a target that is present and right, None where it is absent."""
    if not target.exists():
        return None
    receipt = Receipt.beside(target)
    wanted = (sha256 or (receipt.sha256 if receipt else "")).lower()
    if not wanted:
        raise UsageProblem(
            f"{target} is here already, but nothing says what it should contain.",
            why="It may be half a download of another program.",
            cure="Move it out of the way, and run the same command again.",
        )
    found, size = sha256_of(target), target.stat().st_size
    if found != wanted or expected_bytes not in (None, size):
        raise DataGateError(
            f"{target} has the sha256 {found} ({size:,} bytes), but {wanted} is expected.",
            why="The file or the published release changed; labels and images may differ from what was trained on.",
            cure="Compare the two releases; to take the new one, move this file out of the way and fetch again.",
        )
    return Receipt(address=receipt.address if receipt else "", bytes=size, sha256=found)


def sha256_of(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def write_atomically(place: Path, text: str) -> None:
    """Write a small text file so that its name never stands for half of it."""
    part = place.with_name(place.name + ".part")
    with part.open("w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    os.replace(part, place)
