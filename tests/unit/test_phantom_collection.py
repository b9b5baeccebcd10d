"""The phantom collection: planned exactly, written atomically, true to the raw layouts of its sources."""

from __future__ import annotations

import csv
import hashlib
import shutil
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import numpy as np
import openpyxl
import pytest
from PIL import Image, UnidentifiedImageError
from pydantic import ValidationError

from data_contracts.errors import UsageProblem
from data_contracts.ontology import NIH_FINDINGS, split_nodes
from data_contracts.quality import perceptual_hash
from data_contracts.sources import merge
from data_contracts.sources.phantom import Disease, PhantomManifest, PhantomSettings, write_phantom_datasets
from data_contracts.sources.phantom.plan import plan_collection
from data_contracts.sources.phantom.settings import SourceName

SMALL = PhantomSettings(images=48, size=80, seed=3, flawed=True)
CLASSES = {"COVID": "covid19", "COVID-19": "covid19", "Normal": "normal", "Pneumonia-Bacterial": "bacterial"}


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PhantomManifest]:
    folder = tmp_path_factory.mktemp("phantom") / "data"
    return folder, write_phantom_datasets(folder, SMALL)


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("images", [40, 97, 480, 2000])
def test_the_plan_holds_exactly_the_images_asked_for_under_distinct_names(images: int) -> None:
    plates = plan_collection(PhantomSettings(images=images))
    assert len(plates) == images
    assert len({plate.file for plate in plates}) == images
    originals = [plate.index for plate in plates if plate.copy_of < 0]
    assert len(set(originals)) == len(originals)


def test_the_default_plan_suits_the_four_class_task() -> None:
    plates = plan_collection(PhantomSettings())
    classes = Counter(plate.disease for plate in plates)
    for disease in (Disease.BACTERIAL, Disease.COVID19, Disease.NORMAL, Disease.PNEUMOTHORAX):
        assert 75 <= classes[disease] <= 130
    sources = {disease: {plate.source for plate in plates if plate.disease is disease} for disease in Disease}
    assert sources[Disease.NORMAL] == {"radiography", "mendeley", "nih"}
    assert sources[Disease.COVID19] == {"radiography", "mendeley"}
    images_per_patient = Counter(plate.patient for plate in plates if plate.source == "nih")
    assert max(images_per_patient.values()) >= 3
    assert {plate.file.split("/")[1] for plate in plates if plate.source == "nih"} == {"images_001", "images_002"}


def test_every_copy_points_to_an_original_and_none_is_chained() -> None:
    plates = plan_collection(PhantomSettings(flawed=True))
    copies = [plate for plate in plates if plate.copy_kind]
    assert {plate.copy_kind for plate in copies} == {"bytes", "rescaled", "reencoded"}
    for plate in copies:
        original = plates[plate.copy_of]
        assert original.copy_of < 0
        assert (original.patient, original.index) == (plate.patient, plate.index)
        assert (plate.flaw == "wrong label") == (original.disease != CLASSES[plate.label])


def test_two_writes_give_identical_bytes(collection: tuple[Path, PhantomManifest], tmp_path: Path) -> None:
    folder, _ = collection
    write_phantom_datasets(tmp_path / "again", SMALL)
    assert digests(tmp_path / "again") == digests(folder)


def test_the_tables_have_the_original_headers(collection: tuple[Path, PhantomManifest]) -> None:
    folder, manifest = collection
    entries = (folder / "nih-chest-xrays/Data_Entry_2017.csv").read_text(encoding="utf-8").splitlines()
    assert entries[0] == (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
        "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
    )
    assert {len(row) for row in csv.reader(entries)} == {12}
    assert all(line.endswith(",") for line in entries)
    assert len(entries) - 1 == sum(entry.source == "nih" for entry in manifest.files)
    boxes = (folder / "nih-chest-xrays/BBox_List_2017.csv").read_text(encoding="utf-8").splitlines()
    assert boxes[0] == "Image Index,Finding Label,Bbox [x,y,w,h],,,"
    assert len(boxes) > 1
    for _, _, *numbers in csv.reader(boxes[1:]):
        x, y, width, height = map(float, numbers)
        assert 0 <= x < x + width <= 1024
        assert 0 <= y < y + height <= 1024
    radiography = folder / "covid19-radiography-database/COVID-19_Radiography_Dataset"
    sheet = openpyxl.load_workbook(radiography / "Normal.metadata.xlsx")["Sheet1"]
    rows = list(sheet.iter_rows(values_only=True))
    assert rows[0] == ("FILE NAME", "FORMAT", "SIZE", "URL")
    assert rows[1][:3] == ("NORMAL-1", "PNG", "256*256")
    assert len(rows) - 1 == len(list((radiography / "Normal/images").iterdir()))
    assert "phantom" in (radiography / "README.md.txt").read_text(encoding="utf-8").lower()


def test_the_nih_lists_name_every_image_once_and_split_by_patient(
    collection: tuple[Path, PhantomManifest],
) -> None:
    folder, manifest = collection
    lists = [
        (folder / "nih-chest-xrays" / name).read_text(encoding="utf-8").split()
        for name in ("train_val_list.txt", "test_list.txt")
    ]
    names = [Path(entry.file).name for entry in manifest.files if entry.source == "nih"]
    assert sorted(lists[0] + lists[1]) == sorted(names)
    patients = [{name.split("_")[0] for name in members} for members in lists]
    assert not patients[0] & patients[1]


