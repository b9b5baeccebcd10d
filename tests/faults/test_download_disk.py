"""Faults F02, F08, F10 and F11: what a download does about the files that are here, and the disk they lie on."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from data_contracts.errors import DataGateError, EnvironmentProblem, ExternalServiceError, UsageProblem
from data_contracts.fetch.http import download
from data_contracts.fetch.partial import Receipt
from tests.faults.conftest import BODY, ORIGIN, SHA, TAGGED, budget, nothing_left
from tests.faults.scripted_server import Reply, ScriptedServer


def test_a_verified_copy_is_used_though_the_address_is_gone(server: ScriptedServer, target: Path) -> None:
    """F02: the copy is verified against its receipt, and that nobody was asked is said."""
    said: list[str] = []
    url = server.play("/a", Reply(BODY), Reply(status=404))
    first = download(url, target, origin=ORIGIN, sha256=SHA, budget=budget())
    again = download(url, target, origin=ORIGIN, budget=budget(), progress=lambda d, t, note: said.append(note))
    assert again == first
    assert len(server.asked) == 1
    assert "nothing was asked for" in said[-1]


def test_a_disk_too_small_is_found_before_the_transfer(server: ScriptedServer, target: Path) -> None:
    """F08: exit 5 with the bytes needed and free; nothing is written."""
    huge = Reply(b"x", headers={"Content-Length": str(10**18)}, length=False)
    with pytest.raises(EnvironmentProblem, match=f"{10**18:,} bytes") as refused:
        download(server.play("/a", huge), target, origin=ORIGIN, budget=budget())
    assert refused.value.exit_code == 5
    assert nothing_left(target)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
def test_a_disk_that_fills_up_leaves_no_part_behind(server: ScriptedServer, target: Path) -> None:
    """F08: a real ENOSPC in the middle of writing: the own part goes, exit 5."""
    target.with_name("images.zip.part").symlink_to("/dev/full")
    with pytest.raises(EnvironmentProblem, match="are free"):
        download(server.play("/a", Reply(BODY)), target, origin=ORIGIN, budget=budget())
    assert nothing_left(target)


def test_the_second_of_two_fetches_waits_and_reuses_the_file(server: ScriptedServer, target: Path) -> None:
    """F10: one transfer for two; the second says that it waits."""
    url = server.play(
        "/a", Reply(BODY, drip=0.001, cut_at=150, headers=TAGGED), Reply(BODY, headers=TAGGED, ranges=True)
    )
    said: list[str] = []
    receipts: list[Receipt] = []
    first = threading.Thread(
        target=lambda: receipts.append(download(url, target, origin=ORIGIN, sha256=SHA, budget=budget()))
    )
    first.start()
    assert server.request_came.wait(5)
    second = download(
        url, target, origin=ORIGIN, sha256=SHA, budget=budget(), progress=lambda d, t, note: said.append(note)
    )
    first.join()
    assert "waiting for it" in said[0]
    assert receipts == [second]
    assert len(server.asked) == 2


def test_a_release_that_changed_stops_with_both_hashes(server: ScriptedServer, target: Path) -> None:
    """F11: the pinned hash differs from the file that is here: exit 3, and the file is left alone."""
    url = server.play("/a", Reply(BODY))
    download(url, target, origin=ORIGIN, sha256=SHA, budget=budget())
    newer = "f" * 64
    with pytest.raises(DataGateError) as stopped:
        download(url, target, origin=ORIGIN, sha256=newer, budget=budget())
    assert SHA in stopped.value.what
    assert newer in stopped.value.what
    assert target.read_bytes() == BODY


def test_a_verified_file_that_rotted_is_found(server: ScriptedServer, target: Path) -> None:
    """F11: a copy is compared with its receipt before it is used again."""
    url = server.play("/a", Reply(BODY))
    download(url, target, origin=ORIGIN, budget=budget())
    target.write_bytes(BODY[:-1] + b"!")
    with pytest.raises(DataGateError, match=SHA):
        download(url, target, origin=ORIGIN, budget=budget())


def test_a_file_of_unknown_origin_is_neither_used_nor_overwritten(server: ScriptedServer, target: Path) -> None:
    target.write_bytes(b"somebody's own")
    with pytest.raises(UsageProblem, match="nothing says what it should contain"):
        download(server.play("/a", Reply(BODY)), target, origin=ORIGIN, budget=budget())
    assert target.read_bytes() == b"somebody's own"


def test_messages_do_not_repeat_signatures_of_addresses(server: ScriptedServer, target: Path) -> None:
    url = server.play("/a?signature=SECRET", Reply(status=404))
    with pytest.raises(ExternalServiceError) as refused:
        download(url, target, origin=ORIGIN, budget=budget())
    assert "SECRET" not in str(refused.value)


def test_what_lies_beside_a_part_says_which_version_it_is(server: ScriptedServer, target: Path) -> None:
    url = server.play("/a", Reply(BODY, headers=TAGGED, cut_at=1000))
    with pytest.raises(ExternalServiceError):
        download(url, target, origin=ORIGIN, budget=budget(attempts=1))
    facts = json.loads(target.with_name("images.zip.part.json").read_text())
    assert facts == {"address": url, "size": len(BODY), "etag": '"one"', "last_modified": ""}
