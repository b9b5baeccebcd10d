"""Fault F01: what fetching from Kaggle does without an account, without its package, and when it is refused."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import time
import zipfile
from pathlib import Path

import pytest

from data_contracts.errors import DataGateError, EnvironmentProblem, ExternalServiceError
from data_contracts.fetch import FETCHABLE, Places, fetch_source, kaggle
from data_contracts.fetch.retry import RetryBudget
from data_contracts.sources import SOURCES
from tests.faults.conftest import Waits, budget
from tests.faults.scripted_server import Reply, ScriptedServer

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
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: ScriptedServer
) -> None:
    """F01: exit 5; the package is needed for Kaggle only."""
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(EnvironmentProblem, match="install kagglehub"):
        fetch_source("radiography", tmp_path, budget=HASTE, places=Places(kaggle=server.address + "/"))


API = "/v1/datasets.DatasetApiService"
ANSWER = {"Content-Type": "application/json"}
FOLDERS = ("COVID", "Lung_Opacity", "Normal", "Viral Pneumonia")


def archive(*names: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as opened:
        for name in names:
            opened.writestr(name, b"an image")
    return packed.getvalue()


DATASET = archive(*(f"COVID-19_Radiography_Dataset/{name}/images/{name}-1.png" for name in FOLDERS))


@pytest.fixture
def kaggle_at(server: ScriptedServer, account: None, monkeypatch: pytest.MonkeyPatch) -> Places:
    """The real kagglehub, whose requests go to the scripted server: version 5, in an archive at a signed address."""
    from kagglesdk import kaggle_env

    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, server.address)
    server.play(f"{API}/GetDataset", Reply(json.dumps({"currentVersionNumber": 5}).encode(), headers=ANSWER))
    server.play(f"{API}/DownloadDataset", Reply(status=302, headers={"Location": "/archive.zip?signature=SECRET"}))
    server.play("/archive.zip?signature=SECRET", Reply(DATASET, headers={"ETag": '"5"'}, ranges=True))
    server.play("/", Reply(b"welcome"))
    return Places(kaggle=server.address + "/")


def test_what_kaggle_gives_is_laid_where_the_adapter_finds_it(kaggle_at: Places, tmp_path: Path) -> None:
    """Version and hash are noted, the signature of the address is not, and the archive is gone."""
    fetched = fetch_source("radiography", tmp_path, budget=HASTE, places=kaggle_at)
    assert fetched.folder == tmp_path / "covid19-radiography-database"
    assert fetched.missing == ""
    assert fetched.notes == [
        "Kaggle version 5 of tawsifurrahman/covid19-radiography-database",
        f"version-5.zip: sha256 {hashlib.sha256(DATASET).hexdigest()}",
    ]
    assert SOURCES["radiography"].find(tmp_path) == fetched.folder / "COVID-19_Radiography_Dataset"
    assert [path for path in tmp_path.rglob("*") if path.suffix == ".zip"] == []


def test_f03_an_archive_from_kaggle_goes_on_where_it_broke_off(
    kaggle_at: Places, server: ScriptedServer, tmp_path: Path
) -> None:
    """F03: with Range, in a later run as well, though the signature of the address is another by then."""
    tagged = {"ETag": '"5"'}
    server.play("/archive.zip?signature=SECRET", Reply(DATASET, headers=tagged, ranges=True, cut_at=300))
    with pytest.raises(ExternalServiceError, match="2 tries"):
        fetch_source("radiography", tmp_path, budget=HASTE, places=kaggle_at)
    server.play(f"{API}/DownloadDataset", Reply(status=302, headers={"Location": "/archive.zip?signature=OTHER"}))
    server.play("/archive.zip?signature=OTHER", Reply(DATASET, headers=tagged, ranges=True))
    fetch_source("radiography", tmp_path, budget=HASTE, places=kaggle_at)
    assert server.asked[-1].headers["range"] == "bytes=600-"


def test_f06_an_archive_from_kaggle_is_unpacked_under_our_rules(
    kaggle_at: Places, server: ScriptedServer, tmp_path: Path
) -> None:
    """F06: a member that leaves its folder refuses the whole archive."""
    server.play("/archive.zip?signature=SECRET", Reply(archive("a.png", "../../outside.png")))
    with pytest.raises(DataGateError, match="outside"):
        fetch_source("radiography", tmp_path, budget=HASTE, places=kaggle_at)
    assert list(tmp_path.rglob("*.png")) == []


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_by_kaggle_names_status_and_page_but_no_secret(
    kaggle_at: Places, server: ScriptedServer, tmp_path: Path, status: int
) -> None:
    """F01: terms not accepted, a wrong key, a dataset withdrawn: no second try."""
    server.play(f"{API}/GetDataset", Reply(b"{}", status=status, headers=ANSWER))
    with pytest.raises(ExternalServiceError, match=f"status {status}") as refused:
        fetch_source("radiography", tmp_path, budget=HASTE, places=kaggle_at)
    assert "kaggle.com/datasets/tawsifurrahman" in str(refused.value)
    assert "SECRET" not in str(refused.value)
    assert len([asked for asked in server.asked if asked.path.endswith("GetDataset")]) == 1


def test_f04_a_busy_kaggle_is_asked_again(kaggle_at: Places, server: ScriptedServer, tmp_path: Path) -> None:
    version = Reply(json.dumps({"currentVersionNumber": 5}).encode(), headers=ANSWER)
    server.play(f"{API}/GetDataset", Reply(status=503), version)
    assert fetch_source("radiography", tmp_path, budget=HASTE, places=kaggle_at).missing == ""


@pytest.mark.usefixtures("account")
def test_without_a_network_kaggle_is_given_up_at_once(tmp_path: Path) -> None:
    """F56: nobody listens at the address; kagglehub is not even asked."""
    waits = Waits()
    with pytest.raises(ExternalServiceError, match="no connection could be made"):
        fetch_source("radiography", tmp_path, budget=budget(waits), places=Places(kaggle="http://127.0.0.1:9/"))
    assert sum(waits.seconds) <= 2
