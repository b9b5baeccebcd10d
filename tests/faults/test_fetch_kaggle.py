"""Fault F01: what fetching from Kaggle does without an account, without its package, and when it is refused."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from data_contracts.errors import EnvironmentProblem, ExternalServiceError
from data_contracts.fetch import FETCHABLE, fetch_source, kaggle
from data_contracts.fetch.retry import RetryBudget
from data_contracts.sources import SOURCES

HASTE = RetryBudget(attempts=2, sleep=lambda seconds: None)
pytestmark = pytest.mark.usefixtures("without_an_account")


@pytest.mark.parametrize(
    "name", [name for name, published in FETCHABLE.items() if published.kaggle and name != "nih"]
)
def test_kaggle_without_credentials_ends_at_once(name: str, tmp_path: Path) -> None:
    """F01: exit 6 within a second, with the dataset's page and every place that was looked at."""
    started = time.monotonic()
    with pytest.raises(ExternalServiceError) as refused:
        fetch_source(name, tmp_path, budget=HASTE)
    assert time.monotonic() - started < 1
    places = (f"kaggle.com/datasets/{FETCHABLE[name].kaggle}", "KAGGLE_USERNAME", "kaggle.json", "access_token")
    assert [place for place in places if place not in str(refused.value)] == []


def test_credentials_are_found_where_kaggle_looks_and_never_repeated(
    without_an_account: Path, tmp_path: Path
) -> None:
    """F01: variables, a configured folder, the home folder; a file that others can read is warned of."""
    secret = {"username": "somebody", "key": "SECRET"}
    assert kaggle.find_credentials({}).found == ""
    assert kaggle.find_credentials({"KAGGLE_USERNAME": "somebody"}).found == ""
    assert kaggle.find_credentials({"KAGGLE_USERNAME": "a", "KAGGLE_KEY": "SECRET"}).found.startswith(
        "KAGGLE_USER"
    )
    table = tmp_path / "kaggle.json"
    configured = {"KAGGLE_CONFIG_DIR": str(tmp_path)}
    for content, problem in (("{", "is not JSON"), ('{"username": "SECRET"}', "lacks username or key")):
        table.write_text(content)
        search = kaggle.find_credentials(configured)
        assert search.found == ""
        assert problem in "".join(search.looked_at)
    table.write_text(json.dumps(secret))
    table.chmod(0o644)
    search = kaggle.find_credentials(configured)
    assert search.found == str(table)
    assert "chmod 600" in search.warnings[0]
    assert "SECRET" not in repr(search)
    token = without_an_account / ".kaggle" / "access_token"
    token.parent.mkdir()
    token.write_text("SECRET")
    token.chmod(0o600)
    search = kaggle.find_credentials({})
    assert (search.found, search.warnings) == (str(token), [])
    assert "SECRET" not in repr(search)


@pytest.fixture
def account(without_an_account: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAGGLE_USERNAME", "somebody")
    monkeypatch.setenv("KAGGLE_KEY", "SECRET")


@pytest.mark.usefixtures("account")
def test_kaggle_without_its_package_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """F01: exit 5; the package is needed for Kaggle only."""
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(EnvironmentProblem, match="install kagglehub"):
        fetch_source("radiography", tmp_path, budget=HASTE)


def kagglehub_that(does: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a package kagglehub with the one function that is called, in the signature of version 1."""
    package = home / "site"
    package.mkdir()
    (package / "kagglehub.py").write_text(
        "import os, pathlib, requests\n"
        "def dataset_download(handle, path=None, *, force_download=False, output_dir=None):\n"
        f"    {does}\n"
    )
    monkeypatch.syspath_prepend(str(package))


KAGGLE_DATASET = """
    folder = pathlib.Path(os.environ["KAGGLEHUB_CACHE"], "datasets", handle, "versions", "5")
    images = folder / "COVID-19_Radiography_Dataset"
    for name in ("COVID", "Lung_Opacity", "Normal", "Viral Pneumonia"):
        (images / name / "images").mkdir(parents=True)
        (images / name / "images" / f"{name}-1.png").write_bytes(b"an image")
    return str(folder)
"""


@pytest.mark.usefixtures("account")
def test_what_kaggle_gives_is_laid_where_the_adapter_finds_it(
    without_an_account: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The version is noted, and nothing is left in the cache of the home folder."""
    kagglehub_that(KAGGLE_DATASET.strip(), without_an_account, monkeypatch)
    fetched = fetch_source("radiography", tmp_path, budget=HASTE)
    assert fetched.folder == tmp_path / "covid19-radiography-database"
    assert fetched.missing == ""
    assert fetched.notes[0].startswith("Kaggle version 5 of tawsifurrahman/")
    assert SOURCES["radiography"].find(tmp_path) == fetched.folder / "COVID-19_Radiography_Dataset"


@pytest.mark.usefixtures("account")
def test_a_refusal_by_kaggle_names_status_and_page_but_no_secret(
    without_an_account: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """F01: terms not accepted; kagglehub raises requests' HTTPError with the answer."""
    refusal = "a = requests.Response(); a.status_code = 403; raise requests.HTTPError('key SECRET', response=a)"
    kagglehub_that(refusal, without_an_account, monkeypatch)
    with pytest.raises(ExternalServiceError, match="status 403") as refused:
        fetch_source("radiography", tmp_path, budget=HASTE)
    assert "kaggle.com/datasets/tawsifurrahman" in str(refused.value)
    assert "SECRET" not in str(refused.value)
