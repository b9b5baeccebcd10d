"""Fault F04: how often and how long a server that is busy or down is asked again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from data_contracts.errors import ExternalServiceError
from data_contracts.fetch.http import download
from data_contracts.fetch.retry import RetryBudget, retry_after_seconds
from tests.faults.conftest import BODY, ORIGIN, TAGGED, Waits, budget
from tests.faults.scripted_server import Reply, ScriptedServer


def test_retry_after_is_honoured(server: ScriptedServer, target: Path) -> None:
    """F04: 429 with seconds; exactly those are waited."""
    waits = Waits()
    url = server.play("/a", Reply(status=429, headers={"Retry-After": "7"}), Reply(BODY))
    download(url, target, origin=ORIGIN, budget=budget(waits))
    assert waits.seconds == [7.0]


def test_retry_after_is_read_in_both_of_its_forms() -> None:
    """F04: seconds or an HTTP date; a date gone by means now, nonsense means no wish."""
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert retry_after_seconds("120") == 120.0
    assert retry_after_seconds(soon) == pytest.approx(90, abs=3)
    assert retry_after_seconds("Fri, 31 Dec 1999 23:59:59 GMT") == 0.0
    assert retry_after_seconds("in a while") is None
    assert retry_after_seconds(None) is None


def test_a_wait_beyond_the_budget_is_not_begun(server: ScriptedServer, target: Path) -> None:
    """F04: the server asks for an hour, the budget is five minutes: given up at once, and both are said."""
    waits = Waits()
    with pytest.raises(ExternalServiceError, match="3600 s more") as spent:
        download(
            server.play("/a", Reply(status=429, headers={"Retry-After": "3600"})),
            target,
            origin=ORIGIN,
            budget=budget(waits),
        )
    assert waits.seconds == []
    assert "300 s of waiting" in spent.value.why


def test_passing_server_errors_are_waited_out(server: ScriptedServer, target: Path) -> None:
    """F04: 503 twice, then fine; waits double and carry jitter."""
    waits = Waits()
    url = server.play("/a", Reply(status=503), Reply(status=503), Reply(BODY))
    download(url, target, origin=ORIGIN, budget=budget(waits))
    assert target.read_bytes() == BODY
    assert 0.5 <= waits.seconds[0] <= 1.0 <= waits.seconds[1] <= 2.0


def test_tries_and_waits_are_bounded(server: ScriptedServer, target: Path) -> None:
    """F04: a server that stays down ends with exit 6 after the stated number of tries and the stated waiting."""
    url = server.play("/a", Reply(status=503))
    with pytest.raises(ExternalServiceError, match="after 4 tries") as by_tries:
        download(url, target, origin=ORIGIN, budget=budget(attempts=4))
    assert by_tries.value.exit_code == 6
    assert len(server.asked) == 4
    waits = Waits()
    with pytest.raises(ExternalServiceError):
        download(url, target, origin=ORIGIN, budget=budget(waits, attempts=100, waiting_seconds=10))
    assert sum(waits.seconds) <= 10


def test_a_machine_without_a_network_is_told_so_in_seconds(target: Path) -> None:
    """F56: a name that does not resolve, and an address where nobody listens: two tries, not eight."""
    for url in ("http://no-such-host.invalid/a.zip", "http://127.0.0.1:9/a.zip"):
        waits = Waits()
        with pytest.raises(ExternalServiceError, match="after 2 tries") as given_up:
            download(url, target, origin=ORIGIN, budget=budget(waits))
        assert given_up.value.exit_code == 6
        assert sum(waits.seconds) <= 1


def test_a_network_that_goes_away_on_the_way_is_waited_for(server: ScriptedServer, target: Path) -> None:
    """F03: once a server has answered, refused connections cost as many tries as any other fault."""
    url = server.play("/a", Reply(BODY, headers=TAGGED, ranges=True, cut_at=100))

    def sleep(seconds: float) -> None:
        server.stop_listening()

    with pytest.raises(ExternalServiceError, match="after 5 tries"):
        download(url, target, origin=ORIGIN, budget=RetryBudget(sleep=sleep, attempts=5))
