"""A real S3 server for tests (moto), and a door before it that counts requests and can fail them."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

BUCKET = "lungline"
_BEHIND = {"transfer-encoding", "connection", "content-length", "date", "server"}


class ObjectStore:
    """moto_server in a process of its own, with an empty bucket. Use as a context manager."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.address = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        arguments = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        quiet = subprocess.DEVNULL
        self._server = subprocess.Popen(arguments, stdout=quiet, stderr=quiet)
        deadline = time.monotonic() + 120
        while True:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
                connection.request("PUT", f"/{BUCKET}")
                assert connection.getresponse().status == 200
                connection.close()
            except OSError:
                assert self._server.poll() is None, "moto_server did not start"
                assert time.monotonic() < deadline, "moto_server does not answer"
                time.sleep(0.1)
            else:
                return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.kill()
        self._server.wait()


@dataclass(frozen=True, slots=True)
class Request:
    """A request that came to the door."""

    method: str
    path: str


class Door:
    """Passes requests on to the store. fault: gives the status to answer a request with instead, 0 to pass it on.

    A status of -1 cuts the connection after half of the answer's body.
    """

    def __init__(self, store: ObjectStore) -> None:
        self.asked: list[Request] = []
        self.fault: Callable[[Request], int] = lambda request: 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self, store.port))
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


def artifact_store(address: str, path: str = f"s3://{BUCKET}") -> Any:
    """ZenML's S3 artifact store at that address, without a stack; botocore itself tries once."""
    from zenml.enums import StackComponentType
    from zenml.integrations.s3.artifact_stores import S3ArtifactStore
    from zenml.integrations.s3.flavors.s3_artifact_store_flavor import S3ArtifactStoreConfig

    now = datetime.now(UTC)
    return S3ArtifactStore(
        name="s3",
        id=uuid4(),
        config=S3ArtifactStoreConfig(**artifact_store_settings(address, path), key="id", secret="not-a-secret"),  # noqa: S106
        flavor="s3",
        type=StackComponentType.ARTIFACT_STORE,
        user=None,
        created=now,
        updated=now,
    )


def artifact_store_settings(address: str, path: str = f"s3://{BUCKET}") -> dict[str, Any]:
    """The configuration of an artifact store as stack files have it."""
    return {
        "path": path,
        "client_kwargs": {"endpoint_url": address, "region_name": "us-east-1"},
        "config_kwargs": {"retries": {"max_attempts": 0}},
    }


def _handler_of(door: Door, port: int) -> type[BaseHTTPRequestHandler]:
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
            store = http.client.HTTPConnection("127.0.0.1", port)
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
