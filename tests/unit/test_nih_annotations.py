"""The lists and boxes that NIH publishes beside its table, in both layouts and releases, whole or damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from data_contracts.catalog import QUARANTINED
from data_contracts.sources import merge
from data_contracts.sources.phantom import PhantomSettings, write_phantom_datasets

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
)
BOX_HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"
NAMES = ("00000001_000.png", "00000002_000.png", "00000003_000.png")


def dataset(folder: Path, *, images: str = "images_001/images", **tables: str) -> Path:
    """Three images with their table; `tables` are further files by stem, underscores as they are."""
    (folder / images).mkdir(parents=True)
    for name in NAMES:
        (folder / images / name).write_bytes(b"not read here")
    rows = "".join(f"{name},Infiltration,0,{number},58,M,PA,1,1,1,1,\n" for number, name in enumerate(NAMES, 1))
    tables = {"Data_Entry_2017.csv": HEADER + rows} | {
        name.replace("__", "."): text for name, text in tables.items()
    }
    for name, text in tables.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def read(folder: Path) -> tuple[pd.DataFrame, list[str]]:
    catalog, notes = merge(["nih"], folder)
    return catalog.frame.set_index(catalog.frame["file"].map(lambda file: Path(file).name)), notes


@pytest.mark.parametrize("images", ["images_001/images", "images"])
def test_official_lists_are_read_in_both_layouts(tmp_path: Path, images: str) -> None:
    lists = {"train_val_list__txt": f"{NAMES[0]}\r\n", "test_list__txt": f"{NAMES[1]}"}
    frame, notes = read(dataset(tmp_path, images=images, **lists))
    assert frame["official_split"].tolist() == ["train_val", "test", ""]
    assert frame["flags"].tolist() == ["", "", "in_no_official_list"]
    assert notes == []


def test_an_image_in_both_lists_is_in_neither_split_and_flagged(tmp_path: Path) -> None:
    every = "\n".join(NAMES)
    frame, _ = read(dataset(tmp_path, train_val_list__txt=every, test_list__txt=NAMES[2]))
    assert frame["official_split"].tolist() == ["train_val", "train_val", ""]
    assert frame["flags"].tolist() == ["", "", "in_both_official_lists"]


@pytest.mark.parametrize("lists", [{}, {"test_list__txt": NAMES[1]}])
def test_without_both_lists_no_image_has_an_official_split_and_a_note_says_so(
    tmp_path: Path, lists: dict[str, str]
) -> None:
    frame, notes = read(dataset(tmp_path, **lists))
    assert set(frame["official_split"]) == set(frame["flags"]) == {""}
    assert len(notes) == 1
    assert notes[0].endswith("not found: the official split is not known")


def test_boxes_are_shares_of_the_original_sides(tmp_path: Path) -> None:
    """Numbers of the published table, whose coordinates are pixels of 1024 whatever size the image has here."""
    rows = f"{NAMES[0]},Infiltrate,256.0,512.0,128.0,512.0,,,\n{NAMES[0]},Mass,0,0,1024,1024\n"
    frame, notes = read(
        dataset(tmp_path, BBox_List_2017__csv=BOX_HEADER + rows, train_val_list__txt="", test_list__txt="")
    )
    assert json.loads(frame.loc[NAMES[0], "boxes"]) == [
        {"node": "infiltration", "x": 0.25, "y": 0.5, "w": 0.125, "h": 0.5},
        {"node": "mass", "x": 0, "y": 0, "w": 1, "h": 1},
    ]
    assert frame.loc[NAMES[1], "boxes"] == ""
    assert notes == []


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("Mass,nan,1,1,1", "coordinates"),
        ("Mass,-300,1,10,10", "coordinates"),
        ("Mass,1000,1,100,10", "coordinates"),
        ("Mass,1,1,0,10", "coordinates"),
        ("Mass,1,1,inf,10", "coordinates"),
        ("Mass,a,1,1,1", "coordinates"),
        ("Mass,1,1", "coordinates"),
        ("Mas,1,1,1,1", "an unknown finding"),
        ("", "an unknown finding"),
    ],
)
def test_a_line_that_holds_no_box_is_counted_and_passed_over(tmp_path: Path, row: str, what: str) -> None:
    frame, notes = read(dataset(tmp_path, BBox_List_2017__csv=f"{BOX_HEADER}{NAMES[0]},{row}\n"))
    assert set(frame["boxes"]) == {""}
    assert any(note.startswith(f"nih: BBox_List_2017.csv: 1 lines with {what}") for note in notes)


def test_both_releases_of_the_table_are_compared_and_the_first_is_used(tmp_path: Path) -> None:
    rows = f"{NAMES[0]},Infiltration|Mass,0,1,58,M,PA,1,1,1,1\n{NAMES[1]},Infiltration,0,2,58,M,PA,1,1,1,1\n"
    frame, notes = read(dataset(tmp_path, **{"Data_Entry_2017_v2020__csv": HEADER + rows}))
    assert (set(frame["release"]), set(frame["raw_label"])) == ({"2017"}, {"Infiltration"})
    assert any(
        note.endswith(
            "going by the latter 1 images have other labels (Mass +1 -0), 0 images are new and 1 are gone"
        )
        for note in notes
    )


def test_an_image_without_a_row_still_has_its_place_in_the_lists(tmp_path: Path) -> None:
    folder = dataset(tmp_path, train_val_list__txt="", test_list__txt="00000009_000.png")
    (folder / "images_001" / "images" / "00000009_000.png").write_bytes(b"not read here")
    row = read(folder)[0].loc["00000009_000.png"]
    assert (row["status"], row["official_split"]) == (QUARANTINED, "test")


def test_the_phantom_writes_its_lists_and_boxes_as_nih_does(tmp_path: Path) -> None:
    manifest = write_phantom_datasets(tmp_path / "data", PhantomSettings(images=40, size=64))
    frame, notes = read(tmp_path / "data")
    assert set(frame["official_split"]) == {"train_val", "test"}
    assert notes == []
    truth = {
        Path(entry.file).name: (entry.lesion_box, entry.file) for entry in manifest.files if entry.source == "nih"
    }
    boxed = frame[frame["boxes"] != ""]
    assert len(boxed)
    for name, cell in boxed["boxes"].items():
        (box,) = json.loads(cell)
        expected = [corner / 64 for corner in truth[str(name)][0] or ()]
        assert [box[key] for key in "xywh"] == pytest.approx(expected, abs=1e-5)


def test_real_lists_and_boxes_are_read_in_full(real_data: Path) -> None:
    frame, _ = read(real_data / "raw")
    assert frame["official_split"].value_counts().to_dict() == {"train_val": 446, "test": 77}
    boxes = [box for cell in frame["boxes"] if cell for box in json.loads(cell)]
    assert (frame["boxes"] != "").sum() == 24
    assert all(box["x"] + box["w"] <= 1.001 and box["y"] + box["h"] <= 1.001 for box in boxes)
