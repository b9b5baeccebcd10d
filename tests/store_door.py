"""A door before an S3 server that counts requests and can fail them. A program too: it needs Python alone."""

from __future__ import annotations

import argparse
import http.client
import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

_BEHIND = {"transfer-encoding", "connection", "content-length", "date", "server"}


@dataclass(frozen=True, slots=True)
class Request:
    """A request that came to the door."""

    method: str
    path: str


class Door:
    """Passes requests on to the store. Use as a context manager.

    store: host:port, without TLS. fault: gives the status to answer a request with instead, 0 to pass it on; a status
    of -1 cuts the connection after half of the answer's body. listen: host and port, 0 for a free one.
    """

    def __init__(self, store: str, listen: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        self.asked: list[Request] = []
        self.fault: Callable[[Request], int] = lambda request: 0
        self._server = ThreadingHTTPServer(listen, _handler_of(self, store))
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def count(self, method: str, end: str) -> int:
        """Requests of that method whose path ends so."""
        return sum(one.method == method and one.path.endswith(end) for one in self.asked)


def failing(times: int, status: int, method: str, end: str) -> Callable[[Request], int]:
    """A fault for the first so many requests of that method whose path, without the query, ends so."""
    left = [status] * times
    lock = threading.Lock()

    def fault(request: Request) -> int:
        with lock:
            hit = left and request.method == method and request.path.partition("?")[0].endswith(end)
            return left.pop() if hit else 0

    return fault


def failing_every(count: int, statuses: tuple[int, ...] = (503, 500)) -> Callable[[Request], int]:
    """A fault for every so many-th request, whatever it asks for: the statuses in turn."""
    passed = itertools.count(1)
    turn = itertools.cycle(statuses)
    lock = threading.Lock()

    def fault(request: Request) -> int:
        with lock:
            return next(turn) if next(passed) % count == 0 else 0

    return fault


def _handler_of(door: Door, host: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            request = Request(self.command, self.path)
            door.asked.append(request)
            status = door.fault(request)
            if status > 0:
                self._answer(status, {"Content-Type": "application/xml"}, _refusal(status))
                return
            store = http.client.HTTPConnection(host)
            headers = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
            store.request(self.command, self.path, body, headers)
            answer = store.getresponse()
            content = answer.read()
            passed = {name: value for name, value in answer.getheaders() if name.lower() not in _BEHIND}
            length = answer.getheader("Content-Length") if self.command == "HEAD" else None
            self._answer(answer.status, passed, content, length=length, cut=status < 0)
            store.close()

        def _answer(
            self,
            status: int,
            headers: dict[str, str],
            body: bytes,
            *,
            length: str | None = None,
            cut: bool = False,
        ) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", length or str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body[: len(body) // 2] if cut else body)
            self.close_connection = self.close_connection or cut

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            """Tests read `asked`, not a log."""

    return Handler


def _refusal(status: int) -> bytes:
    code = {403: "AccessDenied", 500: "InternalError", 503: "ServiceUnavailable"}[status]
    return f"<Error><Code>{code}</Code><Message>as the test wants it</Message></Error>".encode()


def main() -> None:
    """Stand before a store until somebody ends this, and print a line for each request that is refused."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", help="host:port of the S3 server")
    parser.add_argument("port", type=int, help="where to listen")
    parser.add_argument("every", type=int, help="refuse every so many-th request")
    given = parser.parse_args()
    fault = failing_every(given.every)

    def told(request: Request) -> int:
        status = fault(request)
        if status:
            print(status, request.method, request.path, flush=True)
        return status

    door = Door(given.store, ("", given.port))
    door.fault = told
    with door:
        threading.Event().wait()


if __name__ == "__main__":
    main()
