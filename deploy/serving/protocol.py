"""HTTP connections that cannot be held open by sending slowly, by not reading, or by being many.

Uvicorn ends idle connections between requests; a header that arrives byte by byte, an answer nobody takes and the rest
of a refused body it waits for without end. Here a connection has so many seconds from its beginning, or from its last
answer, to its next whole header. Bodies have the limit of their request (see app).
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

from deploy.serving.settings import ServeSettings

HEADER_BYTES = 16 << 10


class BoundedProtocol(H11Protocol):
    """Settings are those of the class, because uvicorn makes the instances; see `protocol_for`."""

    seconds: float
    most: int
    _since: float = 0.0
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_header()
        if len(self.connections) > self.most:
            self._drop_longest_silent()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._answering and self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._answering:  # else the next request was in the buffer
            self._expect_header()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        super().connection_lost(exc)

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _expect_header(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._since = self.loop.time()
        self._deadline = self.loop.call_later(self.seconds, self.transport.abort)

    def _drop_longest_silent(self) -> None:
        """A crowd of silent connections must not keep out those that ask something."""
        silent = [one for one in self.connections if isinstance(one, BoundedProtocol) and not one._answering]
        longest = min(silent, key=lambda one: one._since)
        self.connections.discard(longest)  # its end is told later, and others may come before
        longest.transport.abort()


def protocol_for(settings: ServeSettings) -> type[BoundedProtocol]:
    """The protocol class of a service with these limits."""
    limits = {"seconds": settings.header_seconds, "most": settings.max_connections}
    return type("ServingProtocol", (BoundedProtocol,), limits)
