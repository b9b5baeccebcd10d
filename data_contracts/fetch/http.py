"""Downloads one file: resumed where it broke off, verified, and under its final name only when it is right."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import requests

from data_contracts.disk import is_full, no_room, require_room
from data_contracts.errors import ExternalServiceError
from data_contracts.fetch.answers import (
    Origin,
    ask,
    content_length,
    content_range,
    is_chunked,
    judge_status,
    looks_like_html,
    next_bytes,
    rest,
    without_query,
)
from data_contracts.fetch.partial import Partial, Receipt, Version, rejected_place, sha256_of, verified
from data_contracts.fetch.retry import PassingFault, RetryBudget, persist
from data_contracts.locks import only_one

Progress = Callable[[int, int, str], None]  # bytes done, bytes in all, a remark
_PAGE_KEPT = 1 << 20  # so much of an unwanted web page is kept for a person to look at


def quiet(done: int, total: int, note: str) -> None:
    """A Progress that says nothing."""


def download(
    url: str,
    target: Path,
    *,
    origin: Origin,
    sha256: str | None = None,
    expected_bytes: int | None = None,
    budget: RetryBudget | None = None,
    headers: Mapping[str, str] | None = None,
    progress: Progress = quiet,
) -> Receipt:
    """Fetch `url` into `target` and return its receipt; a target that is verified already is not fetched again.

    sha256, expected_bytes: what the publisher states, where it does. Two processes may ask for the same target: the
    second waits for the first and reuses its file. Raises ExternalServiceError (refused, gone, wrong bytes, budget
    spent), EnvironmentProblem (no room) and DataGateError (the file already here is not what is asked for).
    """
    budget = budget or RetryBudget()
    target.parent.mkdir(parents=True, exist_ok=True)
    with only_one(target, lambda note: progress(0, expected_bytes or 0, note), f"fetching {target.name}"):
        present = verified(target, sha256, expected_bytes)
        if present is not None:
            progress(
                present.bytes, present.bytes, f"{target.name} is here already, verified; nothing was asked for"
            )
            return present
        transfer = _Transfer(
            url, Partial(target), origin, sha256, expected_bytes, budget, dict(headers or {}), progress
        )
        persist(transfer.attempt, budget, subject=target.name, say=transfer.remark)
        return transfer.finish()


def read_json(
    url: str, *, origin: Origin, budget: RetryBudget, headers: Mapping[str, str], progress: Progress
) -> object:
    """A small JSON document. Raises ExternalServiceError where the answer is not JSON."""

    def attempt() -> object:
        with ask(url, dict(headers), budget) as answer:
            judge_status(answer, url, origin)
            try:
                return answer.json()
            except requests.exceptions.JSONDecodeError as error:
                kind = answer.headers.get("Content-Type", "unknown")
                raise ExternalServiceError(
                    f"{without_query(url)} answered with {kind} instead of JSON.",
                    why="The list of the dataset's files could not be read.",
                    cure=f"Look at {origin.page}; if the address changed, correct it in {origin.address_kept_in}.",
                ) from error

    return persist(attempt, budget, subject=without_query(url), say=lambda note: progress(0, 0, note))


class _Transfer:
    """One file on its way. Each attempt goes on where the last one stopped, as far as the server allows."""

    def __init__(
        self,
        url: str,
        partial: Partial,
        origin: Origin,
        sha256: str | None,
        expected_bytes: int | None,
        budget: RetryBudget,
        headers: dict[str, str],
        progress: Progress,
    ) -> None:
        self.url, self.partial, self.origin = url, partial, origin
        self.sha256, self.expected_bytes = sha256, expected_bytes
        self.budget, self.headers, self.progress = budget, headers, progress
        self.address = without_query(url)
        self.done = 0
        self.total = expected_bytes or 0

    def remark(self, note: str) -> None:
        self.progress(self.done, self.total, note)

    def attempt(self) -> None:
        offset, version = self.partial.resume_from(self.address, self.sha256)
        if version is not None and offset and offset == version.size:
            return  # a process was killed between the last byte and the verification
        headers = {"Accept-Encoding": "identity", **self.headers}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if version is not None and version.validator:
                headers["If-Range"] = version.validator
        with ask(self.url, headers, self.budget) as answer:
            judge_status(answer, self.url, self.origin)
            start, now = self._where(answer, offset, version)
            first = next_bytes(answer)
            self._refuse_web_page(answer, first, start)
            self._check_size(answer, now)
            if now.size is not None:
                require_room(self.partial.target.parent, now.size - start, f"Fetching {self.partial.target.name}")
            if not start:
                self.partial.start_anew(now)
            self._write(answer, first, start, now)

    def finish(self) -> Receipt:
        """Verify the whole file, and only then give it its name."""
        part, target = self.partial.file, self.partial.target
        size, found = part.stat().st_size, sha256_of(part)
        if self.expected_bytes not in (None, size):
            raise self._wrong(f"has {size:,} bytes instead of {self.expected_bytes:,}")
        if self.sha256 is not None and found != self.sha256.lower():
            raise self._wrong(f"has the sha256 {found}, but {self.sha256.lower()} is expected")
        receipt = Receipt(address=self.address, bytes=size, sha256=found)
        self.partial.publish(receipt)
        self.progress(size, size, f"{target.name} verified")
        return receipt

    def _where(self, answer: requests.Response, offset: int, version: Version | None) -> tuple[int, Version]:
        """The byte the answer's body begins with, and the version of the file it belongs to."""
        if answer.status_code == 206:
            start, total = content_range(answer)
            now = self._version(answer, total)
            if start == offset and version is not None and version.agrees(now):
                return offset, now
        elif answer.status_code != 416:
            return 0, self._version(answer, content_length(answer))
        self.partial.discard()
        raise PassingFault(
            "the file changed on the server, or the server cannot go on from the middle; starting anew"
        )

    def _version(self, answer: requests.Response, size: int | None) -> Version:
        return Version(
            address=self.address,
            size=size,
            etag=answer.headers.get("ETag", ""),
            last_modified=answer.headers.get("Last-Modified", ""),
        )

    def _refuse_web_page(self, answer: requests.Response, first: bytes, start: int) -> None:
        kind = answer.headers.get("Content-Type", "unknown")
        if not kind.lower().startswith("text/html") and (start or not looks_like_html(first)):
            return
        rejected = rejected_place(self.partial.target)
        rejected.write_bytes((first + rest(answer, _PAGE_KEPT))[:_PAGE_KEPT])
        beginning = first[:40].decode("ascii", "replace").strip()
        raise ExternalServiceError(
            f"{self.address} sent a web page instead of the file: the content type is {kind!r}, "
            f"the body begins {beginning!r}. It is kept as {rejected.name}.",
            why=f"Most often it is a sign-in or error page. Credentials: {self.origin.credentials}.",
            cure=f"Open {self.origin.page}, check access and credentials, and run the same command again.",
        )

    def _check_size(self, answer: requests.Response, now: Version) -> None:
        if now.size is None and self.sha256 is None and self.expected_bytes is None and not is_chunked(answer):
            raise ExternalServiceError(
                f"{self.address} says neither how long the file is nor is its hash known.",
                why="A transfer that broke off could not be told from a complete one.",
                cure=f"Download the file by hand from {self.origin.page}.",
            )
        if now.size is not None and self.expected_bytes not in (None, now.size):
            raise ExternalServiceError(
                f"{self.address} announces {now.size:,} bytes; {self.expected_bytes:,} are expected.",
                why="It is not the release this project knows.",
                cure=f"Compare with {self.origin.page}; if the release changed on purpose, update the expectation.",
            )

    def _write(self, answer: requests.Response, first: bytes, start: int, now: Version) -> None:
        self.done, self.total = start, now.size or self.expected_bytes or 0
        most = now.size if now.size is not None else self.expected_bytes
        speed = _Speed(self.budget)
        try:
            with self.partial.file.open("ab", buffering=0) as out:
                chunk = first
                while chunk:
                    out.write(chunk)
                    self.done += len(chunk)
                    if most is not None and self.done > most:
                        raise self._wrong(f"is longer than the {most:,} bytes it should have")
                    self.progress(self.done, self.total, "")
                    speed.count(len(chunk))
                    chunk = next_bytes(answer)
        except OSError as error:
            if not is_full(error):
                raise
            self.partial.discard()
            needed = (now.size or self.done) - start
            raise no_room(self.partial.target.parent, needed, f"Fetching {self.partial.target.name}") from error
        if now.size is not None and self.done < now.size:
            raise PassingFault(f"the connection ended after {self.done:,} of {now.size:,} bytes")

    def _wrong(self, finding: str) -> ExternalServiceError:
        rejected = self.partial.reject()
        return ExternalServiceError(
            f"What {self.address} sent as {self.partial.target.name} {finding}. It is kept as {rejected.name}.",
            why="The file was damaged on the way, or replaced by another release whose labels may differ.",
            cure=f"Run the same command again; if it stays so, compare with {self.origin.page} before trusting it.",
        )


class _Speed:
    """Notices a body that never stalls long enough to time out, yet never arrives."""

    def __init__(self, budget: RetryBudget) -> None:
        self._budget = budget
        self._since = time.monotonic()
        self._bytes = 0

    def count(self, received: int) -> None:
        """Raises PassingFault where a whole read timeout brought less than the least speed."""
        self._bytes += received
        elapsed = time.monotonic() - self._since
        if elapsed < self._budget.read_seconds:
            return
        if self._bytes < elapsed * self._budget.least_bytes_per_second:
            raise PassingFault(f"only {self._bytes:,} bytes came in {elapsed:.0f} s")
        self._since, self._bytes = time.monotonic(), 0
