"""Fetches a dataset from Mendeley Data: its list of files with hashes, then each file, verified and unpacked."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from data_contracts.errors import ExternalServiceError
from data_contracts.fetch.answers import Origin
from data_contracts.fetch.archive import is_archive, unpack_download
from data_contracts.fetch.http import Progress, download, quiet, read_json
from data_contracts.fetch.retry import RetryBudget

API = "https://data.mendeley.com/public-api"
DATASET = "9xkhgts2s6"
VERSION = 4
ACCEPT = "application/vnd.mendeley-public-dataset.1+json"


class _Content(BaseModel):
    sha256_hash: str = Field(pattern=r"^[0-9a-fA-F]{64}$")
    size: int = Field(ge=0)
    download_url: str = Field(pattern=r"^https?://")


class _File(BaseModel):
    """What is read of an entry of the file list; names come from outside and become paths, so they are restricted."""

    filename: str = Field(pattern=r"^[^/\\\x00-\x1f.][^/\\\x00-\x1f]*$", max_length=200)
    content_details: _Content


def page(dataset: str = DATASET, version: int = VERSION) -> str:
    return f"https://data.mendeley.com/datasets/{dataset}/{version}"


def fetch(
    staging: Path,
    content: Path,
    *,
    base_url: str = API,
    budget: RetryBudget | None = None,
    progress: Progress = quiet,
) -> list[str]:
    """Download every file of the dataset's root into `staging` and unpack it into `content`; returns remarks.

    An archive is unpacked, another file is taken as it is. The archive goes once its content is complete.
    """
    budget = budget or RetryBudget()
    origin = Origin(page(), "none are needed for Mendeley Data", "data_contracts/fetch/mendeley.py")
    address = f"{base_url}/datasets/{DATASET}/files?folder_id=root&version={VERSION}"
    listed = read_json(address, origin=origin, budget=budget, headers={"Accept": ACCEPT}, progress=progress)
    files = _files(listed, origin)
    notes = [f"Mendeley {DATASET} version {VERSION}"]
    half_done = content.with_name(content.name + ".collected")
    half_done.mkdir(parents=True, exist_ok=True)
    for file in files:
        details = file.content_details
        place = half_done / (Path(file.filename).stem if is_archive(file.filename) else file.filename)
        if place.exists():
            continue  # settled by an earlier run that was interrupted
        target = staging / file.filename
        receipt = download(
            details.download_url,
            target,
            origin=origin,
            sha256=details.sha256_hash,
            expected_bytes=details.size,
            budget=budget,
            progress=progress,
        )
        notes.append(f"{file.filename}: sha256 {receipt.sha256}")
        if is_archive(file.filename):
            notes += [f"{file.filename}: {note}" for note in unpack_download(target, place).notes()]
        else:
            os.replace(target, place)
    os.replace(half_done, content)
    return notes


def _files(listed: object, origin: Origin) -> list[_File]:
    entries = listed if isinstance(listed, list) else []
    try:
        files = [_File.model_validate(entry) for entry in entries]
    except ValidationError as error:
        raise _unexpected(f"an entry is not as expected ({error.errors()[0]['loc']})", origin) from error
    if len({Path(file.filename).stem.casefold() for file in files}) < len(files):
        raise _unexpected("two files have the same name", origin)
    if not files:
        raise _unexpected("it names no file", origin)
    return files


def _unexpected(finding: str, origin: Origin) -> ExternalServiceError:
    return ExternalServiceError(
        f"Mendeley's list of files cannot be used: {finding}.",
        why="Without names, sizes and hashes nothing could be verified.",
        cure=f"Download the dataset by hand from {origin.page} and unpack it below the data folder; "
        f"if the service changed, correct {origin.address_kept_in}.",
    )
