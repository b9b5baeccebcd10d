"""Faults F08, F09 and F10: a disk that fills up, a process that is killed, and two processes that build one store."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data_contracts import decode_pass, unfinished_store
from data_contracts.catalog import Catalog
from data_contracts.errors import EnvironmentProblem
from data_contracts.image_store import ImageStore, ImageStoreSettings, build_image_store
from data_contracts.locks import only_one

SETTINGS = ImageStoreSettings(size=32)
FILES = 40
EVERY = 8  # files between two entries in the journal, here


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    draw(folder, range(FILES))
    return folder


@pytest.fixture
def stores(tmp_path: Path) -> Path:
    return tmp_path / "stores"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with every file that is really decoded."""
    calls: list[int] = []
    read = decode_pass.read_image

    def count(*args: object, **options: object) -> object:
        calls.append(1)
        return read(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(decode_pass, "read_image", count)
    return calls


def draw(folder: Path, seeds: range) -> None:
    for seed in seeds:
        pixels = np.random.default_rng(seed).integers(0, 256, (40, 36)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{seed:04d}.png")


def offer(data: Path, raw_label: str = "") -> Catalog:
    files = sorted(path.name for path in data.iterdir())
    return Catalog.of(pd.DataFrame({"source": "nih", "file": files, "raw_label": raw_label}))


def build(data: Path, stores: Path, raw_label: str = "") -> ImageStore:
    return build_image_store(offer(data, raw_label), data, SETTINGS, stores)


def contents(store: ImageStore) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in store.folder.iterdir()}


# Runs a build in a process of its own and kills it there, without any chance to clear up: {function} of {module} is
# replaced by one that kills at its call number {call}, before or after doing what it does.
KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from data_contracts import decode_pass, image_store, known_files, unfinished_store
from tests.faults.test_store import build
calls, does = [], {module}.{function}
def killing(*args, **options):
    calls.append(1)
    if len(calls) < {call}:
        return does(*args, **options)
    if {after}:
        does(*args, **options)
    os.kill(os.getpid(), signal.SIGKILL)
{module}.{function} = killing
unfinished_store._JOURNAL_EVERY = {every}
build(Path({data!r}), Path({stores!r}), {raw_label!r})
"""


def kill_a_build(
    data: Path, stores: Path, place: str, call: int, *, after: bool = False, raw_label: str = ""
) -> None:
    module, function = place.rsplit(".", 1)
    script = KILLED.format(
        root=str(Path(__file__).parents[2]),
        module=module,
        function=function,
        call=call,
        after=after,
        every=EVERY,
        data=str(data),
        stores=str(stores),
        raw_label=raw_label,
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize(
    ("place", "call", "after", "most_decoded"),
    [
        ("unfinished_store._line", 30, False, FILES - 3 * EVERY),  # while rows are written
        ("unfinished_store.os.fsync", 3, True, FILES - 2 * EVERY),  # rows on the disk, their journal lines not
        ("image_store.write_index", 1, False, 0),  # complete, but without a name
        ("image_store.write_index", 1, True, 0),  # in the index, but without a name
        ("image_store.os.replace", 3, True, 0),  # all there, and the journal still beside it
    ],
)
def test_f09_a_killed_build_goes_on_and_ends_like_an_undisturbed_one(
    data: Path, stores: Path, decoded: list[int], place: str, call: int, after: bool, most_decoded: int
) -> None:
    """F09: SIGKILL; the next run decodes only what is missing, ends with the same bytes and leaves nothing behind."""
    kill_a_build(data, stores, place, call, after=after)
    resumed = build(data, stores)
    assert len(decoded) <= most_decoded
    assert contents(resumed) == contents(build(data, stores.parent / "undisturbed"))
    assert list(stores.glob(".building-*")) == []
    assert len([folder for folder in stores.iterdir() if folder.is_dir()]) == 1


def test_f09_a_kill_leaves_the_store_before_intact(data: Path, stores: Path) -> None:
    before = build(data, stores)
    kept = contents(before)
    draw(data, range(FILES, FILES + 3))
    kill_a_build(data, stores, "image_store.write_index", 1)
    assert contents(ImageStore.open(before.folder)) == kept
    assert contents(build(data, stores)) == contents(build(data, stores.parent / "undisturbed"))


@pytest.mark.parametrize(("raw_label", "after"), [("mass", False), ("mass", True), ("", False), ("", True)])
def test_f09_a_kill_leaves_a_store_intact_whose_rows_were_all_reused(
    data: Path, stores: Path, decoded: list[int], raw_label: str, after: bool
) -> None:
    """The labels changed, or nothing did: the unfinished store then holds a hard link to the finished one's pixels."""
    before = build(data, stores)
    kept = contents(before)
    decoded.clear()
    kill_a_build(data, stores, "image_store.write_index", 1, after=after, raw_label=raw_label)
    resumed = build(data, stores, raw_label)
    assert contents(before) == kept
    assert decoded == [], "what is known stays known"
    assert contents(resumed) == contents(build(data, stores.parent / "undisturbed", raw_label))
    assert list(stores.glob(".building-*")) == []


def test_f09_what_changed_since_the_kill_is_decoded_anew(data: Path, stores: Path, decoded: list[int]) -> None:
    """The files before the change are taken over, half a line of the journal is not."""
    kill_a_build(data, stores, "image_store.write_index", 1)
    journal = next(stores.glob(".building-*")) / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    (data / "0025.png").write_bytes((data / "0003.png").read_bytes())
    resumed = build(data, stores)
    assert 1 <= len(decoded) <= FILES - 25
    frame = resumed.catalog.frame.set_index("file")
    assert frame.loc["0025.png", "reason"] == "same pixels as 0003.png"
    assert contents(resumed) == contents(build(data, stores.parent / "undisturbed"))


def test_f09_only_what_dead_processes_left_is_cleared_away(data: Path, stores: Path) -> None:
    """What was left lately may be gone on with; what a living process holds is its own, however old."""
    for name in (".building-living", ".building-dead", ".building-lately"):
        (stores / name / "store").mkdir(parents=True)
    for name in (".building-living", ".building-dead"):
        os.utime(stores / name, (0, 0))
    with only_one(stores / ".building-living", lambda note: None, "testing"):
        build(data, stores)
    assert sorted(path.name for path in stores.glob(".building-*")) == [".building-lately", ".building-living"]


def test_f08_a_disk_that_fills_up_leaves_nothing_unfinished_and_says_how_much_is_needed(
    data: Path, stores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F08: exit 5 with bytes needed and free; the store before stays."""
    before = build(data, stores)
    draw(data, range(FILES, FILES + 3))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(unfinished_store.os, "fsync", full)
    with pytest.raises(EnvironmentProblem, match=rf"needs {(FILES + 3) * 32 * 32:,} bytes .* are free") as refused:
        build(data, stores)
    assert refused.value.exit_code == 5
    assert [folder for folder in stores.iterdir() if folder.is_dir()] == [before.folder]
    assert contents(ImageStore.open(before.folder))


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no limit on the size of files here")
def test_f08_the_largest_file_that_the_system_allows_counts_as_a_full_disk(data: Path, stores: Path) -> None:
    """F08: really refused by the system, not by a test double."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handled = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(EnvironmentProblem, match="are free"):
            build(data, stores)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handled)
    assert [path for path in stores.iterdir() if path.is_dir()] == []


def test_f08_too_small_a_disk_is_noticed_before_anything_is_decoded(
    data: Path, stores: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data_contracts.disk.shutil.disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(EnvironmentProblem, match="; 10 are free"):
        build(data, stores)
    assert decoded == []


def test_f10_of_two_builds_the_second_says_that_it_waits_and_reuses_the_first(
    data: Path, stores: Path, decoded: list[int]
) -> None:
    """F10: threads here stand for processes; the lock is the file system's and knows no difference."""
    first_is_at_work, second_waits = threading.Event(), threading.Event()
    said: list[str] = []
    results: list[ImageStore] = []

    def first_reports(done: int, total: int, note: str) -> None:
        first_is_at_work.set()
        second_waits.wait(20)

    def second_reports(done: int, total: int, note: str) -> None:
        if note:
            said.append(note)
            second_waits.set()

    def first() -> None:
        results.append(build_image_store(offer(data), data, SETTINGS, stores, first_reports))

    thread = threading.Thread(target=first)
    thread.start()
    assert first_is_at_work.wait(20)
    results.append(build_image_store(offer(data), data, SETTINGS, stores, second_reports))
    thread.join()
    assert said == ["another process is building this image store; waiting for it"]
    assert results[0].folder == results[1].folder
    assert len(decoded) == FILES


# The growth of the peak memory, in KiB, from building a small store to building a large one.
MEASURED = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {root!r})
import pandas as pd
from data_contracts.catalog import Catalog
from data_contracts.image_store import ImageStoreSettings, build_image_store
from tests.faults.test_store import offer
def peak(count):
    offered = Catalog.of(offer(Path({data!r})).frame.iloc[:count])
    build_image_store(offered, Path({data!r}), ImageStoreSettings(size=256), Path({data!r}).parent / str(count))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(-peak(100) + peak(1_000))
"""


def test_memory_does_not_grow_with_the_number_of_images(data: Path) -> None:
    """900 rows more are 56 MiB more on the disk; in memory they are what the catalog holds of them."""
    draw(data, range(FILES, 1_000))
    script = MEASURED.format(root=str(Path(__file__).parents[2]), data=str(data))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100, check=True)
    assert int(done.stdout) / 1024 < 25
