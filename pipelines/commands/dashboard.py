"""`lungline dashboard`: the pages of Evidently and MLflow (ZenML's where installed) on this machine, until stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from types import FrameType

import requests
from packaging.requirements import Requirement

from data_contracts.errors import EnvironmentProblem, UsageProblem
from data_contracts.telemetry import switch_off_telemetry
from data_contracts.workspace import Workspace
from pipelines.commands.output import console
from pipelines.environment import Environment, prepare_environment

LOOPBACK = "127.0.0.1"  # the pages have no login
# Evidently alone imports for half a minute on a busy machine.
START_SECONDS = 240.0
STOP_SECONDS = 10.0
_LOG_LINES = 15


@dataclass(frozen=True, slots=True)
class Page:
    """A server to start. ready: path that answers when it is up. folder: where it runs, and may leave files."""

    name: str
    command: tuple[str, ...]
    port: int
    ready: str
    folder: Path
    environment: dict[str, str]

    @property
    def address(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"


@dataclass(frozen=True, slots=True)
class Server:
    """A page that was started, and where it writes what it says."""

    page: Page
    process: subprocess.Popen[bytes]
    log: Path


def dashboard(port: int | None, mlflow_port: int | None, zenml_port: int | None, check: bool) -> int:
    """Start the pages, print their addresses when all answer, and stop them on Ctrl-C or SIGTERM.

    The workspace of Evidently is brought to what the verdicts say beforehand. Ports are free ones unless given. check:
    stop as soon as all have answered. Raises UsageProblem where a port is taken, EnvironmentProblem where a page does
    not come up or goes away.
    """
    environment = prepare_environment()
    switch_off_telemetry()
    console().print("Starting the dashboard; this takes up to a minute.")
    _bring_up_to_date(environment.workspace)
    pages = [_evidently(environment.workspace, port)]
    notes = []
    if environment.tracking_uri.startswith(("http://", "https://")):
        notes.append(f"MLflow     {environment.tracking_uri} (not started here)")
    else:
        pages.append(_mlflow(environment, mlflow_port))
    missing = missing_for_zenml()
    if not environment.zenml_origin.startswith("embedded"):
        notes.append(f"ZenML      not started here; it is configured by {environment.zenml_origin}")
    elif missing:
        notes.append(f"ZenML      not started: zenml[server] is not installed (missing: {', '.join(missing)})")
    else:
        pages.append(_zenml(environment.workspace, zenml_port))
    with _interruptible(), ExitStack() as running:
        try:
            servers = [running.enter_context(_started(page, environment.workspace)) for page in pages]
            for server in servers:
                _wait_until_ready(server)
            for page in pages:
                console().print(f"{page.name:<10} {page.address}", soft_wrap=True, markup=False)
            for note in notes:
                console().print(note, soft_wrap=True, markup=False)
            if not check:
                console().print("Stop with Ctrl-C.")
                _watch(servers)
        except KeyboardInterrupt:
            console().print("Stopping the dashboard.")
    return 0


def missing_for_zenml() -> list[str]:
    """Packages of ZenML's server extra that are not installed."""
    missing = []
    for line in requires("zenml") or []:
        needed = Requirement(line)
        if needed.marker is None or not needed.marker.evaluate({"extra": "server"}):
            continue
        if needed.marker.evaluate({"extra": ""}):  # needed without the extra as well
            continue
        try:
            version(needed.name)
        except PackageNotFoundError:
            missing.append(needed.name)
    return sorted(set(missing))


def _bring_up_to_date(workspace: Workspace) -> None:
    from data_contracts.drift.evidently_workspace import bring_up_to_date

    def say(line: str) -> None:
        console().print(line, soft_wrap=True, markup=False)

    _, published = bring_up_to_date(workspace.evidently, workspace.monitoring, say)
    if published.added:
        say(f"{published.added} snapshots were added to the drift dashboard.")
    for note in published.notes:
        say(f"Note: {note}.")


