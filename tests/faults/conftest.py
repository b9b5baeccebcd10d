"""Shared by the tests of downloads: a file and its server, a budget that waits for nothing, a home without accounts."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_contracts.fetch.answers import Origin
from data_contracts.fetch.retry import RetryBudget
from tests.faults.scripted_server import ScriptedServer

BODY = bytes(range(256)) * 400
SHA = hashlib.sha256(BODY).hexdigest()
TAGGED = {"ETag": '"one"', "Content-Type": "application/zip"}
KAGGLE = ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_CONFIG_DIR", "KAGGLE_API_TOKEN", "KAGGLEHUB_CACHE")
ORIGIN = Origin("https://example.org/the-dataset", "looked for in TOKEN_VARIABLE", "some/file.py")


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        yield running


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "images.zip"


class Waits:
    """Stands in for sleeping: notes how long, and returns at once."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def budget(waits: Waits | None = None, **settings: float) -> RetryBudget:
    return RetryBudget(sleep=waits or Waits(), **{"read_seconds": 5.0, **settings})  # type: ignore[arg-type]


def nothing_left(target: Path) -> bool:
    return not any(path.suffix != ".lock" for path in target.parent.iterdir())


@pytest.fixture
def without_an_account(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder of its own, so that nobody's credentials are read; a package that tests write goes there too."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    for name in KAGGLE:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delitem(sys.modules, "kagglehub", raising=False)
    return home
