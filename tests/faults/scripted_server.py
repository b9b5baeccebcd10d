"""A web server on the loopback address that plays a script: for each path, one reply after another."""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. cut_at: close the connection after so many bytes. stall_at: fall silent there until the test ends.

    drip: send one byte at a time with this many seconds between. ranges: answer Range requests with 206, and honour
    If-Range. A Content-Length is sent unless `length` says False.
    """

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    ranges: bool = False
    cut_at: int | None = None
    stall_at: int | None = None
    drip: float = 0.0
    length: bool = True


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came in; header names in lower case."""

    path: str
    headers: dict[str, str]


class ScriptedServer:
    """Use as a context manager. The last reply of a path repeats; a path without a script is answered with 404."""

    def __init__(self) -> None:
        self._script: dict[str, list[Reply]] = defaultdict(list)
        self._turn: dict[str, int] = defaultdict(int)
        self._lock = threading.Lock()
        self.asked: list[Asked] = []
        self.ending = threading.Event()
        self.request_came = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ending.set()
        self.stop_listening()

    def stop_listening(self) -> None:
        """From now on connections are refused."""
        self._server.shutdown()
        self._server.server_close()

    def play(self, path: str, *replies: Reply) -> str:
        """Set the script of `path`, and give the address to ask for."""
        self._script[path] = list(replies)
        self._turn[path] = 0
        return self.address + path

    def next_reply(self, asked: Asked) -> Reply:
        with self._lock:
            self.asked.append(asked)
            self.request_came.set()
            replies = self._script.get(asked.path) or [Reply(status=404)]
            turn = self._turn[asked.path]
            self._turn[asked.path] += 1
            return replies[min(turn, len(replies) - 1)]


def _handler_of(script: ScriptedServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = script.next_reply(Asked(self.path, headers))
            status, start = reply.status, 0
            wanted = headers.get("range", "")
            validators = (reply.headers.get("ETag", ""), reply.headers.get("Last-Modified", ""))
            unchanged = "if-range" not in headers or headers["if-range"] in validators
            if reply.ranges and wanted and unchanged:
                status, start = 206, int(wanted.removeprefix("bytes=").removesuffix("-"))
            body = reply.body[start:]
            self.send_response(status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if status == 206:
                end = len(reply.body) - 1
                self.send_header("Content-Range", f"bytes {start}-{end}/{len(reply.body)}")
            if reply.length:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self._send(body, reply)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.do_GET()

        def _send(self, body: bytes, reply: Reply) -> None:
            stop = min(len(body), *(at for at in (reply.cut_at, reply.stall_at, len(body)) if at is not None))
            try:
                if reply.drip:
                    for position in range(stop):
                        self.wfile.write(body[position : position + 1])
                        if script.ending.wait(reply.drip):
                            return
                else:
                    self.wfile.write(body[:stop])
                if reply.stall_at is not None:
                    script.ending.wait(10)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # the client gave up, as some tests want

        def log_message(self, format: str, *args: object) -> None:
            """Tests read `asked`, not a log."""

    return Handler
