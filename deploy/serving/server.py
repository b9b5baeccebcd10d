"""Runs the service until it is told to stop, and then lets what it began come to an end."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import socket
import time
from dataclasses import replace
from types import FrameType

import uvicorn

from data_contracts.errors import EnvironmentProblem
from data_contracts.workspace import Workspace
from deploy.serving.app import create_app
from deploy.serving.protocol import HEADER_BYTES, protocol_for
from deploy.serving.service import Service
from deploy.serving.settings import ServeSettings

_THREADS = 4  # of PyTorch for one picture; more gain nothing
_END_SECONDS = 2.0  # of the grace: closing connections, writing the log
_BACKLOG = 1024  # connections the system holds until they are accepted
_OTHER_FILES = 128  # open besides connections: libraries, the registry, the log

_log = logging.getLogger("lungline.serving")


class Server(uvicorn.Server):
    """Uvicorn, except that SIGTERM drains first.

    From the signal on /ready says no and new predictions are refused, while those that were asked for are answered.
    The process ends when they are, or when the grace is over; what is not answered then gets 503.
    """

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._end_by = float("inf")

    @property
    def unfinished(self) -> int:
        """How many pieces of work still run although nobody waits for them."""
        return self._service.workers.pending

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._service.draining and sig == signal.SIGINT:
            self.force_exit = self.should_exit = True
        self.drain()

    def drain(self) -> None:
        """Begin to stop."""
        if not self._service.draining:
            self._service.draining = True
            grace = self._service.settings.grace
            self._end_by = time.monotonic() + max(grace - _END_SECONDS, grace / 2)
            _log.warning("stopping; %d predictions are still to be answered", self._service.in_flight)

    async def on_tick(self, counter: int) -> bool:
        if self._service.draining:
            if time.monotonic() >= self._end_by:
                self._service.cut_off(asyncio.get_running_loop().time())
                await asyncio.sleep(0)
                self.should_exit = True
            elif not self._service.in_flight:
                self.should_exit = True
        return await super().on_tick(counter)


def make_server(workspace: Workspace, settings: ServeSettings) -> Server:
    """A server that has not begun."""
    service = Service(workspace, settings)
    config = uvicorn.Config(
        create_app(service),
        loop="asyncio",
        http=protocol_for(settings),
        ws="none",
        h11_max_incomplete_event_size=HEADER_BYTES,
        timeout_graceful_shutdown=1,  # what is open then was answered, and only has to be taken
        log_config=None,
        access_log=False,  # addresses of requests may hold what a caller should not have put there
        server_header=False,
        proxy_headers=False,
    )
    return Server(config, service)


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises EnvironmentProblem where it cannot."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise EnvironmentProblem(
            f"{host} port {port} cannot be listened at: {error.strerror or error}.",
            why="Nobody could reach the service.",
            cure="Choose another --port or --host, or stop what listens there.",
        ) from error


def serve(workspace: Workspace, settings: ServeSettings) -> None:
    """Serve until SIGTERM or Ctrl-C. Raises EnvironmentProblem where the address cannot be listened at."""
    import torch

    _log_to_stderr()
    torch.set_num_threads(min(torch.get_num_threads(), _THREADS))
    with listening(settings.host, settings.port) as place:
        host, port = place.getsockname()[:2]
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        print(f"Serving the champion of {settings.model} at {address}, described at {address}/docs", flush=True)
        most = _affordable_connections(settings.max_connections)
        server = make_server(workspace, replace(settings, port=port, max_connections=most))
        server.run(sockets=[place])
    if server.unfinished:
        # A thread that still scores, for nobody, would keep the process beyond its grace.
        logging.shutdown()
        os._exit(0)


def _log_to_stderr() -> None:
    handler = logging.StreamHandler()
    formatter = logging.Formatter("%(asctime)sZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=logging.WARNING)


def _affordable_connections(wanted: int) -> int:
    """As many connections as wanted, or as this process may have files open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard > soft:
        needed = max(soft, wanted + _OTHER_FILES)
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, min(wanted, soft - _OTHER_FILES))
