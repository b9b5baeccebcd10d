"""Fetches a Kaggle dataset through kagglehub, after looking whether there are any credentials at all."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from data_contracts.errors import EnvironmentProblem, ExternalServiceError
from data_contracts.fetch.disk import is_full, no_room, require_room
from data_contracts.fetch.http import Progress, quiet

_CACHE = "KAGGLEHUB_CACHE"


@dataclass(frozen=True, slots=True)
class CredentialSearch:
    """Where Kaggle credentials were looked for. found: the first place that has some, "" where none has.

    The texts name places and what is wrong there, never what is written there.
    """

    found: str
    looked_at: list[str]
    warnings: list[str]


def page(handle: str) -> str:
    return f"https://www.kaggle.com/datasets/{handle}"


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
    handle: str, staging: Path, content: Path, *, needed_bytes: int, progress: Progress = quiet
) -> list[str]:
    """Download and unpack `handle` into `content`; returns remarks, the version that was fetched among them.

    staging: a folder of this dataset's own, where kagglehub goes on after an interruption. needed_bytes: about the
    room that the dataset takes, packed and unpacked. Raises ExternalServiceError without credentials or when Kaggle
    refuses, EnvironmentProblem without kagglehub or without room.
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
    progress(0, 0, f"kagglehub fetches {handle}")
    try:
        # Standard output belongs to results; kagglehub would log there.
        with redirect_stdout(sys.stderr), _cache_in(staging / "kagglehub"):
            unpacked = Path(import_module("kagglehub").dataset_download(handle))
    except ImportError as error:
        raise EnvironmentProblem(
            "The package kagglehub, which fetches from Kaggle, is not installed.",
            why=f"{handle} is published on Kaggle.",
            cure=f"Install it (`uv pip install kagglehub`), or download {page(handle)} by hand and unpack it "
            "below the data folder.",
        ) from error
    except OSError as error:  # requests' errors are OSErrors too, and carry the server's answer
        if is_full(error):
            shutil.rmtree(staging / "kagglehub", ignore_errors=True)
            raise no_room(staging, needed_bytes, f"Fetching {handle}") from error
        raise _refused(handle, search, error) from error
    except Exception as error:  # kagglehub's own errors share no class
        raise _refused(handle, search, error) from error
    os.replace(unpacked, content)
    return [f"Kaggle version {unpacked.name} of {handle}", *search.warnings]


def _refused(handle: str, search: CredentialSearch, error: Exception) -> ExternalServiceError:
    answer = getattr(error, "response", None)
    status = getattr(answer, "status_code", None)
    return ExternalServiceError(
        f"Kaggle did not give {handle}: {type(error).__name__}{f', status {status}' if status else ''}.",
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


@contextmanager
def _cache_in(folder: Path) -> Iterator[None]:
    """Have kagglehub keep what it fetches on the disk of the data, not in the home folder, which may be small."""
    before = os.environ.get(_CACHE)
    os.environ[_CACHE] = str(folder)
    try:
        yield
    finally:
        del os.environ[_CACHE]
        if before is not None:
            os.environ[_CACHE] = before
