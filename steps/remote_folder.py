"""Files to and from a remote artifact store: streamed, tried again after passing faults, refusals put into words."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from zenml.artifact_stores import BaseArtifactStore

from data_contracts.disk import is_full
from data_contracts.errors import ExternalServiceError, LunglineError
from data_contracts.fetch.retry import PassingFault, RetryBudget, persist
from steps.progress import say

Result = TypeVar("Result")

BUDGET = RetryBudget(attempts=4, waiting_seconds=60.0, longest_wait_seconds=15.0)
# Parts of an upload: 65 MiB in memory at most. S3 takes 10,000 of them, so those of huge files are larger.
_PART_BYTES, _PARTS_AT_ONCE, _MOST_PARTS = 8 << 20, 4, 5000
# How s3fs spells 500, 503 and what has no spelling of its own.
_PASSING = (errno.EREMOTEIO, errno.EBUSY, errno.EIO)


@dataclass(frozen=True, slots=True)
class RemoteFolder:
    """The files below an address of a ZenML artifact store that speaks fsspec, as those of S3, GCS and Azure do.

    Methods raise ExternalServiceError: at once where the store refuses, after some tries where it fails.
    """

    store: BaseArtifactStore
    uri: str

    def sizes(self) -> dict[str, int]:
        """Name below the address -> bytes; empty where there is nothing."""

        def listed() -> dict[str, int]:
            self._files.invalidate_cache(self.uri)
            found = self._files.find(self.uri, detail=True)
            below = self._files._strip_protocol(self.uri).rstrip("/") + "/"
            return {name.removeprefix(below): facts["size"] for name, facts in found.items() if name != below}

        return self._tried(listed, f"listing {self.uri}")

    def get(self, name: str, to: Path) -> None:
        """Stream a file to the disk: one connection, which goes on where it was cut, and no part held in memory."""
        options = {"max_concurrency": 1} if self._is_s3 else {}
        self._tried(lambda: self._files.get_file(f"{self.uri}/{name}", str(to), **options), f"fetching {name}")

    def put(self, file: Path, name: str) -> None:
        """Store a file. It appears only when all of it has arrived."""
        part = max(_PART_BYTES, file.stat().st_size // _MOST_PARTS + 1)
        options = {"chunksize": part, "max_concurrency": _PARTS_AT_ONCE} if self._is_s3 else {}
        self._tried(lambda: self._files.put_file(str(file), f"{self.uri}/{name}", **options), f"storing {name}")

    def remove(self, *names: str) -> None:
        """Remove files; those that are not there are no error."""
        paths = [f"{self.uri}/{name}" for name in names]
        if paths:
            self._tried(lambda: self._files.rm(paths), f"removing files from {self.uri}")

    @property
    def _files(self) -> Any:
        return self.store.filesystem  # type: ignore[attr-defined]

    @property
    def _is_s3(self) -> bool:
        return self.store.flavor == "s3"

    def _tried(self, action: Callable[[], Result], doing: str) -> Result:
        def attempt() -> Result:
            try:
                return action()
            except LunglineError:
                raise
            except Exception as error:
                if _is_passing(error, _transport_faults() if self._is_s3 else ()):
                    raise PassingFault(f"{type(error).__name__}: {error}") from error
                if isinstance(error, OSError) and is_full(error):
                    raise
                raise _refused(self.uri, doing, error) from error

        return persist(attempt, BUDGET, subject=f"{doing} ({self.store.path})", say=say)


def _is_passing(error: Exception, transport: tuple[type[Exception], ...]) -> bool:
    if isinstance(error, PermissionError | FileNotFoundError):
        return False
    passing_number = isinstance(error, OSError) and error.errno in _PASSING
    return passing_number or isinstance(error, (TimeoutError, ConnectionError, *transport))


def _transport_faults() -> tuple[type[Exception], ...]:
    """What s3fs lets through of the libraries below it; missing and wrong credentials are other types."""
    from aiohttp import ClientError
    from botocore.exceptions import ConnectionError as Unconnected
    from botocore.exceptions import HTTPClientError
    from s3fs.core import S3_RETRYABLE_ERRORS

    return ClientError, Unconnected, HTTPClientError, *S3_RETRYABLE_ERRORS


def _refused(uri: str, doing: str, error: Exception) -> ExternalServiceError:
    if isinstance(error, FileNotFoundError):
        cure = "Check that the bucket exists and that nobody removed the artefact; then run the command again."
    else:
        cure = (
            "Check the credentials of the stack's artifact store, and that they may list, read and write there; "
            "`lungline stack apply` renews the secret."
        )
    return ExternalServiceError(
        f"The artifact store refused {doing} at {uri}: {type(error).__name__}: {error}",
        why="Steps hand their results over through this store.",
        cure=cure,
    )
