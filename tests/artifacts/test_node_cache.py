"""Artefacts of an S3 store on one node: fetched once, complete or absent, mended, bounded, and refused in words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from data_contracts.errors import EnvironmentProblem, ExternalServiceError, UsageProblem
from data_contracts.node_cache import NodeCache
from steps.remote_folder import RemoteFolder
from tests.object_store import BUCKET, ObjectStore, artifact_store
from tests.store_door import Door, failing

GIB = 2**30
PIXELS = np.random.default_rng(0).integers(0, 255, (300, 32, 32)).astype(np.uint8)

ASK = """
import json, os, sys
from pathlib import Path
import numpy as np
from data_contracts.node_cache import NodeCache
from steps.remote_folder import RemoteFolder
from tests.object_store import artifact_store

address, uri, folder = sys.argv[1:]
remote = RemoteFolder(artifact_store(address), uri)
remote.sizes()  # imports are done
print("ready", flush=True)
sys.stdin.readline()
images = NodeCache(Path(folder), 2**30, print).open(
    remote, lambda kept: np.load(kept / "images.npy", mmap_mode="r")
)
print(json.dumps([int(images.sum()), os.stat(images.filename).st_ino]), flush=True)
sys.stdin.readline()
"""


def stored(s3: ObjectStore, tmp_path: Path, name: str, pixels: np.ndarray = PIXELS) -> str:
    """The address of a folder with one array and a note."""
    uri = f"s3://{BUCKET}/{tmp_path.name}/{name}"
    array, note = tmp_path / "images.npy", tmp_path / "note.json"
    np.save(array, pixels)
    note.write_text("{}")
    remote = RemoteFolder(artifact_store(s3.address), uri)
    for file in (array, note):
        remote.put(file, file.name)
        file.unlink()
    return uri


def cache(tmp_path: Path, limit: int = GIB, said: list[str] | None = None) -> NodeCache:
    return NodeCache(tmp_path / "cache", limit, (said if said is not None else []).append)


def mapped(folder: Path) -> np.ndarray:
    return np.load(folder / "images.npy", mmap_mode="r")


def opened(kept: NodeCache, door: Door | ObjectStore, uri: str) -> np.ndarray:
    return kept.open(RemoteFolder(artifact_store(door.address), uri), mapped)


def asking(door: Door, uri: str, folder: Path) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", ASK, door.address, uri, str(folder)]
    return subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )


def answer(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(("ready", "[")):
            return line.strip() if line.startswith("ready") else json.loads(line)
    raise AssertionError(f"no answer, exit code {process.wait()}")


def go_on(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()


def test_two_processes_that_ask_at_once_fetch_once_and_map_the_same_file(
    s3: ObjectStore, door: Door, tmp_path: Path
) -> None:
    uri = stored(s3, tmp_path, "twice")
    both = [asking(door, uri, tmp_path / "cache") for _ in range(2)]
    assert [answer(process) for process in both] == ["ready", "ready"]
    go_on(*both)
    first, second = (answer(process) for process in both)
    assert first == second
    assert first[0] == PIXELS.sum()
    assert door.count("GET", "/images.npy") == 1
    go_on(*both)
    assert [process.wait(30) for process in both] == [0, 0]


def test_f52_a_killed_fetch_leaves_nothing_that_is_taken_for_an_artefact(
    s3: ObjectStore, door: Door, tmp_path: Path
) -> None:
    uri = stored(s3, tmp_path, "killed")
    asked, killed = threading.Event(), threading.Event()

    def stall(request: Any) -> int:
        if request.method == "GET" and request.path.endswith("images.npy") and not killed.is_set():
            asked.set()
            killed.wait(60)
        return 0

    door.fault = stall
    process = asking(door, uri, tmp_path / "cache")
    assert answer(process) == "ready"
    go_on(process)
    assert asked.wait(60)
    process.kill()
    process.wait()
    killed.set()
    entry = next((tmp_path / "cache").iterdir())
    assert (entry / "part").is_dir()
    assert not (entry / "files").exists()
    assert np.array_equal(opened(cache(tmp_path), door, uri), PIXELS)
    assert not (entry / "part").exists()


@pytest.mark.parametrize("damage", ["truncated", "emptied", "missing", "unreadable"])
def test_a_damaged_copy_is_fetched_again(s3: ObjectStore, door: Door, tmp_path: Path, damage: str) -> None:
    uri = stored(s3, tmp_path, damage)
    said: list[str] = []
    kept = cache(tmp_path, said=said)
    copy = Path(str(opened(kept, door, uri).filename))
    if damage == "truncated":
        os.truncate(copy, copy.stat().st_size - 1000)
    elif damage == "emptied":
        os.truncate(copy, 0)
    elif damage == "missing":
        copy.unlink()
    else:  # of the right size; only who opens it can tell
        with copy.open("r+b") as file:
            file.write(b"nonsense")
    assert np.array_equal(opened(kept, door, uri), PIXELS)
    assert door.count("GET", "/images.npy") == 2
    assert bool(said) == (damage == "unreadable")


def test_what_the_store_itself_holds_damaged_is_reported_after_one_more_fetch(
    s3: ObjectStore, door: Door, tmp_path: Path
) -> None:
    uri = stored(s3, tmp_path, "broken")
    broken = tmp_path / "broken.npy"
    broken.write_bytes(b"nonsense" * 100)
    RemoteFolder(artifact_store(s3.address), uri).put(broken, "images.npy")
    with pytest.raises(ValueError, match="pickled"):
        opened(cache(tmp_path), door, uri)
    assert door.count("GET", "/images.npy") == 2


def test_a_kept_artefact_needs_no_store_at_all(s3: ObjectStore, door: Door, tmp_path: Path) -> None:
    uri = stored(s3, tmp_path, "once")
    opened(cache(tmp_path), door, uri)
    before = len(door.asked)
    assert np.array_equal(opened(cache(tmp_path), door, uri), PIXELS)
    assert len(door.asked) == before


def test_the_artefact_that_was_unused_for_longest_goes_first_and_none_that_is_in_use(
    s3: ObjectStore, door: Door, tmp_path: Path
) -> None:
    """Three of 300 KiB fit into 1 MiB. The oldest is in use by another process, so the second oldest goes."""
    uris = [stored(s3, tmp_path, f"number-{number}") for number in range(4)]
    folder = tmp_path / "cache"
    others = [asking(door, uri, folder) for uri in uris[:3]]
    for process in others:
        assert answer(process) == "ready"
        go_on(process)
        answer(process)
        time.sleep(0.05)
    go_on(*others[1:])
    assert [process.wait(30) for process in others[1:]] == [0, 0]

    opened(cache(tmp_path, limit=2**20), door, uris[3])
    fetched = door.count("GET", "/images.npy")
    for number, times in ((0, 0), (2, 0), (1, 1)):
        opened(cache(tmp_path), door, uris[number])
        assert door.count("GET", "/images.npy") == fetched + times
    go_on(others[0])
    assert others[0].wait(30) == 0


def test_an_artefact_larger_than_the_limit_is_kept_while_it_is_needed(s3: ObjectStore, tmp_path: Path) -> None:
    uri = stored(s3, tmp_path, "large")
    assert np.array_equal(opened(cache(tmp_path, limit=1000), s3, uri), PIXELS)


@pytest.mark.parametrize("status", [500, 503, -1])
def test_a_store_that_fails_for_a_while_is_asked_again(
    s3: ObjectStore, door: Door, tmp_path: Path, waits: list[float], status: int
) -> None:
    uri = stored(s3, tmp_path, f"status{status}")
    door.fault = failing(2, status, "GET", "/images.npy")
    assert np.array_equal(opened(cache(tmp_path), door, uri), PIXELS)
    assert len(waits) == (2 if status > 0 else 0)  # a body that was cut is gone on with by s3fs itself


def test_a_store_that_goes_on_failing_ends_with_what_it_said(
    s3: ObjectStore, door: Door, tmp_path: Path, waits: list[float]
) -> None:
    uri = stored(s3, tmp_path, "down")
    door.fault = lambda request: 503
    with pytest.raises(ExternalServiceError, match="gave up after 4 tries"):
        opened(cache(tmp_path), door, uri)
    assert len(waits) == 3


def test_a_refusal_is_not_asked_for_again_and_names_what_to_check(
    s3: ObjectStore, door: Door, tmp_path: Path, waits: list[float]
) -> None:
    uri = stored(s3, tmp_path, "forbidden")
    door.fault = lambda request: 403
    with pytest.raises(ExternalServiceError) as refused:
        opened(cache(tmp_path), door, uri)
    assert "credentials" in refused.value.cure
    assert "not-a-secret" not in str(refused.value)
    assert waits == []
    assert len(door.asked) == 1


def test_a_vanished_artefact_is_named(s3: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(ExternalServiceError, match="no artefact at s3://lungline/nowhere"):
        opened(cache(tmp_path), s3, f"s3://{BUCKET}/nowhere")


def test_large_files_pass_through_in_small_pieces(s3: ObjectStore, tmp_path: Path) -> None:
    """96 MiB up and down in less than the file itself: measured 65 MiB up, and next to nothing down."""
    large = tmp_path / "large.npy"
    np.save(large, np.random.default_rng(1).integers(0, 255, (96, 1024, 1024)).astype(np.uint8))
    remote = RemoteFolder(artifact_store(s3.address), f"s3://{BUCKET}/{tmp_path.name}/large")
    remote.sizes()
    process, rss = psutil.Process(), []
    before, done = process.memory_info().rss, threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            rss.append(process.memory_info().rss)

    watching = threading.Thread(target=watch)
    watching.start()
    remote.put(large, "large.npy")
    stored_peak = max(rss) - before
    rss.clear()
    images = cache(tmp_path).open(remote, lambda folder: np.load(folder / "large.npy", mmap_mode="r"))
    done.set()
    watching.join()
    assert images.shape == (96, 1024, 1024)
    assert stored_peak < 80 * 2**20
    assert max(rss) - before < 80 * 2**20


def test_a_folder_that_cannot_be_written_says_what_to_do(s3: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(EnvironmentProblem) as refused:
        opened(cache(tmp_path), s3, f"s3://{BUCKET}/any")
    assert "LUNGLINE_ARTIFACT_CACHE" in refused.value.cure


def test_the_place_and_the_limit_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LUNGLINE_HOME", str(tmp_path))
    default = NodeCache.current(print)
    assert (default.folder, default.limit_bytes) == (tmp_path / "cache" / "artifacts", 50 * GIB)
    monkeypatch.setenv("LUNGLINE_ARTIFACT_CACHE", str(tmp_path / "node"))
    monkeypatch.setenv("LUNGLINE_ARTIFACT_CACHE_GIB", "0.5")
    chosen = NodeCache.current(print)
    assert (chosen.folder, chosen.limit_bytes) == (tmp_path / "node", GIB // 2)
    monkeypatch.setenv("LUNGLINE_ARTIFACT_CACHE_GIB", "lots")
    with pytest.raises(UsageProblem, match="lots"):
        NodeCache.current(print)
