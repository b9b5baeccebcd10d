"""Faults F05, F07 and F08: archives that explode, lie about sizes, broke off, or are no archives."""

from __future__ import annotations

import gzip
import os
import shutil
import struct
import tarfile
from pathlib import Path

import pytest

from data_contracts.errors import (
    EnvironmentProblem,
    ExternalServiceError,
    LunglineError,
)
from data_contracts.fetch.archive import unpack
from data_contracts.fetch.members import UnpackLimits
from tests.faults.test_archive import a_tar, a_zip, entry, refused_without_a_trace


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (UnpackLimits(members=3), "more than 3 members"),
        (UnpackLimits(total_bytes=399_999), "more than 399,999 bytes"),
        (UnpackLimits(ratio=10, ratio_from_bytes=1), "claim"),
    ],
    ids=["count", "total", "ratio"],
)
@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_limits_on_count_size_and_ratio(suffix: str, limits: UnpackLimits, words: str, tmp_path: Path) -> None:
    """F07: by what the archive declares, before a byte is written."""
    archive = tmp_path / f"a{suffix}"
    names = [f"{number}.png" for number in range(4)]
    if suffix == ".zip":
        a_zip(archive, dict.fromkeys(names, bytes(100_000)))
    else:
        a_tar(archive, *map(entry, names), content=bytes(100_000), mode="w:gz")
    assert words in refused_without_a_trace(archive, tmp_path, limits).what
    assert unpack(archive, tmp_path / "out", UnpackLimits()).files == 4


def lie_about_size(archive: Path, claimed: int) -> None:
    """Overwrite the uncompressed size in the local and the central header of a zip's only member."""
    content = bytearray(archive.read_bytes())
    struct.pack_into("<I", content, content.index(b"PK\x03\x04") + 22, claimed)
    struct.pack_into("<I", content, content.index(b"PK\x01\x02") + 24, claimed)
    archive.write_bytes(content)


@pytest.mark.parametrize("claimed", [10, 2_000_000], ids=["too-little", "too-much"])
def test_a_header_that_lies_about_the_size_is_found_out(claimed: int, tmp_path: Path) -> None:
    """F07: real bytes are counted while they come out; nothing of the archive stays."""
    archive = a_zip(tmp_path / "a.zip", {"a.png": bytes(1_000_000)})
    lie_about_size(archive, claimed)
    refused_without_a_trace(archive, tmp_path)


def test_archives_inside_are_left_packed_and_said(tmp_path: Path) -> None:
    """F07: no recursion."""
    inner = a_zip(tmp_path / "inner.zip", {"a.png": b"1"}).read_bytes()
    unpacked = unpack(a_zip(tmp_path / "a.zip", {"inner.zip": inner, "b.png": b"2"}), tmp_path / "out")
    assert unpacked.nested == ["inner.zip"]
    assert (tmp_path / "out/inner.zip").read_bytes() == inner


def test_a_header_too_long_to_be_honest_is_not_loaded(tmp_path: Path) -> None:
    """F07: a tar may claim an extended header of any length, which would be read into memory."""
    header = entry("PaxHeader", tarfile.XHDTYPE)
    header.size = 1 << 33
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(1024)))
    assert "header" in refused_without_a_trace(archive, tmp_path).what


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_an_archive_that_broke_off_is_refused(suffix: str, tmp_path: Path) -> None:
    """F05: exit 6, fetch again."""
    noise = b"".join(index.to_bytes(4, "big") for index in range(50_000))
    archive = tmp_path / f"a{suffix}"
    if suffix == ".zip":
        a_zip(archive, {"a.png": noise, "b.png": noise})
    else:
        a_tar(archive, entry("a.png"), entry("b.png"), content=noise, mode="w:gz")
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    error = refused_without_a_trace(archive, tmp_path)
    assert error.exit_code == 6
    assert "cut short" in error.what


def test_damage_inside_a_member_is_found(tmp_path: Path) -> None:
    """F05: the checksum of a member; what was written before it is removed."""
    archive = a_zip(tmp_path / "a.zip", {"a.png": b"A" * 1000, "b.png": bytes(range(256)) * 40})
    content = bytearray(archive.read_bytes())
    content[content.index(b"b.png") + 20] ^= 0xFF
    archive.write_bytes(content)
    assert isinstance(refused_without_a_trace(archive, tmp_path), ExternalServiceError)


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (b"<!doctype html><title>Sign in</title>", ExternalServiceError, "credentials"),
        (b"Rar!\x1a\x07\x01\x00rest", EnvironmentProblem, "by hand"),
        (b"", ExternalServiceError, "neither zip nor tar"),
        (b"just text", ExternalServiceError, "neither zip nor tar"),
        (gzip.compress(b"just text"), ExternalServiceError, "damaged"),
    ],
    ids=["html", "rar", "empty", "text", "gzip-of-text"],
)
def test_what_is_no_archive_is_named(
    content: bytes, error: type[LunglineError], words: str, tmp_path: Path
) -> None:
    """F05: by content, whatever the name says."""
    archive = tmp_path / "a.zip"
    archive.write_bytes(content)
    refused = refused_without_a_trace(archive, tmp_path)
    assert isinstance(refused, error)
    assert words in str(refused)


def test_a_disk_too_small_is_found_before_unpacking(tmp_path: Path) -> None:
    """F08: exit 5 with the bytes needed and free."""
    header = entry("a.png")
    header.size = shutil.disk_usage(tmp_path).free // 512 * 1024
    archive = tmp_path / "a.tar"
    archive.write_bytes(header.tobuf(tarfile.GNU_FORMAT))
    os.truncate(archive, header.size + 1536)  # a hole in the file: it takes no room itself
    error = refused_without_a_trace(archive, tmp_path, UnpackLimits(total_bytes=2 * header.size))
    assert error.exit_code == 5
    assert f"{header.size:,} bytes" in error.what
