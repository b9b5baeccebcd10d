"""The service on loopback: 500 requests at once, and what it answers when it is asked steadily.

The pictures are 1024 x 1024 PNG, the network simple_cnn at 224 pixels. Promised is what does not depend on the machine:
no error but 429 and 503, bounded memory, /health throughout. Seconds are wall time, of whatever else runs here too.
Run with `python -m tests.bench.bench_serving`.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
import psutil

from data_contracts.workspace import Workspace
from models import architectures
from models.preprocessing import Preprocessing
from models.registry.bundle import ModelBundle
from models.registry.follow import tracking_store
from models.registry.versions import register_challenger
from tests.bench.comparison import Limit, judge_limits
from tests.served_models import NAME, approve_version, command, film
from tests.unit.test_bundle import CLASSES, make_history, make_spec

AT_ONCE, STEADY, CLIENTS, SIDE = 500, 200, 4, 224
MEMORY = 768.0  # MiB beyond the idle process: 256 for bodies, the rest for what two threads decode


def main() -> int:
    """Measure, print, and return 1 where a promise is not kept."""
    pictures = [film(number, 1024) for number in range(20)]
    with tempfile.TemporaryDirectory() as scratch:
        workspace = _workspace(Path(scratch))
        with command(workspace.home, "--queue", "16") as (process, address):
            served = psutil.Process(process.pid)
            idle = served.memory_info().rss
            used = _cpu_seconds(served)
            steady, steady_seconds = asyncio.run(_steady(address, pictures))
            used = _cpu_seconds(served) - used
            with _Watch(address, served) as watch:
                burst = asyncio.run(_burst(address, pictures))
    statuses = Counter(status for status, _ in burst)
    print(
        f"{AT_ONCE} at once: {dict(sorted(statuses.items()))}; {CLIENTS} clients in turn: {len(steady)} answered"
    )
    latency = [seconds * 1e3 for _, seconds in steady]
    health = [seconds * 1e3 for _, seconds in watch.answers]
    return judge_limits(
        [
            Limit("requests at once with another error", _others(statuses, {200, 429, 503}), 0, "requests"),
            Limit(
                "requests asked in turn that failed", _others(Counter(s for s, _ in steady), {200}), 0, "requests"
            ),
            Limit(
                "/health unanswered meanwhile", _others(Counter(s for s, _ in watch.answers), {200}), 0, "requests"
            ),
            Limit("memory beyond the idle process", (watch.most - idle) / 2**20, MEMORY, "MiB"),
            Limit("answered when asked in turn", len(steady) / steady_seconds, None, "requests/s"),
            Limit("CPU of the process for each of them", used / len(steady) * 1e3, None, "ms"),
            Limit("p50 when asked in turn", float(np.percentile(latency, 50)), None, "ms"),
            Limit("p99 when asked in turn", float(np.percentile(latency, 99)), None, "ms"),
            Limit("answered of those at once", float(statuses[200]), None, "requests"),
            Limit("p99 of /health meanwhile", float(np.percentile(health, 99)), None, "ms"),
        ]
    )


def _workspace(home: Path) -> Workspace:
    workspace = Workspace(home)
    workspace.create()
    network = architectures.build("simple_cnn", num_classes=len(CLASSES), in_chans=1, img_size=SIDE, options={})
    spec = make_spec(image_size=SIDE, preprocessing=Preprocessing(size=SIDE, mode="half"))
    bundle = ModelBundle.write(home / "bundle", network, spec, make_history())
    store = tracking_store(workspace)
    approve_version(
        workspace, register_challenger(store, bundle, model_name=NAME, tags={}, description_markdown="").version
    )
    return workspace


async def _timed(client: httpx.AsyncClient, content: bytes) -> tuple[int, float]:
    """Status, 0 where there was no answer, and seconds."""
    began = time.perf_counter()
    try:
        status = (await client.post("/predict", content=content)).status_code
    except httpx.HTTPError:
        status = 0
    return status, time.perf_counter() - began


async def _steady(address: str, pictures: list[bytes]) -> tuple[list[tuple[int, float]], float]:
    async def client_in_turn(client: httpx.AsyncClient) -> list[tuple[int, float]]:
        return [await _timed(client, pictures[number % len(pictures)]) for number in range(STEADY // CLIENTS)]

    async with httpx.AsyncClient(base_url=address, timeout=120) as client:
        await client.post("/predict", content=pictures[0])
        began = time.perf_counter()
        answers = await asyncio.gather(*[client_in_turn(client) for _ in range(CLIENTS)])
        return [one for some in answers for one in some], time.perf_counter() - began


async def _burst(address: str, pictures: list[bytes]) -> list[tuple[int, float]]:
    limits = httpx.Limits(max_connections=AT_ONCE)
    async with httpx.AsyncClient(base_url=address, timeout=120, limits=limits) as crowd:
        return await asyncio.gather(
            *[_timed(crowd, pictures[number % len(pictures)]) for number in range(AT_ONCE)]
        )


class _Watch:
    """Asks /health and looks at the memory all the time, from a thread. most: bytes at the worst."""

    def __init__(self, address: str, served: psutil.Process) -> None:
        self.answers: list[tuple[int, float]] = []
        self.most = 0
        self._address = f"{address}/health"
        self._served = served
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _work(self) -> None:
        with httpx.Client(timeout=30) as client:
            while not self._over.wait(0.02):
                began = time.perf_counter()
                try:
                    status = client.get(self._address).status_code
                except httpx.HTTPError:
                    status = 0
                self.answers.append((status, time.perf_counter() - began))
                self.most = max(self.most, self._served.memory_info().rss)


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _others(statuses: Counter[int], expected: set[int]) -> float:
    return float(sum(count for status, count in statuses.items() if status not in expected))


if __name__ == "__main__":
    sys.exit(main())