def test_the_adapters_read_the_collection_as_what_it_is(collection: tuple[Path, PhantomManifest]) -> None:
    folder, manifest = collection
    catalog, notes = merge(["radiography", "mendeley", "nih"], folder)
    assert notes == []
    found = {row.file: row for row in catalog.frame.itertuples()}
    assert sorted(found) == sorted(entry.file for entry in manifest.files)
    for entry in manifest.files:
        row = found[entry.file]
        assert (row.source, row.raw_label, row.mask_file) == (entry.source, entry.raw_label, entry.mask_file)
        assert row.patient == (f"nih:{entry.patient}" if entry.source == "nih" else "")


def test_pictures_and_masks_have_the_forms_of_the_originals(collection: tuple[Path, PhantomManifest]) -> None:
    folder, manifest = collection
    for entry in manifest.files:
        if entry.flaw:
            continue
        with Image.open(folder / entry.file) as picture:
            assert (picture.format, picture.mode) == ("JPEG" if entry.source == "mendeley" else "PNG", "L")
            if entry.source == "radiography":
                assert picture.size == (93, 93)  # 80 × 299 / 256
        if entry.mask_file:
            with Image.open(folder / entry.mask_file) as mask:
                assert (mask.size, mask.mode) == ((256, 256), "L")
                assert set(np.unique(mask)) == {0, 255}


def test_planted_copies_look_alike_and_nothing_else_does(collection: tuple[Path, PhantomManifest]) -> None:
    folder, manifest = collection
    readable = [entry for entry in manifest.files if entry.flaw not in ("truncated", "web page")]
    hashes = {}
    for entry in readable:
        with Image.open(folder / entry.file) as picture:
            hashes[entry.file] = int(perceptual_hash(picture.convert("L")), 16)
        if entry.copy_kind == "bytes":
            assert (folder / entry.file).read_bytes() == (folder / entry.copy_of).read_bytes()
    for place, entry in enumerate(readable):
        for other in readable[:place]:
            distance = (hashes[entry.file] ^ hashes[other.file]).bit_count()
            if entry.copy_of == other.file or other.copy_of == entry.file:
                assert distance <= 12
            elif entry.patient != other.patient:
                assert distance >= 32


def test_flawed_files_are_what_the_manifest_says(collection: tuple[Path, PhantomManifest]) -> None:
    folder, manifest = collection
    flaws = {entry.flaw: entry for entry in manifest.files if entry.flaw}
    with pytest.raises(OSError, match="truncated"), Image.open(folder / flaws["truncated"].file) as cut:
        cut.load()
    with pytest.raises(UnidentifiedImageError):
        Image.open(folder / flaws["web page"].file)
    wrong = flaws["wrong label"]
    assert (wrong.raw_label, wrong.disease) == ("COVID-19", Disease.NORMAL)


def test_a_finished_collection_is_found_again_and_not_redrawn(
    collection: tuple[Path, PhantomManifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, manifest = collection
    calls: list[tuple[int, int]] = []
    assert write_phantom_datasets(folder, SMALL, lambda done, total: calls.append((done, total))) == manifest
    assert calls == []
    monkeypatch.chdir(folder.parent)
    assert write_phantom_datasets(Path(folder.name), SMALL) == manifest


def test_a_folder_with_something_else_is_refused_and_left_alone(
    collection: tuple[Path, PhantomManifest], tmp_path: Path
) -> None:
    (tmp_path / "scan.png").write_bytes(b"mine")
    with pytest.raises(UsageProblem, match="holds no phantom"):
        write_phantom_datasets(tmp_path, SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["scan.png"]
    with pytest.raises(UsageProblem, match="other settings"):
        write_phantom_datasets(collection[0], PhantomSettings(images=50))
    missing = next(entry for entry in collection[1].files if not entry.mask_file)
    shutil.copytree(collection[0], tmp_path / "incomplete")
    (tmp_path / "incomplete" / missing.file).unlink()
    with pytest.raises(UsageProblem, match="lacks 1 files"):
        write_phantom_datasets(tmp_path / "incomplete", SMALL)


def test_a_killed_drawing_leaves_no_folder_and_the_next_one_finishes(
    collection: tuple[Path, PhantomManifest], tmp_path: Path
) -> None:
    folder = tmp_path / "data"

    def kill_after_five(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_phantom_datasets(folder, SMALL, kill_after_five)
    assert not folder.exists()
    assert len(list(tmp_path.iterdir())) == 1
    write_phantom_datasets(folder, SMALL)
    assert digests(folder) == digests(collection[0])
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_all_six_datasets_are_drawn_in_the_layouts_their_adapters_read(tmp_path: Path) -> None:
    names = get_args(SourceName)
    settings = PhantomSettings(datasets=names, images=160, size=64, all_findings=True)
    manifest = write_phantom_datasets(tmp_path / "data", settings)
    catalog, _ = merge(list(names), tmp_path / "data")
    assert set(catalog.frame["file"]) == {entry.file for entry in manifest.files}
    assert catalog.counts()["quarantined"] == 0
    named = {node for cell in catalog.frame.query("source == 'nih'")["nodes"] for node in split_nodes(cell)}
    assert named == {*NIH_FINDINGS, "no_finding"}
    children = catalog.frame.query("source == 'chest-xray-pneumonia'")
    assert children["patient"].nunique() < len(children)
    assert {entry.source for entry in manifest.files if entry.copy_of and "covid19-pneumonia" in entry.source}


def test_a_dataset_drawn_alone_holds_all_the_images(tmp_path: Path) -> None:
    settings = PhantomSettings(datasets=("chest-xray-pneumonia",), images=40, size=64)
    assert {entry.source for entry in write_phantom_datasets(tmp_path / "data", settings).files} == {
        "chest-xray-pneumonia"
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"datasets": ("nih", "nih")},
        {"datasets": ("nih",), "flawed": True},
        {"datasets": ("mendeley",), "all_findings": True},
    ],
)
def test_settings_that_cannot_be_drawn_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"twice|name all three|not among"):
        PhantomSettings(**wrong)
