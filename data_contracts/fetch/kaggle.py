"""Fetches a Kaggle dataset: kagglehub signs in, after a look whether there are any credentials at all."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import requests

from data_contracts.disk import require_room
from data_contracts.errors import EnvironmentProblem, ExternalServiceError
from data_contracts.fetch.answers import BROKEN, Origin, ask, busy_fault, connection_fault
from data_contracts.fetch.archive import unpack_download
from data_contracts.fetch.http import Progress, download, quiet
from data_contracts.fetch.retry import RetryBudget, persist

SITE = "https://www.kaggle.com"


@dataclass(frozen=True, slots=True)
class CredentialSearch:
    """Where Kaggle credentials were looked for. found: the first place that has some, "" where none has.

    The texts name places and what is wrong there, never what is written there.
    """

    found: str
    looked_at: list[str]
    warnings: list[str]


def page(handle: str) -> str:
    return f"{SITE}/datasets/{handle}"


def find_credentials(environ: Mapping[str, str] | None = None, home: Path | None = None) -> CredentialSearch:
    """Look where kagglehub looks: variables of the environment, then the files in the Kaggle folder."""
    environ = os.environ if environ is None else environ
    home = home or Path.home()
    configured = environ.get("KAGGLE_CONFIG_DIR", "")
    folder = Path(configured) if configured else home / ".kaggle"
    token = home / ".kaggle" / "access_token"
    table = folder / "kaggle.json"
    problem = _problem_of(table)
    looked_at = [
        "KAGGLE_API_TOKEN",
        f"{token} (absent)" if not token.is_file() else f"{token}",
        "KAGGLE_USERNAME and KAGGLE_KEY",
        f"{table} ({problem})" if problem else f"{table}",
    ]
    present = (
        bool(environ.get("KAGGLE_API_TOKEN")),
        token.is_file() and token.stat().st_size > 0,
        bool(environ.get("KAGGLE_USERNAME") and environ.get("KAGGLE_KEY")),
        not problem,
    )
    found = next((place for place, there in zip(looked_at, present, strict=True) if there), "")
    warnings = [
        f"other accounts of this machine can read {file}; `chmod 600 {file}` closes it"
        for file in (token, table)
        if file.is_file() and file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    ]
    return CredentialSearch(found, looked_at, warnings)


def fetch(
    handle: str,
    staging: Path,
    content: Path,
    *,
    needed_bytes: int,
    base_url: str = SITE,
    budget: RetryBudget | None = None,
    progress: Progress = quiet,
) -> list[str]:
    """Download the archive of `handle` and unpack it into `content`; returns remarks, its version among them.

    kagglehub signs in and asks where the archive lies; it is transferred and unpacked here, resumed and under our
    rules. needed_bytes: about the room that the dataset takes, packed and unpacked. Raises ExternalServiceError
    without credentials or when Kaggle refuses, EnvironmentProblem without kagglehub or without room.
    """
    search = find_credentials()
    if not search.found:
        raise ExternalServiceError(
            f"No Kaggle credentials were found; {handle} was not fetched. Looked at: {'; '.join(search.looked_at)}.",
            why="Kaggle answers without them with a sign-in page in place of the data.",
            cure=f"Open {page(handle)}, sign in and accept the terms; make a token under Settings > API, and save it "
            "as ~/.kaggle/kaggle.json (mode 600) or set KAGGLE_USERNAME and KAGGLE_KEY.",
        )
    require_room(staging, needed_bytes, f"Fetching {handle}")
    budget = budget or RetryBudget()

    def attempt() -> tuple[str, int]:
        with ask(base_url, {}, budget):  # kagglehub would wait for a network without end
            return _archive(handle, search)

    address, version = persist(attempt, budget, subject=handle, say=lambda note: progress(0, 0, note))
    if base_url.startswith("https:") and not address.startswith("https:"):
        raise _refused(handle, search, "the archive's address is without encryption")
    target = staging / f"version-{version}.zip"
    origin = Origin(page(handle), f"from {search.found}")
    receipt = download(address, target, origin=origin, budget=budget, progress=progress)
    unpacked = unpack_download(target, content)
    return [
        f"Kaggle version {version} of {handle}",
        f"{target.name}: sha256 {receipt.sha256}",
        *unpacked.notes(),
        *search.warnings,
    ]


def _archive(handle: str, search: CredentialSearch) -> tuple[str, int]:
    """Address (signed, good for some days) and version of the newest archive of a dataset."""
    try:
        clients = import_module("kagglehub.clients")
        messages = import_module("kagglesdk.datasets.types.dataset_api_service")
    except ImportError as error:
        raise EnvironmentProblem(
            "The package kagglehub, which signs in to Kaggle, is not installed.",
            why=f"{handle} is published on Kaggle.",
            cure=f"Install it (`uv pip install kagglehub`), or download {page(handle)} by hand and unpack it "
            "below the data folder.",
        ) from error
    dataset, archive = messages.ApiGetDatasetRequest(), messages.ApiDownloadDatasetRequest()
    for message in (dataset, archive):
        message.owner_slug, message.dataset_slug = handle.split("/")
    try:
        # Standard output belongs to results; kagglehub would talk there.
        with redirect_stdout(sys.stderr), clients.build_kaggle_client() as client:
            service = client.datasets.dataset_api_client
            archive.dataset_version_number = service.get_dataset(dataset).current_version_number
            with service.download_dataset(archive) as answer:
                address = str(answer.url) if answer.history else ""
    except requests.HTTPError as error:
        fault = None if error.response is None else busy_fault(error.response)
        if fault is not None:
            raise fault from error
        status = "an answer without status" if error.response is None else f"status {error.response.status_code}"
        raise _refused(handle, search, status) from error
    except BROKEN as error:
        raise connection_fault(error) from error
    except Exception as error:  # kagglehub's own errors share no class
        raise _refused(handle, search, type(error).__name__) from error
    if not address:
        raise _refused(handle, search, "it named no address for the archive")
    return address, int(archive.dataset_version_number)


def _refused(handle: str, search: CredentialSearch, finding: str) -> ExternalServiceError:
    return ExternalServiceError(
        f"Kaggle did not give {handle}: {finding}.",
        why=f"Nothing was fetched. The credentials came from {search.found}.",
        cure=f"Open {page(handle)}, check that it still exists and that its terms are accepted with this account, "
        "and run the same command again.",
    )


def _problem_of(table: Path) -> str:
    """What keeps kaggle.json from being used, "" where nothing does. Its content is never repeated."""
    if not table.is_file():
        return "absent"
    try:
        content = json.loads(table.read_text(encoding="utf-8"))
    except OSError:
        return "cannot be read"
    except ValueError:
        return "is not JSON"
    if not isinstance(content, dict) or not (content.get("username") and content.get("key")):
        return "lacks username or key"
    return ""
