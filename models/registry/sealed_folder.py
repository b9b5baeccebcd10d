"""A folder that is complete or absent, with a manifest that makes every later change of its files visible."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from data_contracts.durability import sync
from data_contracts.errors import ModelGateError

MANIFEST = "manifest.json"


class FolderTakenError(Exception):
    """The folder already holds something; nothing was written."""


class ManifestEntry(BaseModel):
    """What one file must be: its sha256 (64 lower-case hex digits) and its size in bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0)]


_MANIFEST = TypeAdapter(dict[str, ManifestEntry])


def canonical_json(value: object) -> bytes:
    """JSON with sorted keys, two spaces and a final newline; the same value always gives the same bytes.

    Raises ValueError for nan and infinity, which JSON does not have.
    """
    text = json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()


def write_sealed(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write `files` and their manifest to a new folder that gets its name only when everything is on disk.

    Raises FolderTakenError where `folder` already holds something. An error leaves nothing half-written behind.
    """
    if folder.exists() and any(folder.iterdir()):
        raise FolderTakenError(folder)
    manifest = {name: {"sha256": _sha256(data), "size": len(data)} for name, data in files.items()}
    # A name of its own per writer: two processes writing the same folder never share a half-written one.
    part = folder.with_name(f"{folder.name}.part-{secrets.token_hex(4)}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    part.mkdir()
    try:
        for name, data in {**files, MANIFEST: canonical_json(manifest)}.items():
            (part / name).write_bytes(data)
        put_in_place(part, folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def put_in_place(part: Path, folder: Path) -> None:
    """Give a written folder of files its name, once all of it is on disk; a crash leaves it whole or without a name.

    Raises FolderTakenError where `folder` already holds something: another process was faster.
    """
    for path in (*part.iterdir(), part):
        sync(path)
    try:
        part.replace(folder)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise FolderTakenError(folder) from error
        raise
    sync(folder.parent)


@dataclass(frozen=True, slots=True)
class SealedFolder:
    """A folder whose list of files has been checked; each file is checked when it is read or verified.

    entries: file name -> what the manifest says of it. content_hash: sha256 of the manifest.
    """

    folder: Path
    entries: Mapping[str, ManifestEntry]
    content_hash: str

    @classmethod
    def open(cls, folder: Path, names: Sequence[str]) -> Self:
        """Check that `folder` holds exactly the regular files `names` and a manifest of them.

        Raises ModelGateError for anything missing, unexpected or linked from elsewhere, and for a manifest
        that is not one.
        """
        _require_exactly(folder, [*names, MANIFEST])
        manifest = (folder / MANIFEST).read_bytes()
        try:
            entries = _MANIFEST.validate_json(manifest)
        except ValidationError as error:
            raise ModelGateError(
                f"{folder / MANIFEST} is not a manifest: {error.errors()[0]['msg']}.",
                why="Without it nobody can tell whether the files are the ones that were written.",
                cure=_TAKE_AGAIN,
            ) from error
        if sorted(entries) != sorted(names):
            raise ModelGateError(
                f"{folder / MANIFEST} speaks of {sorted(entries)}; a bundle consists of {sorted(names)}.",
                why="A file outside the manifest could be changed without anyone noticing.",
                cure=_TAKE_AGAIN,
            )
        return cls(folder, entries, _sha256(manifest))

    def found_sha256(self, name: str) -> str:
        """The sha256 of the file as it is now."""
        with (self.folder / name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def verify(self, name: str) -> None:
        """Raise ModelGateError unless the file is the one the manifest describes."""
        self._compare(name, self.found_sha256(name), (self.folder / name).stat().st_size)

    def read(self, name: str) -> bytes:
        """The bytes of the file. The very bytes that are returned were compared with the manifest."""
        data = (self.folder / name).read_bytes()
        self._compare(name, _sha256(data), len(data))
        return data

    def _compare(self, name: str, sha256: str, size: int) -> None:
        expected = self.entries[name]
        if (sha256, size) != (expected.sha256, expected.size):
            raise ModelGateError(
                f"{self.folder / name} was changed: expected sha256 {expected.sha256} "
                f"({expected.size} bytes), found {sha256} ({size} bytes).",
                why="A changed bundle is not the model that was trained, evaluated and approved.",
                cure=_TAKE_AGAIN,
            )


_TAKE_AGAIN = "Take the bundle again from the registry, or train it again; do not repair it by hand."


def _require_exactly(folder: Path, names: Sequence[str]) -> None:
    if not folder.is_dir():
        raise ModelGateError(
            f"There is no model bundle at {folder}.",
            why="Nothing can be loaded or verified.",
            cure="Check the path, or take the bundle from the registry.",
        )
    found = {entry.name: entry.stat(follow_symlinks=False).st_mode for entry in os.scandir(folder)}
    problems = [f"{name} is missing" for name in names if name not in found]
    problems += [f"{name!r} does not belong there" for name in sorted(found) if name not in names]
    problems += [
        f"{name} is a link or another special file"
        for name in names
        if name in found and not stat.S_ISREG(found[name])
    ]
    if problems:
        raise ModelGateError(
            f"The model bundle at {folder} is not as it was written: {'; '.join(problems)}.",
            why="A bundle is trusted as a whole: exactly its files, each of them in the folder itself.",
            cure=_TAKE_AGAIN,
        )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
