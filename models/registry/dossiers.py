"""Promotion dossiers on disk: sealed folders below LUNGLINE_HOME/reviews, found by version and verified when read.

A dossier's folder is named by the first 16 digits of its hash, the SHA-256 of its manifest.json. The manifest holds
SHA-256 and size of every other file; for verdict.json, of its canonical JSON without `dossier_hash`, which cannot be
known before, and `created_by_run`, so that the same review gives the same dossier. Nobody changes a verdict without
changing the hash.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints, TypeAdapter, ValidationError

from data_contracts.errors import EnvironmentProblem, ModelGateError
from data_contracts.workspace import Workspace
from models.registry.decisions.entries import Sha256, VerdictName, Version
from models.registry.sealed_folder import (
    MANIFEST,
    FolderTakenError,
    ManifestEntry,
    canonical_json,
    put_in_place,
    write_sealed,
)

VERDICT = "verdict.json"
HASH_DIGITS_IN_NAME = 16

_MANIFEST = TypeAdapter(dict[str, ManifestEntry])
_UNSEALED = {"dossier_hash", "created_by_run"}


class DossierVerdict(BaseModel):
    """What a review concluded. champion: the version it compared with, None where there was none.

    test_set_hash: of the test images both were compared on. reasons: in words, for people. created_by_run: the
    pipeline run that wrote it first. challenger_bundle: content hash of the bundle that was reviewed; None leaves
    unchecked whether the approved bundle is that one.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    model_name: Annotated[str, StringConstraints(min_length=1)]
    challenger: Version
    champion: Version | None
    test_set_hash: str
    verdict: VerdictName
    reasons: list[str]
    created_by_run: str
    challenger_bundle: Sha256 | None = None


class _SealedVerdict(DossierVerdict):
    dossier_hash: Sha256


@dataclass(frozen=True, slots=True)
class DossierReference:
    """A dossier whose every file was compared with its manifest. hash: of the manifest."""

    folder: Path
    hash: str
    verdict: DossierVerdict


def reviews_folder(workspace: Workspace) -> Path:
    """Where the dossiers lie."""
    return workspace.home / "reviews"


def write_dossier(workspace: Workspace, verdict: DossierVerdict, files: Mapping[str, bytes]) -> DossierReference:
    """Seal the files (names without folders) and the verdict; the folder appears only when it is complete.

    The same content gives the same folder, which counts as written again now. Raises EnvironmentProblem where the
    disk refuses.
    """
    content = verdict.model_dump(mode="json")
    part = reviews_folder(workspace) / f".part-{secrets.token_hex(4)}"
    try:
        write_sealed(part, {**files, VERDICT: _sealed_form(verdict)})
        dossier_hash = hashlib.sha256((part / MANIFEST).read_bytes()).hexdigest()
        (part / VERDICT).write_bytes(canonical_json({**content, "dossier_hash": dossier_hash}))
        folder = reviews_folder(workspace) / dossier_hash[:HASH_DIGITS_IN_NAME]
        try:
            put_in_place(part, folder)
        except FolderTakenError:  # by an earlier review, or by one that ran at the same time
            os.utime(folder / VERDICT)
    except OSError as error:
        raise EnvironmentProblem(
            f"The dossier cannot be written below {reviews_folder(workspace)}: {error.strerror or error}.",
            why="Without its dossier a version cannot be approved.",
            cure="Make room or give the folder the right permissions, then run the command again.",
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return open_dossier(folder)


def find_dossier(workspace: Workspace, model_name: str, version: str) -> DossierReference | None:
    """The latest dossier of a version, verified; None where it was never reviewed.

    Raises ModelGateError where that dossier was changed, or where a folder no longer says whose dossier it is.
    """
    root = reviews_folder(workspace)
    folders = [path for path in root.iterdir() if not path.name.startswith(".")] if root.is_dir() else []
    about = [folder for folder in folders if _is_about(folder, model_name, version)]
    # Folders named by content have no order of their own; the one written last is the latest review.
    latest = max(about, key=lambda folder: (folder / VERDICT).stat().st_mtime_ns, default=None)
    return open_dossier(latest) if latest else None


def open_dossier(folder: Path) -> DossierReference:
    """Compare every file of a dossier with its manifest. Raises ModelGateError for any difference."""
    try:
        manifest = (folder / MANIFEST).read_bytes()
        entries = _MANIFEST.validate_json(manifest)
        verdict = _SealedVerdict.model_validate_json((folder / VERDICT).read_bytes())
        found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if not path.is_dir()}
        content = {name: path.read_bytes() for name, path in found.items() if not path.is_symlink()}
    except (OSError, ValidationError) as error:
        raise _changed(folder, "its manifest or its verdict cannot be read") from error
    dossier_hash = hashlib.sha256(manifest).hexdigest()
    if (verdict.dossier_hash, folder.name) != (dossier_hash, dossier_hash[:HASH_DIGITS_IN_NAME]):
        raise _changed(folder, "its hash is not the one it is named by")
    content[VERDICT] = _sealed_form(verdict)
    names = {*entries, MANIFEST}
    wrong = sorted((found.keys() ^ names) | (content.keys() ^ names))
    wrong += [name for name, data in content.items() if name in entries and not _is(data, entries[name])]
    if wrong:
        raise _changed(folder, f"{', '.join(wrong)} is missing, added or changed")
    return DossierReference(folder, dossier_hash, verdict)


def _sealed_form(verdict: DossierVerdict) -> bytes:
    return canonical_json(verdict.model_dump(mode="json", exclude=_UNSEALED))


def _is_about(folder: Path, model_name: str, version: str) -> bool:
    try:
        content = json.loads((folder / VERDICT).read_bytes())
        return (content["model_name"], content["challenger"]) == (model_name, version)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _changed(folder, "it no longer says which version it is about") from error


def _is(data: bytes, entry: ManifestEntry) -> bool:
    return (hashlib.sha256(data).hexdigest(), len(data)) == (entry.sha256, entry.size)


def _changed(folder: Path, how: str) -> ModelGateError:
    return ModelGateError(
        f"The dossier {folder} is not as it was written: {how}.",
        why="A decision would rest on evidence that is not what the review found.",
        cure="Find out who changed it, move it out of the folder, and run `lungline review` again.",
    )
