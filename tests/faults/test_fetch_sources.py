"""Faults F01, F02, F05 and F10 over whole datasets: what `lungline data fetch` leaves in the data folder."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest

from data_contracts.errors import ExternalServiceError, UsageProblem
from data_contracts.fetch import NOTES_FILE, STAGING, Places, fetch_source, nih_box
from data_contracts.fetch.retry import RetryBudget
from data_contracts.sources import SOURCES
from pipelines.commands import fetch as command
from tests.faults.scripted_server import Reply, ScriptedServer

CLASSES = ("COVID-19", "Normal", "Pneumonia-Bacterial", "Pneumonia-Viral")
FILES = "/datasets/9xkhgts2s6/files?folder_id=root&version=4"
HASTE = RetryBudget(attempts=2, sleep=lambda seconds: None)
pytestmark = pytest.mark.usefixtures("without_an_account")


def mendeley_zip() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in CLASSES:
            archive.writestr(f"Curated X-Ray Dataset/{name}/{name} (1).jpg", b"an image")
    return packed.getvalue()


def mendeley_entry(server: ScriptedServer, content: bytes, **changes: object) -> dict[str, object]:
    details = {
        "sha256_hash": hashlib.sha256(content).hexdigest(),
        "size": len(content),
        "download_url": f"{server.address}/public-files/1",
    }
    return {
        "filename": changes.pop("filename", "Curated X-Ray Dataset.zip"),
        "id": "1",
        "content_details": {**details, **changes},
    }


def play_mendeley(server: ScriptedServer, *entries: dict[str, object]) -> Places:
    server.play(FILES, Reply(json.dumps(entries).encode(), headers={"Content-Type": "application/json"}))
    return Places(mendeley=server.address)


def test_mendeley_is_listed_verified_unpacked_and_found_by_its_adapter(
    server: ScriptedServer, tmp_path: Path
) -> None:
    content = mendeley_zip()
    places = play_mendeley(server, mendeley_entry(server, content))
    server.play("/public-files/1", Reply(content))
    fetched = fetch_source("mendeley", tmp_path, budget=HASTE, places=places)
    assert (fetched.folder, fetched.missing) == (tmp_path / "mendeley-9xkhgts2s6", "")
    assert hashlib.sha256(content).hexdigest() in (fetched.folder / NOTES_FILE).read_text()
    folder = SOURCES["mendeley"].find(tmp_path)
    assert folder is not None
    assert len(SOURCES["mendeley"].read(folder, tmp_path).rows) == 4
    assert server.asked[0].headers["accept"] == "application/vnd.mendeley-public-dataset.1+json"
    assert [path.suffix for path in (tmp_path / STAGING).iterdir()] == [".lock"]


def test_a_dataset_that_is_there_is_not_asked_for_again(server: ScriptedServer, tmp_path: Path) -> None:
    """F02, F10: the second fetch, or one after the service closed, uses what is there."""
    content = mendeley_zip()
    places = play_mendeley(server, mendeley_entry(server, content))
    server.play("/public-files/1", Reply(content))
    fetch_source("mendeley", tmp_path, budget=HASTE, places=places)
    asked = len(server.asked)
    again = fetch_source("mendeley", tmp_path, budget=HASTE, places=places)
    assert again.already_there
    assert len(server.asked) == asked


def test_a_dataset_that_a_person_put_there_is_left_alone(tmp_path: Path) -> None:
    for name in CLASSES:
        (tmp_path / "mine" / name).mkdir(parents=True)
        (tmp_path / "mine" / name / "1.jpg").write_bytes(b"an image")
    fetched = fetch_source("mendeley", tmp_path, budget=HASTE, places=Places(mendeley="http://127.0.0.1:9"))
    assert (fetched.already_there, fetched.folder) == (True, tmp_path / "mine")


def test_a_wrong_hash_leaves_no_dataset(server: ScriptedServer, tmp_path: Path) -> None:
    """F05: no folder that an adapter could take for the dataset."""
    content = mendeley_zip()
    places = play_mendeley(server, mendeley_entry(server, content, sha256_hash="0" * 64))
    server.play("/public-files/1", Reply(content))
    with pytest.raises(ExternalServiceError, match="0000"):
        fetch_source("mendeley", tmp_path, budget=HASTE, places=places)
    assert [path.name for path in tmp_path.iterdir()] == [STAGING]
    assert SOURCES["mendeley"].find(tmp_path) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"filename": "../out.zip"},
        {"filename": "a/b.zip"},
        {"sha256_hash": "short"},
        {"download_url": "file:///etc/x"},
    ],
    ids=["climbing-name", "path", "hash", "address"],
)
def test_a_list_that_is_not_as_expected_is_refused(
    changes: dict[str, object], server: ScriptedServer, tmp_path: Path
) -> None:
    """F05: names and addresses in the list come from outside."""
    places = play_mendeley(server, mendeley_entry(server, b"", **changes))
    with pytest.raises(ExternalServiceError, match="list of files"):
        fetch_source("mendeley", tmp_path, budget=HASTE, places=places)
    assert len(server.asked) == 1


def test_a_list_that_moved_names_the_file_to_correct(server: ScriptedServer, tmp_path: Path) -> None:
    """F02: exit 6, and where in this project the address is kept."""
    with pytest.raises(ExternalServiceError, match=r"data_contracts/fetch/mendeley\.py"):
        fetch_source("mendeley", tmp_path, budget=HASTE, places=Places(mendeley=server.address))


def play_nih(server: ScriptedServer, broken: int = 0) -> Places:
    for number, shared_id in enumerate(nih_box.ARCHIVES, start=1):
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            archive.addfile(tarfile.TarInfo(f"images/{number:08d}_000.png"), io.BytesIO())
        server.play(f"/{shared_id}.gz", Reply(packed.getvalue(), status=404 if number == broken else 200))
    return Places(nih_box=server.address)


def test_nih_without_an_account_comes_from_its_archives_and_says_that_tables_are_missing(
    server: ScriptedServer, tmp_path: Path
) -> None:
    fetched = fetch_source("nih", tmp_path, budget=HASTE, places=play_nih(server))
    folders = sorted(path.name for path in fetched.folder.iterdir() if path.is_dir())
    assert folders == [f"images_{number:03d}" for number in range(1, 13)]
    assert "Data_Entry_2017.csv" in fetched.missing


def test_nih_goes_on_after_the_archives_it_has_and_keeps_the_table_a_person_put_there(
    server: ScriptedServer, tmp_path: Path
) -> None:
    """F02, F03: one archive is gone; when it is back, only what was missing is fetched."""
    (tmp_path / "nih-chest-xrays").mkdir()
    (tmp_path / "nih-chest-xrays" / "Data_Entry_2017.csv").write_text("Image Index\n")
    with pytest.raises(ExternalServiceError, match=r"nih_box\.py"):
        fetch_source("nih", tmp_path, budget=HASTE, places=play_nih(server, broken=9))
    assert len(list((tmp_path / "nih-chest-xrays").iterdir())) == 1
    server.asked.clear()
    fetched = fetch_source("nih", tmp_path, budget=HASTE, places=play_nih(server))
    assert len(server.asked) == 4
    assert fetched.missing == ""
    assert len(list(fetched.folder.glob("images_0*/images/*.png"))) == 12
    assert (fetched.folder / "Data_Entry_2017.csv").exists()


def test_a_process_killed_while_moving_folders_is_finished_by_the_next(tmp_path: Path) -> None:
    """F10: half of the folders have their place; the others wait in the staging folder, and nobody is asked."""
    final, content = tmp_path / "nih-chest-xrays", tmp_path / STAGING / "nih-chest-xrays" / "content"
    for folder in (final / "images_001", content / "images_002"):
        folder.mkdir(parents=True)
        (folder / "1.png").write_bytes(b"an image")
    (final / "Data_Entry_2017.csv").write_text("Image Index\n")
    fetched = fetch_source("nih", tmp_path, budget=HASTE, places=Places(nih_box="http://127.0.0.1:9"))
    assert not fetched.already_there
    names = {path.name for path in final.iterdir()}
    assert names == {"Data_Entry_2017.csv", NOTES_FILE, "images_001", "images_002"}


def test_one_source_that_fails_does_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """F01: the command ends with the worst exit code and one document that names what failed."""
    for name in CLASSES:
        (tmp_path / "mine" / name).mkdir(parents=True)
        (tmp_path / "mine" / name / "1.jpg").write_bytes(b"an image")
    code = command.fetch(["radiography", "mendeley"], tmp_path, as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert code == 6
    assert [(entry["source"], entry["already_there"]) for entry in document["fetched"]] == [("mendeley", True)]
    assert [(entry["source"], entry["exit_code"]) for entry in document["failed"]] == [("radiography", 6)]


def test_an_unknown_source_is_named_before_anything_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match="chexpert"):
        command.fetch(["mendeley", "chexpert"], tmp_path, as_json=False)
    assert list(tmp_path.iterdir()) == []


def test_a_fetch_needs_a_data_folder() -> None:
    with pytest.raises(UsageProblem, match="No data folder"):
        command.fetch(["mendeley"], None, as_json=False)
