"""What every request passes first and last: who may ask, from where, and how it is counted."""

from __future__ import annotations

import asyncio
import hmac
import time
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deploy.serving.metrics import Metrics
from deploy.serving.refusals import Refused
from deploy.serving.settings import ServeSettings, is_loopback

PROBES = ("/health", "/ready")  # asked by an orchestrator, which has no token
_PATHS = (*PROBES, "/predict", "/metrics", "/docs", "/openapi.json")
# The rest of a refused body is taken and thrown away before the refusal is sent: a caller who is still sending when
# the connection closes would see a broken pipe instead of the reason.
_LINGER_SECONDS, _LINGER_BYTES = 5.0, 256 << 20


class Gate:
    """An ASGI application around another."""

    def __init__(self, app: ASGIApp, settings: ServeSettings, metrics: Metrics) -> None:
        self._app = app
        self._settings = settings
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        exchange = _Exchange(receive, send)
        try:
            await self._answer(scope, exchange)
        finally:
            path = scope["path"] if scope["path"] in _PATHS else "other"
            self._metrics.requests.labels(path, exchange.status).inc()
            self._metrics.seconds.labels(path).observe(time.perf_counter() - began)

    async def _answer(self, scope: Scope, exchange: _Exchange) -> None:
        try:
            self._require_allowed(scope["path"], Headers(scope=scope))
        except Refused as refused:
            await refusal_response(refused, self._metrics)(scope, exchange.receive, exchange.send)
        else:
            await self._app(scope, exchange.receive, exchange.send)

    def _require_allowed(self, path: str, headers: Headers) -> None:
        if self._settings.on_loopback:
            _require_local(headers)
        if self._settings.token and path not in PROBES:
            _require_token(headers.get("authorization", ""), self._settings.token)


def refusal_response(refused: Refused, metrics: Metrics) -> JSONResponse:
    """The answer to a refused request, counted."""
    metrics.refused_requests.labels(refused.label).inc()
    return JSONResponse(refused.body(), refused.status, refused.headers)


class _Exchange:
    """One request and its answer. status: of the answer, "none" where none was given."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._all_received = False
        self.status = "none"

    async def receive(self) -> Message:
        message = await self._receive()
        self._all_received |= message["type"] == "http.disconnect" or not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = str(message["status"])
            if message["status"] >= 400:
                await self._take_the_rest()
        await self._send(message)

    async def _take_the_rest(self) -> None:
        taken = 0
        try:
            async with asyncio.timeout(_LINGER_SECONDS):
                while not self._all_received and taken < _LINGER_BYTES:
                    taken += len((await self.receive()).get("body", b""))
        except TimeoutError:
            pass  # a slow sender gets the answer all the same, if it looks


def _require_token(authorization: str, token: str) -> None:
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode()):
        return
    raise Refused(
        401,
        "no_token" if not authorization else "wrong_token",
        "The request has no valid token.",
        why="Only those who were given the token may have pictures scored.",
        cure="Send the header `Authorization: Bearer <token>`.",
    )


def _require_local(headers: Headers) -> None:
    """Pages of other sites, open in a browser on this machine, must not reach a service meant for this machine."""
    origin = headers.get("origin")
    hosts = [f"//{headers.get('host', 'localhost')}", *([origin] if origin else [])]
    if not all(is_loopback(_host(address)) for address in hosts):
        raise Refused(
            403,
            "foreign_host",
            "The request was not addressed to this machine, or comes from another site's page.",
            why="The service listens on loopback only; through a browser others could reach it in somebody's name.",
            cure="Ask http://127.0.0.1, or bind the service to the address it has for others (--host, --token-file).",
        )


def _host(address: str) -> str:
    """The host of an address, "" where it has none."""
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""
