"""The image store decodes each file once, accounts for every file, and is complete or absent."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data_contracts import decode_pass, known_files
from data_contracts.catalog import DUPLICATE, KEPT, QUARANTINED, Catalog
from data_contracts.errors import DataGateError
from data_contracts.image_store import ImageStore, ImageStoreSettings, build_image_store

SETTINGS = ImageStoreSettings(size=32)


def draw(path: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (48, 40)).astype(np.uint8)
    Image.fromarray(pixels).save(path)


def offer(data: Path) -> Catalog:
    return Catalog.of(pd.DataFrame({"source": "nih", "file": [path.name for path in sorted(data.iterdir())]}))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "röntgen data"
    folder.mkdir()
    for seed in range(4):
        draw(folder / f"{seed}.png", seed)
    return folder


@pytest.fixture
def stores(tmp_path: Path) -> Path:
    folder = tmp_path / "stores"
    folder.mkdir()
    return folder


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


def test_every_file_is_kept_quarantined_or_a_duplicate(data: Path, stores: Path) -> None:
    (data / "broken.png").write_bytes((data / "0.png").read_bytes()[:200])
    Image.open(data / "1.png").save(data / "again.png", compress_level=0)
    store = build_image_store(offer(data), data, SETTINGS, stores)
    frame = store.catalog.frame.set_index("file")
    assert store.catalog.counts() == {"offered": 6, KEPT: 4, QUARANTINED: 1, DUPLICATE: 1}
    assert frame.loc["broken.png", "reason"]
    assert frame.loc["again.png", "reason"] == "same pixels as 1.png"
    assert frame.loc["again.png", "image_id"] == frame.loc["1.png", "image_id"]


def test_each_row_holds_the_image_it_is_listed_with(data: Path, stores: Path) -> None:
    store = build_image_store(offer(data), data, SETTINGS, stores)
    for row in store.catalog.kept.itertuples():
        with Image.open(data / str(row.file)) as picture:
            expected = np.asarray(picture.resize((32, 32), Image.Resampling.BILINEAR, reducing_gap=2.0))
        np.testing.assert_array_equal(store.images[int(str(row.row))], expected)


def test_a_second_build_decodes_nothing_and_gives_the_same_store(
    data: Path, stores: Path, decoded: list[int]
) -> None:
    first = build_image_store(offer(data), data, SETTINGS, stores)
    del decoded[:]
    second = build_image_store(offer(data), data, SETTINGS, stores)
    assert (second.content_hash, second.folder) == (first.content_hash, first.folder)
    assert decoded == []


def test_a_new_image_costs_one_decode(data: Path, stores: Path, decoded: list[int]) -> None:
    build_image_store(offer(data), data, SETTINGS, stores)
    del decoded[:]
    draw(data / "05.png", 99)
    incremental = build_image_store(offer(data), data, SETTINGS, stores)
    assert len(decoded) == 1
    fresh = build_image_store(offer(data), data, SETTINGS, stores.parent / "other")
    assert incremental.content_hash == fresh.content_hash
    assert (incremental.folder / "images.npy").read_bytes() == (fresh.folder / "images.npy").read_bytes()


def test_another_size_is_another_store(data: Path, stores: Path) -> None:
    small = build_image_store(offer(data), data, SETTINGS, stores)
    large = build_image_store(offer(data), data, ImageStoreSettings(size=40), stores)
    assert small.content_hash != large.content_hash
    assert large.images.shape == (4, 40, 40)


def test_what_was_quarantined_before_decoding_stays_so(data: Path, stores: Path) -> None:
    frame = offer(data).frame.assign(status=[QUARANTINED, KEPT, KEPT, KEPT], reason=["unknown label", "", "", ""])
    store = build_image_store(Catalog.of(frame), data, SETTINGS, stores)
    assert store.catalog.counts() == {"offered": 4, KEPT: 3, QUARANTINED: 1, DUPLICATE: 0}
    assert store.catalog.frame["reason"].tolist() == ["unknown label", "", "", ""]


def test_no_file_outside_the_data_folder_is_read(data: Path, stores: Path) -> None:
    draw(data.parent / "secret.png", 5)
    (data / "link.png").symlink_to(data.parent / "secret.png")
    frame = pd.DataFrame({"source": "nih", "file": ["../secret.png", "link.png", "0.png"]})
    store = build_image_store(Catalog.of(frame), data, SETTINGS, stores)
    assert sorted(store.catalog.frame["reason"]) == ["", *["file lies outside the data folder"] * 2]


def test_a_file_that_was_not_touched_is_not_read_again(
    data: Path, stores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its size and times of change tell; changed labels make another store over the same pixels, linked."""
    monkeypatch.setattr(known_files, "_CLOCK_STEP_NS", -1)
    first = build_image_store(offer(data), data, SETTINGS, stores)
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"{path} was read"))
    relabelled = Catalog.of(offer(data).frame.assign(raw_label="mass"))
    second = build_image_store(relabelled, data, SETTINGS, stores)
    assert second.folder != first.folder
    assert (second.folder / "images.npy").samefile(first.folder / "images.npy")
    assert second.catalog.frame["raw_label"].unique().tolist() == ["mass"]
    assert second.catalog.frame["image_id"].tolist() == first.catalog.frame["image_id"].tolist()


