"""Fault F06, and the collection of hostile archives: what is dangerous is refused as a whole, without a trace."""

from __future__ import annotations

import csv
import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from data_contracts.errors import (
    DataGateError,
    LunglineError,
    UsageProblem,
)
from data_contracts.fetch.archive import unpack, unpack_download
from data_contracts.fetch.members import UnpackLimits

# What corrupt/EXPECT.csv asks for, as this project answers it. It leaves a choice for three files: a link refuses the
# whole archive, archives inside stay packed, and names that differ by case only refuse.
LEVELS = {
    "reject archive": LunglineError,
    "reject member": DataGateError,
    "flag": DataGateError,
    "reject/skip": None,
    "accept": None,
}
HOSTILE = [
    *("path_traversal", "absolute_path", "backslash_path", "symlink", "zip_bomb_small", "nested_zip", "good"),
    *("truncated", "case_collision", "html_instead"),
]


def a_zip(place: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return place


def a_tar(place: Path, *members: tarfile.TarInfo, content: bytes = b"", mode: str = "w") -> Path:
    with tarfile.open(place, mode) as archive:  # type: ignore[call-overload]
        for member in members:
            member.size = len(content) if member.isreg() else 0
            archive.addfile(member, io.BytesIO(content))
    return place


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


def refused_without_a_trace(archive: Path, tmp_path: Path, limits: UnpackLimits | None = None) -> LunglineError:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(LunglineError) as refused:
        unpack(archive, tmp_path / "out", limits)
    assert sorted(tmp_path.rglob("*")) == before
    return refused.value


@pytest.mark.real_data
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives_are_met_as_their_list_expects(name: str, real_data: Path, tmp_path: Path) -> None:
    """F06, F07: every archive of the collection, by the level that its list gives."""
    with (real_data / "corrupt" / "EXPECT.csv").open(encoding="utf-8", newline="") as table:
        expected = {row["file"]: row for row in csv.DictReader(table) if row["file"].startswith("zip/")}
    assert set(expected) == {f"zip/{hostile}.zip" for hostile in HOSTILE}
    archive = real_data / "corrupt" / "zip" / f"{name}.zip"
    error = LEVELS[expected[f"zip/{name}.zip"]["level"]]
    if error is not None:
        assert isinstance(refused_without_a_trace(archive, tmp_path), error)
        return
    unpacked = unpack(archive, tmp_path / "out")
    with zipfile.ZipFile(archive) as original:
        assert unpacked.files == len(original.namelist())
        assert all(
            (tmp_path / "out" / member).read_bytes() == original.read(member) for member in original.namelist()
        )
    assert bool(unpacked.nested) == (name == "nested_zip")


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "exit_code", "words"),
    [("html_instead", 6, "credentials"), ("truncated", 6, "cut short"), ("zip_bomb_small", 3, "claim")],
)
def test_the_reason_of_a_refusal_is_told(
    name: str, exit_code: int, words: str, real_data: Path, tmp_path: Path
) -> None:
    """F05, F07: a sign-in page, a transfer that broke off, and a bomb each get their own words and exit code."""
    error = refused_without_a_trace(real_data / "corrupt" / "zip" / f"{name}.zip", tmp_path)
    assert error.exit_code == exit_code
    assert words in str(error)


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
def test_a_sound_archive_is_unpacked_without_litter(suffix: str, tmp_path: Path) -> None:
    """Hidden files of macOS are skipped and counted; the archive itself stays."""
    members = {
        "set/COVID/a.png": b"A" * 70_000,
        "set/Normal/b (1).png": b"B",
        "__MACOSX/set/COVID/._a.png": b"litter",
        "set/COVID/.DS_Store": b"litter",
    }
    archive = tmp_path / f"set{suffix}"
    if suffix == ".zip":
        a_zip(archive, members)
    else:
        with tarfile.open(archive, "w:gz" if suffix == ".tar.gz" else "w") as tar:
            tar.addfile(entry("./", tarfile.DIRTYPE))
            for name, content in members.items():
                member = entry(f"./{name}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    unpacked = unpack(archive, tmp_path / "out")
    found = {
        path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()
    }
    assert found == {"set/COVID/a.png", "set/Normal/b (1).png"}
    assert (tmp_path / "out/set/COVID/a.png").read_bytes() == b"A" * 70_000
    assert (unpacked.files, unpacked.bytes, unpacked.skipped) == (2, 70_001, 2)
    assert "2 files left behind by macOS" in unpacked.notes()[0]
    assert archive.exists()


@pytest.mark.parametrize(
    "name",
    [
        "../out.png",
        "a/../../out.png",
        "/out.png",
        "C:/out.png",
        "c:out.png",
        "a\\..\\out.png",
        "a\x1bb.png",
        ".",
    ],
)
def test_one_dangerous_name_refuses_the_whole_archive(name: str, tmp_path: Path) -> None:
    """F06: zip and tar alike; the sound members before it are not written either."""
    error = refused_without_a_trace(a_zip(tmp_path / "a.zip", {"good.png": b"1", name: b"2"}), tmp_path)
    assert error.exit_code == 3
    refused_without_a_trace(a_tar(tmp_path / "a.tar", entry("good.png"), entry(name), content=b"2"), tmp_path)


@pytest.mark.parametrize(
    "member",
    [
        entry("link", tarfile.SYMTYPE, "/etc/passwd"),
        entry("link", tarfile.SYMTYPE, "good.png"),
        entry("hard", tarfile.LNKTYPE, "good.png"),
        entry("pipe", tarfile.FIFOTYPE),
        entry("disk", tarfile.BLKTYPE),
        entry("terminal", tarfile.CHRTYPE),
    ],
    ids=["link-out", "link-in", "hard-link", "fifo", "block", "character"],
)
def test_links_and_devices_refuse_a_tar(member: tarfile.TarInfo, tmp_path: Path) -> None:
    """F06: even a link that stays inside; no dataset needs one."""
    error = refused_without_a_trace(a_tar(tmp_path / "a.tar", entry("good.png"), member), tmp_path)
    assert "link, a device" in error.what


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_refuse_a_zip(kind: int, tmp_path: Path) -> None:
    """F06: they hide in the upper half of the attributes."""
    special = zipfile.ZipInfo("a.png")
    special.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(special, "/etc/passwd")
    assert "link or a device" in refused_without_a_trace(tmp_path / "a.zip", tmp_path).what


@pytest.mark.parametrize(
    "names",
    [("a/x.png", "A/y.png"), ("a.png", "A.PNG"), ("x", "x/y.png"), ("x/y.png", "x"), ("é.png", "e\u0301.png")],
    ids=["folders", "files", "file-then-folder", "folder-then-file", "unicode"],
)
def test_names_that_become_one_on_other_systems_are_refused(names: tuple[str, str], tmp_path: Path) -> None:
    """F06: nothing is overwritten in silence on a file system that ignores case."""
    error = refused_without_a_trace(a_zip(tmp_path / "a.zip", dict.fromkeys(names, b"1")), tmp_path)
    assert "collides" in error.what


def test_a_name_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    """F06: the second would overwrite the first."""
    refused_without_a_trace(a_tar(tmp_path / "a.tar", entry("a.png"), entry("a.png"), content=b"1"), tmp_path)


def test_an_existing_folder_is_not_mixed_with(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.png").write_bytes(b"mine")
    with pytest.raises(UsageProblem):
        unpack(a_zip(tmp_path / "a.zip", {"mine.png": b"theirs"}), tmp_path / "out")
    assert (tmp_path / "out" / "mine.png").read_bytes() == b"mine"


def test_what_a_killed_process_left_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / "out.part").mkdir()
    (tmp_path / "out.part" / "half.png").write_bytes(b"ha")
    unpack(a_zip(tmp_path / "a.zip", {"a.png": b"1"}), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]
    assert not (tmp_path / "out.part").exists()


def test_a_download_that_is_refused_is_put_aside(tmp_path: Path) -> None:
    """F06: the next run fetches anew instead of meeting the same file again."""
    archive = a_zip(tmp_path / "a.zip", {"../a.png": b"1"})
    with pytest.raises(DataGateError):
        unpack_download(archive, tmp_path / "out")
    assert not archive.exists()
    assert (tmp_path / "a.zip.rejected").exists()
