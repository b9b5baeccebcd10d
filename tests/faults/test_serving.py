"""The service under callers that are large, slow or many, under broken versions, and while it is told to stop."""

from __future__ import annotations

import asyncio
import signal
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import psutil
import pytest

from data_contracts.workspace import Workspace
from models.registry.follow import tracking_store
from models.registry.versions import CHAMPION
from tests.served_models import (
    NAME,
    Running,
    approve_version,
    command,
    film,
    logged,
    register_version,
    running,
    wait_until,
    weights_of,
    workspace_with_champion,
)

MEGABYTE = 1 << 20
MANY = [("image", ("film.png", film(number, 1000))) for number in range(3)]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return workspace_with_champion(tmp_path_factory.mktemp("serving"))


@pytest.fixture(scope="module")
def service(workspace: Workspace) -> Iterator[Running]:
    """Little of everything, so that limits are reached soon."""
    limits = {
        "max_bytes": MEGABYTE,
        "queue": 4,
        "timeout": 3.0,
        "header_seconds": 0.5,
        "reload_seconds": 3600.0,
    }
    with running(workspace, **limits) as found:
        yield found


def claiming(width: int, height: int) -> bytes:
    """A PNG whose header claims so many pixels and that holds none."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def connect(service: Running, sent: bytes = b"") -> socket.socket:
    plug = socket.create_connection(("127.0.0.1", service.port), timeout=10)
    plug.sendall(sent)
    return plug


def closed_within(plug: socket.socket, seconds: float) -> bool:
    """Whether the other side ends the connection, whatever it says before."""
    plug.settimeout(seconds)
    try:
        while plug.recv(4096):
            pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        return False
    return True


# F49


@pytest.mark.parametrize("length", ["declared", "not declared"])
def test_f49_a_body_of_50_mb_is_413_and_never_held(service: Running, length: str) -> None:
    process, held = psutil.Process(), []

    def chunks() -> Iterator[bytes]:
        for _ in range(50):
            held.append(process.memory_info().rss)
            yield b"\0" * MEGABYTE

    before = process.memory_info().rss
    declared = {"Content-Length": str(50 * MEGABYTE)} if length == "declared" else {}
    answer = service.http.post("/predict", content=chunks(), headers=declared)
    assert answer.status_code == 413
    assert set(answer.json()) == {"what", "why", "cure"}
    assert max(held) - before < 16 * MEGABYTE
    assert service.service.memory.held == 0


def test_f49_a_large_form_is_413(service: Running) -> None:
    assert service.http.post("/predict", files={"image": b"\0" * 2 * MEGABYTE}).status_code == 413


def test_f49_a_picture_of_100_megapixels_is_413_by_its_header_alone(service: Running) -> None:
    began = time.process_time()
    answer = service.http.post("/predict", content=claiming(10_000, 10_000))
    assert time.process_time() - began < 1
    assert answer.status_code == 413
    assert "too large: 10000x10000" in answer.json()["what"]


def test_f49_fewer_pixels_can_be_allowed(workspace: Workspace) -> None:
    with running(workspace, max_pixels=100 * 100) as service:
        answer = service.http.post("/predict", content=film(1, 128))
        assert (answer.status_code, "too large" in answer.json()["what"]) == (413, True)
        assert service.http.post("/predict", content=film(1, 100)).status_code == 200


@pytest.mark.parametrize("given", [b"MZ\x90\0", b"%PDF-1.7", b"PK\x03\x04", b"<html>", b"\0" * 1000])
def test_f49_what_is_no_image_is_415_and_told_in_json(service: Running, given: bytes) -> None:
    answer = service.http.post("/predict", content=given, headers={"Content-Type": "image/png"})
    assert answer.status_code == 415
    assert set(answer.json()) == {"what", "why", "cure"}


def test_f49_a_header_that_trickles_in_is_cut_off(service: Running) -> None:
    with connect(service, b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\n") as plug:
        began = time.monotonic()
        for _ in range(100):
            try:
                plug.sendall(b"X-Slow: 1\r\n")
            except OSError:
                break
            time.sleep(0.05)
        assert time.monotonic() - began < 3
        assert service.http.get("/health").status_code == 200


def test_f49_a_header_without_end_is_refused(service: Running) -> None:
    with connect(service, b"GET /health HTTP/1.1\r\nX: " + b"x" * 40_000) as plug:
        assert plug.recv(4096).startswith(b"HTTP/1.1 400")


def test_f49_bodies_that_trickle_in_hold_no_worker_and_end_with_408(service: Running) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nx"
    with ExitStack() as open_ones:
        plugs = [open_ones.enter_context(connect(service, head)) for _ in range(40)]
        wait_until(lambda: service.service.in_flight == 40, 10)
        assert service.http.post("/predict", content=film(2)).status_code == 200
        plugs[0].settimeout(10)
        assert plugs[0].recv(4096).startswith(b"HTTP/1.1 408")
        wait_until(lambda: service.service.in_flight == 0, 10)


def test_f49_the_rest_of_a_refused_body_does_not_keep_a_connection(service: Running) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 900000000\r\n\r\nx"
    with connect(service, head) as plug:
        plug.settimeout(10)
        assert plug.recv(4096).startswith(b"HTTP/1.1 413")
        assert closed_within(plug, 5)


def test_f49_silent_connections_make_room_for_those_that_ask(workspace: Workspace) -> None:
    with running(workspace, max_connections=8, header_seconds=60.0) as service, ExitStack() as open_ones:
        plugs = [open_ones.enter_context(connect(service)) for _ in range(30)]
        with httpx.Client() as other:
            assert other.get(f"{service.address}/health").status_code == 200
        assert closed_within(plugs[0], 5)
        assert len(service.server.server_state.connections) <= 8


def test_f49_500_requests_at_once_are_answered_or_told_to_come_back(workspace: Workspace) -> None:
    given = film(3)

    async def all_at_once(address: str) -> tuple[list[httpx.Response], list[int]]:
        limits = httpx.Limits(max_connections=501, max_keepalive_connections=0)
        async with httpx.AsyncClient(base_url=address, limits=limits, timeout=60) as client:
            asked = asyncio.gather(*[client.post("/predict", content=given) for _ in range(500)])
            healthy = []
            while not asked.done():
                healthy.append((await client.get("/health")).status_code)
                await asyncio.sleep(0.05)
            return await asked, healthy

    with running(workspace, queue=8) as service:
        before = psutil.Process().memory_info().rss
        answers, healthy = asyncio.run(all_at_once(service.address))
        assert {200, 429} <= {answer.status_code for answer in answers} <= {200, 429, 503}
        assert all(answer.headers["retry-after"] for answer in answers if answer.status_code != 200)
        assert set(healthy) == {200}
        assert psutil.Process().memory_info().rss - before < 200 * MEGABYTE
        wait_until(lambda: service.service.in_flight == 0, 10)
        assert (service.service.memory.held, service.service.workers.pending) == (0, 0)


def test_f49_what_is_not_scored_in_time_is_503_and_never_begun(workspace: Workspace) -> None:
    with running(workspace, timeout=2.0, concurrency=1) as service:
        over = threading.Event()
        service.service.workers._pool.submit(over.wait)  # the only worker is busy with something long
        answer = service.http.post("/predict", content=film())
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert "not scored within 2 s" in answer.json()["what"]
        assert service.service.workers.pending == 0
        over.set()
        assert service.http.post("/predict", content=film()).status_code == 200
        assert service.metric("lungline_scoring_seconds_count") == 1


# F50


def test_f50_a_version_that_fails_verification_never_answers(workspace: Workspace) -> None:
    version = register_version(workspace, 1)
    with running(workspace, reload_seconds=3600.0) as old:
        approve_version(workspace, version)
        weights = weights_of(workspace, version)
        good = weights.read_bytes()
        weights.write_bytes(good[:-1] + b"\x7f")
        old.service.champion.look()
        _still_answers_with(old, "1")
        with running(workspace, ready=False, reload_seconds=3600.0) as new:
            wait_until(lambda: "was changed" in str(new.http.get("/ready").json()["reasons"]))
            assert (new.http.get("/ready").status_code, new.http.get("/health").status_code) == (503, 200)
            answer = new.http.post("/predict", content=film())
            assert (answer.status_code, set(answer.json())) == (503, {"what", "why", "cure"})
            weights.write_bytes(good)
            for service in (new, old):
                service.service.champion.look()
                assert service.http.get("/ready").json()["version"] == version
                assert service.http.get("/health").json()["detail"] == []
                assert service.http.post("/predict", content=film()).json()["version"] == version
                assert service.metric("lungline_reload_failing") == 0
                assert service.metric("lungline_model_info{") == 1


def test_f50_an_alias_that_nobody_decided_on_changes_nothing(workspace: Workspace) -> None:
    client = tracking_store(workspace).client
    decided = str(client.get_model_version_by_alias(NAME, CHAMPION).version)
    with running(workspace, reload_seconds=3600.0) as service:
        client.set_registered_model_alias(NAME, CHAMPION, register_version(workspace, 2))
        service.service.champion.look()
        _still_answers_with(service, decided)
        client.set_registered_model_alias(NAME, CHAMPION, decided)
        service.service.champion.look()
        assert service.http.get("/ready").json()["detail"] == []


def _still_answers_with(service: Running, version: str) -> None:
    answer = service.http.post("/predict", content=film())
    assert (answer.status_code, answer.json()["version"]) == (200, version)
    state = service.http.get("/ready").json()
    assert (state["ready"], state["version"]) == (True, version)
    assert f"version {version} goes on answering" in state["detail"][0]
    assert state["detail"] == service.http.get("/health").json()["detail"]
    assert service.metric("lungline_reload_failing") == 1
    assert service.metric("lungline_reload_failures_total") == 1


# F51


def test_f51_sigterm_answers_what_was_asked_for_and_takes_nothing_new(workspace: Workspace) -> None:
    with (
        command(workspace.home, "--timeout", "60", "--grace", "60") as (process, address),
        ThreadPoolExecutor() as pool,
    ):
        asked = pool.submit(httpx.post, f"{address}/predict", files=MANY * 10, timeout=60)
        wait_until(lambda: "lungline_requests_pending 1.0" in httpx.get(f"{address}/metrics").text, 30)
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: httpx.get(f"{address}/ready").status_code == 503, 5)
        assert httpx.get(f"{address}/health").status_code == 200
        refused = httpx.post(f"{address}/predict", content=film())
        assert (refused.status_code, refused.json()["what"]) == (503, "The service is stopping.")
        assert not asked.done()
        answer = asked.result()
        assert process.wait(30) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
    told = {one["image_id"] for one in answer.json()["predictions"]}
    assert len(told) == 3
    assert told <= set(logged(workspace).frame["image_key"])


def test_f51_what_is_not_done_within_the_grace_is_told_so(workspace: Workspace) -> None:
    with ThreadPoolExecutor() as pool:
        with running(workspace, grace=0.2) as service:
            asked = pool.submit(httpx.post, f"{service.address}/predict", files=MANY * 10, timeout=60)
            wait_until(lambda: service.service.workers.pending == 1, 30)
            began = time.monotonic()
        assert time.monotonic() - began < 5
        answer = asked.result()
    assert (answer.status_code, answer.json()["what"]) == (503, "The service is stopping.")
