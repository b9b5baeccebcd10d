"""Shared by the tests of remote artefacts: one S3 server, a door before it, and no waiting between tries."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from tests.object_store import ObjectStore
from tests.store_door import Door


@pytest.fixture(scope="session")
def s3() -> Iterator[ObjectStore]:
    with ObjectStore() as store:
        yield store


@pytest.fixture
def door(s3: ObjectStore) -> Iterator[Door]:
    with Door(f"127.0.0.1:{s3.port}") as opened:
        yield opened


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long this process would have waited between tries."""
    from steps import remote_folder

    seconds: list[float] = []
    monkeypatch.setattr(remote_folder, "BUDGET", dataclasses.replace(remote_folder.BUDGET, sleep=seconds.append))
    return seconds
