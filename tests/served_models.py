"""A workspace with approved versions, and the service over it: in a thread of this process, or as a command."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np

from data_contracts.workspace import Workspace
from deploy.serving.server import Server, listening, make_server
from deploy.serving.settings import ServeSettings
from models.registry.bundle import ModelBundle
from models.registry.decisions.decide import approve
from models.registry.decisions.person import OS_USER, Person
from models.registry.dossiers import DossierVerdict, write_dossier
from models.registry.follow import tracking_store
from models.registry.versions import CHAMPION, find_version, register_challenger
from models.scoring.log_reading import LogReading
from models.scoring.prediction_log import PredictionLog
from tests.unit.test_bundle import make_history, make_model, make_spec
from tests.unit.test_input_checks import chest
from tests.unit.test_scoring_call import content

NAME = "lungline-small"
USER = Person(name="mueller", kind=OS_USER)
LUNGLINE = str(Path(sys.executable).with_name("lungline"))
START_SECONDS = 120.0  # of a machine that does other things


def film(number: int = 0, side: int = 128) -> bytes:
    """A PNG that looks like a frontal chest film; another number is another picture."""
    noise = np.random.default_rng(number).integers(0, 4, (side, side))
    return content(np.clip(chest(side).astype(int) + noise, 0, 255).astype(np.uint8))


def register_version(workspace: Workspace, seed: int, **spec: object) -> str:
    """A new version; its number."""
    folder = workspace.cache / f"made-{seed}-{len(spec)}"
    bundle = ModelBundle.write(folder, make_model(seed), make_spec(**spec), make_history())
    store = tracking_store(workspace)
    return register_challenger(store, bundle, model_name=NAME, tags={}, description_markdown="").version


def approve_version(workspace: Workspace, version: str) -> None:
    """Make a version the champion, as a person who read its dossier does."""
    store = tracking_store(workspace)
    champion = find_version(store.client, NAME, CHAMPION)
    said = {
        "model_name": NAME,
        "challenger": version,
        "champion": str(champion.version) if champion else None,
        "test_set_hash": "t",
        "verdict": "PROMOTE",
        "reasons": ["made for a test"],
        "created_by_run": "run-1",
    }
    dossier = write_dossier(workspace, DossierVerdict.model_validate(said), {"dossier.html": b"<p>"})
    approve(workspace, store, USER, model=NAME, version=version, reason="made for a test", dossier=dossier.hash)


def workspace_with_champion(home: Path) -> Workspace:
    """A workspace whose model has one approved version."""
    workspace = Workspace(home)
    workspace.create()
    approve_version(workspace, register_version(workspace, 0))
    return workspace


def weights_of(workspace: Workspace, version: str) -> Path:
    """The weights of a version, as the registry keeps them."""
    run = tracking_store(workspace).client.get_model_version(NAME, version).run_id
    (found,) = (workspace.mlflow / "artifacts" / run).rglob("weights.safetensors")
    return found


def logged(workspace: Workspace) -> LogReading:
    return PredictionLog.of(workspace, NAME).read()


def wait_until(condition: object, seconds: float = START_SECONDS) -> None:
    """Ask again and again until `condition()` is true."""
    until = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < until, "it did not come to pass in time"
        time.sleep(0.02)


class Running:
    """A service in a thread of this process, with its address and a client."""

    def __init__(self, server: Server, address: str) -> None:
        self.server = server
        self.service = server._service
        self.address = address
        self.http = httpx.Client(base_url=address, timeout=30)

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def metric(self, line: str) -> float:
        """The value of the one metric whose line begins so."""
        text = self.http.get("/metrics").text
        return sum(float(found.rsplit(" ", 1)[1]) for found in text.splitlines() if found.startswith(line))


@contextmanager
def running(workspace: Workspace, *, ready: bool = True, **settings: object) -> Iterator[Running]:
    """Serve while the block runs, at a port of the system's choice."""
    chosen = ServeSettings(**{"model": NAME, "reload_seconds": 0.1, **settings})  # type: ignore[arg-type]
    with listening(chosen.host, 0) as place:
        server = make_server(workspace, chosen)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [place]})
        thread.start()
        try:
            wait_until(lambda: server.started)
            service = Running(server, f"http://127.0.0.1:{place.getsockname()[1]}")
            if ready:
                wait_until(lambda: service.http.get("/ready").status_code == 200)
            yield service
        finally:
            server.drain()
            thread.join(60)


@contextmanager
def command(home: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`lungline serve` as a process of its own, ready, and its address."""
    environment = {**os.environ, "LUNGLINE_HOME": str(home), "HOME": str(home), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [LUNGLINE, "serve", "--port", "0", *options],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert "http://" in said, process.communicate()[1]
        address = said.split("http://")[1].split(",")[0]
        wait_until(lambda: httpx.get(f"http://{address}/ready").status_code == 200)
        yield process, f"http://{address}"
    finally:
        process.kill()
        process.communicate()