def test_a_file_changed_within_the_same_tick_of_the_clock_is_noticed(data: Path, stores: Path) -> None:
    """Same size, same mtime; the file was so young when it was read that its stamp proves nothing."""
    build_image_store(offer(data), data, SETTINGS, stores)
    before = (data / "0.png").stat()
    (data / "0.png").write_bytes((data / "1.png").read_bytes()[: before.st_size].ljust(before.st_size, b"\0"))
    os.utime(data / "0.png", ns=(before.st_atime_ns, before.st_mtime_ns))
    store = build_image_store(offer(data), data, SETTINGS, stores)
    fresh = build_image_store(offer(data), data, SETTINGS, stores.parent / "other")
    assert store.content_hash == fresh.content_hash


def test_the_stamps_of_one_data_folder_say_nothing_of_another(
    data: Path, stores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy with other pixels may have the same names, sizes and times; and what is the same is not decoded twice."""
    monkeypatch.setattr(known_files, "_CLOCK_STEP_NS", -1)
    build_image_store(offer(data), data, SETTINGS, stores)
    copy = data.parent / "copy"
    shutil.copytree(data, copy)
    draw(copy / "0.png", 77)
    store = build_image_store(offer(copy), copy, SETTINGS, stores)
    fresh = build_image_store(offer(copy), copy, SETTINGS, stores.parent / "other")
    assert store.content_hash == fresh.content_hash


def test_what_another_recipe_decoded_is_not_decoded_again(data: Path, stores: Path, decoded: list[int]) -> None:
    """Duplicates too: their pixels are those of the file that they repeat."""
    Image.open(data / "1.png").save(data / "again.png", compress_level=0)
    build_image_store(offer(data), data, SETTINGS, stores)
    build_image_store(Catalog.of(offer(data).frame.iloc[:1].assign(source="other")), data, SETTINGS, stores)
    del decoded[:]
    part = build_image_store(Catalog.of(offer(data).frame.iloc[2:]), data, SETTINGS, stores)
    assert decoded == []
    fresh = build_image_store(Catalog.of(offer(data).frame.iloc[2:]), data, SETTINGS, stores.parent / "other")
    assert (part.folder / "images.npy").read_bytes() == (fresh.folder / "images.npy").read_bytes()
    assert part.content_hash == fresh.content_hash


def test_a_row_that_another_file_takes_does_not_shift_the_others(data: Path, stores: Path) -> None:
    """Removed, added and moved files: the rows of an earlier store are copied from where they were."""
    build_image_store(offer(data), data, SETTINGS, stores)
    (data / "0.png").unlink()
    draw(data / "00.png", 42)
    (data / "3.png").rename(data / "01.png")
    store = build_image_store(offer(data), data, SETTINGS, stores)
    fresh = build_image_store(offer(data), data, SETTINGS, stores.parent / "other")
    assert (store.folder / "images.npy").read_bytes() == (fresh.folder / "images.npy").read_bytes()
    assert store.content_hash == fresh.content_hash


def test_links_that_lead_in_a_circle_and_pipes_are_refused(data: Path, stores: Path) -> None:
    (data / "a.png").symlink_to(data / "b.png")
    (data / "b.png").symlink_to(data / "a.png")
    os.mkfifo(data / "pipe.png")
    (data / "inside.png").symlink_to(data / "1.png")
    reasons = build_image_store(offer(data), data, SETTINGS, stores).catalog.frame.set_index("file")["reason"]
    assert reasons["a.png"].startswith("file cannot be read: Too many levels")
    assert reasons["pipe.png"] == "not a regular file"
    assert reasons["inside.png"] == "same pixels as 1.png"


def test_a_store_that_is_not_what_it_says_is_refused(data: Path, stores: Path) -> None:
    store = build_image_store(offer(data), data, SETTINGS, stores)
    np.save(store.folder / "images.npy", np.zeros((2, 32, 32), np.uint8))
    with pytest.raises(DataGateError, match=r"holds \(2, 32, 32\)"):
        ImageStore.open(store.folder)


def test_hostile_real_files_never_stop_a_build(real_data: Path, stores: Path) -> None:
    """F12, F13, F14: every file is kept or quarantined with a reason."""
    folder = real_data / "corrupt" / "img"
    store = build_image_store(offer(folder), folder, SETTINGS, stores)
    counts = store.catalog.counts()
    assert counts["offered"] == counts[KEPT] + counts[QUARANTINED] + counts[DUPLICATE]
    refused = store.catalog.frame[store.catalog.frame["status"] == QUARANTINED]
    assert refused["reason"].str.len().gt(0).all()
    assert {"bomb_30000x30000.png", "truncated.png", "zero_bytes.png", "text_renamed.png"} <= set(refused["file"])
