"""Faults F01 to F05: what a download does when the other side misbehaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_contracts.errors import ExternalServiceError
from data_contracts.fetch.http import download
from data_contracts.fetch.partial import Receipt, receipt_place
from tests.faults.conftest import BODY, ORIGIN, SHA, TAGGED, budget, nothing_left
from tests.faults.scripted_server import Reply, ScriptedServer


def test_a_sound_file_gets_its_name_and_a_receipt(server: ScriptedServer, target: Path) -> None:
    receipt = download(
        server.play("/a", Reply(BODY)),
        target,
        origin=ORIGIN,
        sha256=SHA,
        expected_bytes=len(BODY),
        budget=budget(),
    )
    assert target.read_bytes() == BODY
    assert receipt == Receipt(address=server.address + "/a", bytes=len(BODY), sha256=SHA)
    assert Receipt.beside(target) == receipt
    assert {path.name for path in target.parent.iterdir()} == {
        *(target.name, receipt_place(target).name, f".{target.name}.lock")
    }


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_is_final_and_names_page_and_credentials(
    status: int, server: ScriptedServer, target: Path
) -> None:
    """F01: no second try, exit 6, nothing cached."""
    with pytest.raises(ExternalServiceError) as refused:
        download(server.play("/a", Reply(status=status)), target, origin=ORIGIN, budget=budget())
    assert (ORIGIN.page in str(refused.value), ORIGIN.credentials in str(refused.value)) == (True, True)
    assert refused.value.exit_code == 6
    assert len(server.asked) == 1
    assert nothing_left(target)


@pytest.mark.parametrize("status", [404, 410])
def test_a_moved_file_is_reported_with_the_place_to_correct(
    status: int, server: ScriptedServer, target: Path
) -> None:
    """F02: exit 6 at once; the message names the file of this project that holds the address."""
    with pytest.raises(ExternalServiceError, match=ORIGIN.address_kept_in):
        download(server.play("/a", Reply(status=status)), target, origin=ORIGIN, budget=budget())
    assert len(server.asked) == 1


def test_a_broken_connection_goes_on_where_it_stopped(server: ScriptedServer, target: Path) -> None:
    """F03: cut at 40 %, resumed by Range under If-Range; the final name appears once, at the end."""
    cut = len(BODY) * 2 // 5
    url = server.play("/a", Reply(BODY, headers=TAGGED, cut_at=cut), Reply(BODY, headers=TAGGED, ranges=True))
    named_early: list[bool] = []

    def watch(done: int, total: int, note: str) -> None:
        if done < len(BODY):
            named_early.append(target.exists())

    download(url, target, origin=ORIGIN, sha256=SHA, budget=budget(), progress=watch)
    assert target.read_bytes() == BODY
    assert server.asked[1].headers["range"] == f"bytes={cut}-"
    assert server.asked[1].headers["if-range"] == '"one"'
    assert named_early
    assert not any(named_early)


def test_a_server_without_ranges_sends_everything_again(server: ScriptedServer, target: Path) -> None:
    """F03: a 200 in answer to a Range request replaces the part instead of being appended to it."""
    url = server.play("/a", Reply(BODY, headers=TAGGED, cut_at=1000), Reply(BODY, headers=TAGGED))
    download(url, target, origin=ORIGIN, budget=budget())
    assert "range" in server.asked[1].headers
    assert target.read_bytes() == BODY


def test_two_versions_are_never_joined(server: ScriptedServer, target: Path) -> None:
    """F03: the file changed between the halves; a server that ignores If-Range is found out by the new ETag."""
    changed = BODY[::-1]
    new = {**TAGGED, "ETag": '"two"'}
    careless = Reply(
        status=206,
        body=changed[1000:],
        headers={**new, "Content-Range": f"bytes 1000-{len(BODY) - 1}/{len(BODY)}"},
    )
    url = server.play("/a", Reply(BODY, headers=TAGGED, cut_at=1000), careless, Reply(changed, headers=new))
    download(url, target, origin=ORIGIN, budget=budget())
    assert target.read_bytes() == changed
    assert "range" not in server.asked[2].headers


def test_without_validator_or_hash_a_part_is_not_continued(server: ScriptedServer, target: Path) -> None:
    """F03: nothing could tell a mixture of two versions from one file."""
    url = server.play("/a", Reply(BODY, cut_at=1000), Reply(BODY, ranges=True))
    download(url, target, origin=ORIGIN, budget=budget())
    assert "range" not in server.asked[1].headers
    assert target.read_bytes() == BODY


def test_a_range_the_server_cannot_serve_starts_anew(server: ScriptedServer, target: Path) -> None:
    """F03: 416, because the file on the server became shorter than the part."""
    shorter = Reply(b"short", headers={**TAGGED, "ETag": '"two"'})
    url = server.play("/a", Reply(BODY, headers=TAGGED, cut_at=1000), Reply(status=416), shorter)
    download(url, target, origin=ORIGIN, budget=budget())
    assert target.read_bytes() == b"short"


def test_a_new_process_goes_on_with_the_part_of_a_killed_one(server: ScriptedServer, target: Path) -> None:
    """F03: what was transferred before the budget ended is not transferred again."""
    url = server.play("/a", Reply(BODY, headers=TAGGED, cut_at=1000), Reply(BODY, headers=TAGGED, ranges=True))
    with pytest.raises(ExternalServiceError, match=r"gave up after 1 try .* connection failed"):
        download(url, target, origin=ORIGIN, budget=budget(attempts=1))
    assert not target.exists()
    download(url, target, origin=ORIGIN, budget=budget(attempts=1))
    assert server.asked[1].headers["range"] == "bytes=1000-"
    assert target.read_bytes() == BODY


def test_a_silent_server_times_out_and_is_asked_again(server: ScriptedServer, target: Path) -> None:
    """F03: it drips, then falls silent; the read timeout ends the wait and the rest is resumed."""
    url = server.play(
        "/a",
        Reply(BODY, headers=TAGGED, drip=0.001, stall_at=20),
        Reply(BODY, headers=TAGGED, ranges=True),
    )
    download(url, target, origin=ORIGIN, sha256=SHA, budget=budget(read_seconds=0.2))
    assert server.asked[1].headers["range"] == "bytes=20-"
    assert target.read_bytes() == BODY


def test_a_body_that_only_drips_is_given_up(server: ScriptedServer, target: Path) -> None:
    """F03: no single wait is long enough to time out, yet the file would never arrive."""
    slow = budget(read_seconds=0.1, least_bytes_per_second=10_000, attempts=2)
    with pytest.raises(ExternalServiceError, match="bytes came in"):
        download(server.play("/a", Reply(BODY, headers=TAGGED, drip=0.01)), target, origin=ORIGIN, budget=slow)
    assert not target.exists()


def test_a_file_of_unknown_length_without_hash_is_not_trusted(server: ScriptedServer, target: Path) -> None:
    """F03: its end could not be told from a broken connection."""
    with pytest.raises(ExternalServiceError, match="how long"):
        download(server.play("/a", Reply(BODY, length=False)), target, origin=ORIGIN, budget=budget())


@pytest.mark.parametrize(
    "page",
    [
        Reply(b"<html>Sign in</html>", headers={"Content-Type": "text/html; charset=utf-8"}),
        Reply(b"\n<!DOCTYPE html><p>Sign in", headers={"Content-Type": "application/zip"}),
    ],
    ids=["by-type", "by-body"],
)
def test_a_web_page_is_not_taken_for_the_file(page: Reply, server: ScriptedServer, target: Path) -> None:
    """F05: both facts are told, the page is put aside, and the final name stays free."""
    with pytest.raises(ExternalServiceError, match="web page") as refused:
        download(server.play("/a", page), target, origin=ORIGIN, expected_bytes=len(BODY), budget=budget())
    assert page.headers["Content-Type"] in refused.value.what
    assert page.body[:10].decode().strip() in refused.value.what
    assert not target.exists()
    assert target.with_name("images.zip.rejected").read_bytes() == page.body


def test_a_web_page_in_the_middle_does_not_cost_the_part(server: ScriptedServer, target: Path) -> None:
    """F05: a sign-in that expired half-way; what was transferred before is still of use."""
    page = Reply(b"<html>Sign in</html>", headers={"Content-Type": "text/html"})
    url = server.play(
        "/a", Reply(BODY, headers=TAGGED, cut_at=1000), page, Reply(BODY, headers=TAGGED, ranges=True)
    )
    with pytest.raises(ExternalServiceError, match="web page"):
        download(url, target, origin=ORIGIN, budget=budget())
    download(url, target, origin=ORIGIN, budget=budget())
    assert server.asked[2].headers["range"] == "bytes=1000-"
    assert target.read_bytes() == BODY


def test_wrong_bytes_are_refused_with_both_hashes(server: ScriptedServer, target: Path) -> None:
    """F05: the file is put aside and never gets the final name."""
    expected = "0" * 64
    with pytest.raises(ExternalServiceError) as refused:
        download(server.play("/a", Reply(BODY)), target, origin=ORIGIN, sha256=expected, budget=budget())
    assert SHA in refused.value.what
    assert expected in refused.value.what
    assert not target.exists()
    assert target.with_name("images.zip.rejected").read_bytes() == BODY
    assert not receipt_place(target).exists()


def test_another_size_than_expected_is_refused_before_the_transfer(server: ScriptedServer, target: Path) -> None:
    """F05: both sizes are told."""
    with pytest.raises(ExternalServiceError, match=f"announces {len(BODY):,} bytes; 5 are expected"):
        download(server.play("/a", Reply(BODY)), target, origin=ORIGIN, expected_bytes=5, budget=budget())
    assert nothing_left(target)
