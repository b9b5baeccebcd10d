"""Asks a server, and says what its answer means here: go on, try again, or stop at once and why."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import requests
import urllib3.exceptions

from data_contracts.errors import EnvironmentProblem, ExternalServiceError
from data_contracts.fetch.retry import PassingFault, RetryBudget, Unreachable, retry_after_seconds

_CHUNK = 1 << 18
BROKEN = (requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError)

_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_HTML_STARTS = (b"<html", b"<!doctype html", b"<head", b"<body")


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose file it is, in words for error messages.

    page: the dataset's page for people. credentials: where credentials are looked for, or that none are needed.
    address_kept_in: the file of this project that names the address.
    """

    page: str
    credentials: str = "no credentials are sent for this source"
    address_kept_in: str = ""


def without_query(address: str) -> str:
    """An address fit to be shown: what follows the question mark may be a signature."""
    return address.split("?", 1)[0]


def looks_like_html(beginning: bytes) -> bool:
    """Whether bytes begin as a web page does."""
    return beginning.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_HTML_STARTS)


def connection_fault(error: Exception) -> PassingFault:
    """What a broken connection means for trying again; the server's name is all it repeats of the address."""
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    unreachable = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)
    if isinstance(reason, unreachable) or isinstance(error, requests.exceptions.ProxyError):
        return Unreachable(f"no connection could be made ({type(reason or error).__name__})")
    return PassingFault(f"the connection failed ({type(error).__name__})")


def busy_fault(answer: requests.Response) -> PassingFault | None:
    """What to do about a server that is busy or down for a while; None for any other answer."""
    if answer.status_code not in _TRY_AGAIN and answer.status_code < 500:
        return None
    wish = retry_after_seconds(answer.headers.get("Retry-After"))
    return PassingFault(f"the server answered {answer.status_code} {answer.reason}", wish)


def judge_status(answer: requests.Response, address: str, origin: Origin) -> None:
    """Return for a 2xx answer (and 416, which only the transfer understands).

    Raises PassingFault for what may pass, ExternalServiceError for what will not.
    """
    status = answer.status_code
    shown = without_query(address)
    if address.startswith("https:") and not answer.url.startswith("https:"):
        raise ExternalServiceError(
            f"{shown} leads to an address without encryption.",
            why="Anybody on the way could change the data.",
            cure=f"Look at {origin.page} for the present address.",
        )
    if 200 <= status < 300 or status == 416:
        return
    fault = busy_fault(answer)
    if fault is not None:
        raise fault
    if status in (401, 403):
        raise ExternalServiceError(
            f"{shown} refused access ({status}).",
            why=f"Nothing was fetched. Credentials: {origin.credentials}.",
            cure=f"Open {origin.page}, accept the terms of use there if it asks for it, check the credentials, "
            "and run the same command again.",
        )
    if status in (404, 410):
        kept = f" and correct it in {origin.address_kept_in}" if origin.address_kept_in else ""
        raise ExternalServiceError(
            f"{shown} does not exist any more ({status}).",
            why="The dataset was moved or withdrawn.",
            cure=f"Look for the new address at {origin.page}{kept}.",
        )
    raise ExternalServiceError(
        f"{shown} answered {status} {answer.reason}.",
        why="Nothing was fetched, and asking again would not change the answer.",
        cure=f"Look at {origin.page}; if the address changed, correct it.",
    )


@contextmanager
def ask(url: str, headers: dict[str, str], budget: RetryBudget) -> Iterator[requests.Response]:
    """The server's answer with its body still to be read; broken connections become PassingFault."""
    timeouts = (budget.connect_seconds, budget.read_seconds)
    try:
        with requests.get(url, headers=headers, stream=True, timeout=timeouts) as answer:
            yield answer
    except requests.exceptions.SSLError as error:
        raise EnvironmentProblem(
            f"The certificate of {without_query(url)} was not accepted.",
            why="Data from a server that cannot prove who it is cannot be trusted.",
            cure="Check this machine's clock and certificates (REQUESTS_CA_BUNDLE behind a company proxy).",
        ) from error
    except BROKEN as error:
        raise connection_fault(error) from error
    except requests.RequestException as error:
        raise ExternalServiceError(
            f"{without_query(url)} cannot be fetched: {type(error).__name__}.",
            why="The address or the way to it is not usable.",
            cure="Correct the address, or check the proxy settings of this machine.",
        ) from error


def next_bytes(answer: requests.Response) -> bytes:
    """The next bytes as they came over the wire, without waiting for a full chunk; b"" at the end."""
    received: bytes = answer.raw.read1(_CHUNK, decode_content=False)
    return received


def rest(answer: requests.Response, limit: int) -> bytes:
    received: bytes = answer.raw.read(limit, decode_content=False)
    return received


def is_chunked(answer: requests.Response) -> bool:
    return answer.headers.get("Transfer-Encoding", "").lower() == "chunked"


def content_length(answer: requests.Response) -> int | None:
    length = answer.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None


def content_range(answer: requests.Response) -> tuple[int | None, int | None]:
    """First byte and total size that a 206 answer names; None for what it does not."""
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", "").strip())
    if match is None:
        return None, None
    return int(match[1]), None if match[2] == "*" else int(match[2])