def _evidently(workspace: Workspace, port: int | None) -> Page:
    port = _port(port, "--port")
    command = ("-m", "evidently.cli", "ui", "--host", LOOPBACK, "--port", str(port), "--workspace", ".")
    return Page("Evidently", command, port, "/api/version", workspace.evidently, {})


def _mlflow(environment: Environment, port: int | None) -> Page:
    port = _port(port, "--mlflow-port")
    command = ("-m", "mlflow", "server", "--host", LOOPBACK, "--port", str(port), "--workers", "1")
    store = ("--backend-store-uri", environment.tracking_uri)
    return Page("MLflow", (*command, *store), port, "/health", environment.workspace.mlflow, {})


def _zenml(workspace: Workspace, port: int | None) -> Page:
    """ZenML's server on the client's own database, with a configuration of its own so that the client's stays."""
    port = _port(port, "--zenml-port")
    command = ("-m", "uvicorn", "zenml.zen_server.zen_server_api:app", "--host", LOOPBACK, "--port", str(port))
    folder = workspace.cache / "dashboard" / "zenml"
    settings = {
        "ZENML_SERVER": "true",
        "ZENML_CONFIG_PATH": str(folder),
        "ZENML_LOCAL_STORES_PATH": str(workspace.zenml / "local_stores"),
        "ZENML_SERVER_DEPLOYMENT_TYPE": "local",
        "ZENML_SERVER_AUTH_SCHEME": "NO_AUTH",
        "ZENML_SERVER_AUTO_ACTIVATE": "True",
        "ZENML_SERVER_ALLOW_LOCAL_FILE_ACCESS": "true",
    }
    return Page("ZenML", command, port, "/health", folder, settings)


def _port(given: int | None, option: str) -> int:
    """The given port, or a free one. Raises UsageProblem where the given one is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, given or 0))
        except OSError as error:
            raise UsageProblem(
                f"{option} {given} cannot be used: {error.strerror}.",
                why="Another program answers there, perhaps a dashboard that is still running.",
                cure=f"Stop that program, give another port, or leave {option} out for a free one.",
            ) from error
        return int(probe.getsockname()[1])


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _started(page: Page, workspace: Workspace) -> Iterator[Server]:
    """A running server; stopped with all it started when the block is left."""
    logs = workspace.cache / "dashboard"
    logs.mkdir(parents=True, exist_ok=True)
    page.folder.mkdir(parents=True, exist_ok=True)
    log = logs / f"{page.name.lower()}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and arguments
            [sys.executable, *page.command],
            cwd=page.folder,
            env={**os.environ, **page.environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in the terminal is ours to pass on
        )
    try:
        yield Server(page, process, log)
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue
    process.wait(STOP_SECONDS)


def _wait_until_ready(server: Server) -> None:
    deadline = time.monotonic() + START_SECONDS
    with requests.Session() as session:
        session.trust_env = False  # a proxy knows nothing of this machine's own pages
        while time.monotonic() < deadline:
            if server.process.poll() is not None:
                raise _gone(server, "ended while starting")
            try:
                if session.get(server.page.address + server.page.ready, timeout=5).ok:
                    return
            except requests.RequestException:
                pass  # not up yet
            time.sleep(0.3)
    raise _gone(server, f"did not answer within {START_SECONDS:.0f} s")


def _watch(servers: Sequence[Server]) -> None:
    while True:
        for server in servers:
            if server.process.poll() is not None:
                raise _gone(server, "has ended")
        time.sleep(0.5)


def _gone(server: Server, what: str) -> EnvironmentProblem:
    lines = server.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]
    return EnvironmentProblem(
        f"{server.page.name} {what}." + "".join(f"\n    {line}" for line in lines),
        why="Its page would stay empty.",
        cure=f"Read {server.log}; `lungline doctor` says whether the installation is whole.",
    )
