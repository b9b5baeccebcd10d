"""Class-folder collections, the children's films and a team's own images: each is read by one adapter only."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from openpyxl import Workbook

from data_contracts.catalog import QUARANTINED
from data_contracts.errors import UsageProblem
from data_contracts.ontology import TASKS
from data_contracts.pseudonyms import pseudonym
from data_contracts.sources import SOURCES, locate, merge
from data_contracts.sources.image_folder import node_of
from data_contracts.sources.pediatric import NameFacts, read_name


def touch(folder: Path, *places: str) -> None:
    for place in places:
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(b"not read here")


def covid_pneumonia_normal(folder: Path) -> None:
    touch(folder, *(f"{name}/{name}_1.png" for name in ("COVID", "NORMAL", "PNEUMONIA")))


def covid19_pneumonia(folder: Path) -> None:
    classes = ("COVID19", "NORMAL", "PNEUMONIA")
    touch(folder, *(f"Data/{split}/{name}/{name}(7).jpg" for split in ("train", "test") for name in classes))


def pediatric(folder: Path) -> None:
    touch(
        folder / "chest_xray",
        "train/NORMAL/IM-0115-0001.jpeg",
        "train/PNEUMONIA/person1_bacteria_1.jpeg",
        "test/NORMAL/NORMAL2-IM-0092-0001.jpeg",
        "test/PNEUMONIA/person1_virus_6.jpeg",
        "val/PNEUMONIA/person1_bacteria_2.jpeg",
    )


def radiography_2021(folder: Path) -> None:
    touch(folder, *(f"Base/{name}/images/{name}-1.png" for name in ("COVID", "Normal", "Viral Pneumonia")))


def radiography_2020(folder: Path) -> None:
    names = ("COVID-19", "NORMAL", "Viral Pneumonia")
    touch(folder / "COVID-19 Radiography Database", *(f"{name}/{name} (1).png" for name in names))


def radiography_update(folder: Path) -> None:
    names = ("COVID", "NORMAL", "Viral Pneumonia")
    touch(folder / "COVID-19 Radiography Database", *(f"{name}/{name} (1).png" for name in names))


def mendeley(folder: Path) -> None:
    names = ("COVID-19", "Normal", "Pneumonia-Bacterial", "Pneumonia-Viral")
    touch(folder, *(f"Curated X-Ray Dataset/{name}/{name} (1).jpg" for name in names))


def own_class_folders(folder: Path) -> None:
    touch(folder / "image-folder", *(f"{name}/1.png" for name in ("covid", "normal", "pneumonia")))


def own_table(folder: Path) -> None:
    touch(folder, "covid/1.png", "normal/1.png", "pneumonia/1.png")
    (folder / "labels.csv").write_text("file,label\ncovid/1.png,covid\n", encoding="utf-8")


LAYOUTS = {
    covid_pneumonia_normal: "covid-pneumonia-normal",
    covid19_pneumonia: "covid19-pneumonia",
    pediatric: "chest-xray-pneumonia",
    radiography_2021: "radiography",
    radiography_2020: "radiography",
    radiography_update: "radiography",
    mendeley: "mendeley",
    own_class_folders: "image-folder",
    own_table: "image-folder",
}


def claimed_by(data_dir: Path) -> list[str]:
    return [name for name, source in SOURCES.items() if source.find(data_dir)]


def rows_of(name: str, data_dir: Path) -> tuple[pd.DataFrame, list[str]]:
    catalog, notes = merge([name], data_dir)
    return catalog.frame, [note.removeprefix(f"{name}: ") for note in notes]


@pytest.mark.parametrize(("layout", "name"), LAYOUTS.items(), ids=lambda value: getattr(value, "__name__", value))
def test_a_layout_is_claimed_by_one_adapter_only(
    tmp_path: Path, layout: Callable[[Path], None], name: str
) -> None:
    layout(tmp_path / "set")
    assert claimed_by(tmp_path) == [name]


def test_all_datasets_are_told_apart_side_by_side(tmp_path: Path) -> None:
    for layout, name in LAYOUTS.items():
        if name not in claimed_by(tmp_path):
            layout(tmp_path / layout.__name__)
    names = sorted(set(LAYOUTS.values()))
    folders = locate(names, tmp_path)
    assert sorted(claimed_by(tmp_path)) == names
    assert len(set(folders.values())) == len(names)


@pytest.mark.parametrize(
    "places",
    [
        ("flat_dump/a.png", "flat_dump/b.png"),
        ("image-folder/a.png",),
        ("Covid19-dataset/train/Covid/1.png", "Covid19-dataset/train/Normal/1.png"),
        ("set/train/COVID19/1.jpg", "set/train/NORMAL/1.jpg", "set/train/PNEUMONIA/1.jpg", "set/train/TB/1.jpg"),
        ("set/train/NORMAL/1.jpg", "set/train/PNEUMONIA/1.jpg"),
        ("set/COVID/1.png", "set/NORMAL/1.png", "set/Viral Pneumonia/1.png"),
    ],
)
def test_what_is_none_of_the_datasets_is_claimed_by_nobody(tmp_path: Path, places: tuple[str, ...]) -> None:
    touch(tmp_path, *places)
    assert claimed_by(tmp_path) == []


def test_unknown_class_folders_go_to_quarantine_by_name_and_empty_ones_are_said(tmp_path: Path) -> None:
    touch(tmp_path, "set/Covid/1.png", "set/normal/1.png", "set/Healthy/x.png", "set/PNEUMONIA/.gitkeep")
    frame, notes = rows_of("covid-pneumonia-normal", tmp_path)
    rows = frame.set_index("raw_label")
    assert rows["nodes"].to_dict() == {"Covid": "covid19", "normal": "no_finding", "Healthy": ""}
    assert rows.loc["Healthy", ["status", "reason"]].tolist() == [QUARANTINED, "unknown class folder: Healthy"]
    assert "class folder 'PNEUMONIA' holds no images" in notes


def test_an_image_in_quarantine_leaves_the_others_kept(tmp_path: Path) -> None:
    covid_pneumonia_normal(tmp_path / "d")
    covid19_pneumonia(tmp_path / "e")
    touch(tmp_path, "d/Healthy/x.png")
    catalog, _ = merge(["covid-pneumonia-normal", "covid19-pneumonia"], tmp_path)
    assert catalog.counts() == {"offered": 10, "kept": 9, "quarantined": 1, "duplicate": 0}


def test_the_official_split_of_a_collection_is_only_noted(tmp_path: Path) -> None:
    covid19_pneumonia(tmp_path)
    frame, notes = rows_of("covid19-pneumonia", tmp_path)
    assert sorted(frame["nodes"]) == ["covid19"] * 2 + ["no_finding"] * 2 + ["pneumonia"] * 2
    assert set(frame["split"]) == {""}
    assert notes == ["official split noted, not used: train 3, test 3"]


@pytest.mark.parametrize(
    ("name", "split", "facts"),
    [
        ("person1_bacteria_1.jpeg", "train", ("2", "bacterial", "train:person1:bacteria")),
        ("person1_virus_6.jpeg", "test", ("2", "other_viral", "test:person1:virus")),
        ("person1_bacteria_9.jpeg", "val", ("2", "bacterial", "train:person1:bacteria")),
        ("IM-0115-0001.jpeg", "train", ("2", "no_finding", "train:IM-0115")),
        ("IM-0011-0001-0002.jpeg", "test", ("2", "no_finding", "test:IM-0011")),
        ("NORMAL2-IM-0115-0001.jpeg", "train", ("2", "no_finding", "train:NORMAL2-IM-0115")),
        ("VIRUS-1049278-0001.jpeg", "train", ("3", "other_viral", "1049278")),
        ("NORMAL-1049278-0001.jpeg", "test", ("3", "no_finding", "1049278")),
        ("scan.jpeg", "train", ("", "", "")),
    ],
)
def test_cause_and_patient_are_read_from_the_names_of_the_childrens_films(
    name: str, split: str, facts: tuple[str, str, str]
) -> None:
    assert read_name(name, split) == NameFacts(*facts)


def test_the_childrens_films_get_cause_patient_and_no_age(tmp_path: Path) -> None:
    pediatric(tmp_path)
    touch(tmp_path, "chest_xray/train/PNEUMONIA/scan.jpeg", "chest_xray/train/NORMAL/person9_virus_1.jpeg")
    frame, notes = rows_of("chest-xray-pneumonia", tmp_path)
    by_name = frame.set_index(frame["file"].str.rpartition("/")[2])
    bacterial = by_name.loc["person1_bacteria_1.jpeg"]
    assert (bacterial["nodes"], bacterial["label_method"], bacterial["raw_label"]) == (
        *("bacterial", "file-name", "PNEUMONIA"),
    )
    assert bacterial["patient"] == by_name.loc["person1_bacteria_2.jpeg", "patient"]
    assert bacterial["patient"] != by_name.loc["person1_virus_6.jpeg", "patient"]
    assert by_name.loc["scan.jpeg", ["nodes", "label_method", "patient"]].tolist() == ["pneumonia", "folder", ""]
    assert by_name.loc["person9_virus_1.jpeg", "reason"].startswith("contradictory label")
    assert frame["age"].isna().all()
    assert "children of 1 to 5 years; no image has an age of its own, so age is unknown" in notes


def test_a_second_copy_is_counted_once_and_fills_gaps(tmp_path: Path) -> None:
    pediatric(tmp_path)
    pediatric(tmp_path / "chest_xray")
    only_there = "chest_xray/chest_xray/val/NORMAL/IM-0500-0001.jpeg"
    touch(tmp_path, only_there, "chest_xray/__MACOSX/chest_xray/._IM-0115-0001.jpeg")
    frame, notes = rows_of("chest-xray-pneumonia", tmp_path)
    assert len(frame) == 6
    assert only_there in set(frame["file"])
    assert "5 images of the second copy inside chest_xray/ are counted once" in notes
    assert "__MACOSX: 1 files ignored" in notes


@pytest.mark.parametrize(
    ("layout", "release", "labels"),
    [
        (radiography_2021, "2021", ["COVID", "Normal", "Viral Pneumonia"]),
        (radiography_2020, "2020", ["COVID-19", "NORMAL", "Viral Pneumonia"]),
        (radiography_update, "2020 update", ["COVID", "NORMAL", "Viral Pneumonia"]),
    ],
)
def test_the_release_of_the_radiography_database_is_told_by_its_layout(
    tmp_path: Path, layout: Callable[[Path], None], release: str, labels: list[str]
) -> None:
    layout(tmp_path)
    frame, _ = rows_of("radiography", tmp_path)
    assert set(frame["release"]) == {release}
    assert sorted(frame["raw_label"]) == labels
    assert sorted(frame["nodes"]) == ["covid19", "no_finding", "other_viral"]


def origin_sheet(file: Path, *rows: tuple[str, str]) -> None:
    workbook = Workbook()
    sheet = workbook.active
    for row in (("FILE NAME", "FORMAT", "SIZE", "URL"), *((name, "PNG", "1024*1024", url) for name, url in rows)):
        sheet.append(row)
    workbook.save(file)


def test_images_with_a_documented_origin_are_counted(tmp_path: Path) -> None:
    radiography_2020(tmp_path)
    folder = tmp_path / "COVID-19 Radiography Database"
    origin_sheet(folder / "COVID-19.metadata.xlsx", ("covid-19(1)", "https://example.org/1"))
    origin_sheet(folder / "Viral Pneumonia.matadata.xlsx", ("Viral Pneumonia(1)", "https://example.org/2"))
    origin_sheet(folder / "NORMAL.metadata.xlsx", ("NORMAL(1)", ""))
    _, notes = rows_of("radiography", tmp_path)
    assert notes == ["2 of 3 images have a documented origin"]


@pytest.mark.parametrize("content", [b"", b"no workbook", b"PK\x03\x04 damaged", b"<html>login</html>"])
def test_a_broken_origin_sheet_is_a_note(tmp_path: Path, content: bytes) -> None:
    radiography_2020(tmp_path)
    (tmp_path / "COVID-19 Radiography Database" / "NORMAL.metadata.xlsx").write_bytes(content)
    frame, notes = rows_of("radiography", tmp_path)
    assert len(frame) == 3
    assert notes[0].startswith("NORMAL.metadata.xlsx cannot be read as a workbook")
    assert notes[1] == "0 of 3 images have a documented origin"


def test_an_origin_sheet_without_the_columns_is_a_note(tmp_path: Path) -> None:
    radiography_2020(tmp_path)
    Workbook().save(tmp_path / "COVID-19 Radiography Database" / "NORMAL.metadata.xlsx")
    _, notes = rows_of("radiography", tmp_path)
    assert notes[0].startswith("NORMAL.metadata.xlsx cannot be read as a workbook")


@pytest.mark.parametrize(
    ("label", "node"),
    [
        ("normal", "no_finding"),
        ("COVID-19", "covid19"),
        (" Bacterial  Pneumonia ", "bacterial"),
        ("Pleural-Thickening", "pleural_thickening"),
        ("viral pneumonia", "viral"),
        ("Healthy", None),
        ("root", None),
        ("", None),
    ],
)
def test_people_may_write_a_finding_their_way(label: str, node: str | None) -> None:
    assert node_of(label) == node


def test_classes_of_one_finding_are_understood_by_name_and_title() -> None:
    classes = [c for task in TASKS.values() for c in task.classes if len(c.nodes) == 1]
    assert all(node_of(word) == c.nodes[0] for c in classes for word in (c.name, c.title))


def test_own_class_folders_are_read_and_the_rest_is_accounted_for(tmp_path: Path) -> None:
    touch(
        tmp_path / "Image-Folder",
        *("COVID-19/a.png", "Normal/b.JPG", "Healthy/c.png", "loose.png", "Normal/2024/d.png", "mass/.keep"),
    )
    frame, notes = rows_of("image-folder", tmp_path)
    assert dict(zip(frame["file"], frame["reason"], strict=True)) == {
        "Image-Folder/COVID-19/a.png": "",
        "Image-Folder/Healthy/c.png": "unknown class folder: Healthy",
        "Image-Folder/Normal/b.JPG": "",
        "Image-Folder/loose.png": "in no class folder",
    }
    assert "class folder 'mass' holds no images" in notes
    assert "class folder 'Normal': 1 folders inside it not read" in notes


def own(tmp_path: Path, table: str, *images: str, encoding: str = "utf-8") -> Path:
    folder = tmp_path / "ours"
    touch(folder, *images)
    folder.mkdir(exist_ok=True)
    (folder / "labels.csv").write_text(table, encoding=encoding)
    return tmp_path


def test_a_table_gives_label_patient_view_age_sex_and_mask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUNGLINE_PATIENT_KEY", "a key of some length")
    patient = "image-folder:" + pseudonym("P7", b"a key of some length")
    table = (
        "File,Label,patient,view,age,sex,mask_file,ward\r\n"
        "x\\a.png,Effusion|Pneumothorax,P7,pa,18M,f,m/a.png,3\r\n"
        "x/b.png,normal,,lateral,-1,?,m/none.png,3\r\n"
    )
    data = own(tmp_path, table, "x/a.png", "x/b.png", "m/a.png", encoding="utf-8-sig")
    frame, notes = rows_of("image-folder", data)
    first, second = frame.to_dict("records")
    assert {name: first[name] for name in ("nodes", "patient", "view", "age", "sex", "mask_file")} == {
        **{"nodes": "effusion|pneumothorax", "patient": patient, "view": "PA", "age": 1.5, "sex": "F"},
        "mask_file": "ours/m/a.png",
    }
    assert (second["nodes"], second["patient"], second["view"], second["sex"]) == ("no_finding", "", "", "")
    assert math.isnan(second["age"])
    assert notes == [
        "labels.csv: columns not read: ward",
        "labels.csv: 1 masks not on disk",
        "labels.csv: 1 values of age not understood",
        "labels.csv: 1 values of sex not understood",
        "labels.csv: 1 values of view not understood",
    ]


@pytest.mark.parametrize(
    "path", ["../secret.png", "a/../../secret.png", "/etc/passwd", "..\\secret.png", "C:\\x.png"]
)
def test_a_path_that_leads_out_of_the_folder_is_quarantined_and_not_carried_on(tmp_path: Path, path: str) -> None:
    data = own(tmp_path, f"file,label\n{path},normal\na.png,normal\n", "a.png", "../secret.png")
    frame, _ = rows_of("image-folder", data)
    assert dict(zip(frame["file"], frame["reason"], strict=True)) == {
        "ours/a.png": "",
        "ours/labels.csv, line 2": "this line names a file outside its folder",
    }


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        ("Healthy", "unknown label: 'Healthy'"),
        ("mass|Healthy", "unknown label: 'Healthy'"),
        ("", "unknown label: ''"),
        ("normal|mass", "contradictory label: no finding together with a finding"),
    ],
)
def test_a_label_of_the_table_that_cannot_be_trusted_is_quarantined(
    tmp_path: Path, label: str, reason: str
) -> None:
    frame, _ = rows_of("image-folder", own(tmp_path, f"file,label\na.png,{label}\n", "a.png"))
    assert frame[["status", "reason"]].to_numpy().tolist() == [[QUARANTINED, reason]]


def test_lines_and_images_without_each_other_are_accounted_for(tmp_path: Path) -> None:
    table = "file,label\na.png,normal\na.png,mass\ngone.png,normal\n,normal\nb.png\n"
    frame, notes = rows_of("image-folder", own(tmp_path, table, "a.png", "b.png", "c.png", ".hidden/d.png"))
    assert dict(zip(frame["file"], frame["reason"], strict=True)) == {
        "ours/a.png": "listed twice with different labels",
        "ours/b.png": "unknown label: ''",
        "ours/c.png": "no line in labels.csv",
        "ours/labels.csv, line 5": "this line names no file",
    }
    assert notes == [
        "labels.csv: 1 lines that repeat an earlier image",
        "labels.csv: 1 lines without an image on disk",
    ]


@pytest.mark.parametrize(
    ("table", "encoding", "said"),
    [
        ("", "utf-8", "ours/labels.csv lacks the columns file, label"),
        ("image,label\na.png,mass\n", "utf-8", "lacks the columns file; its header begins 'image,label'"),
        ("file;label\na.png;mass\n", "utf-8", "its header begins 'file;label'"),
        ("file,label\na.png,mass\n", "utf-16", "not UTF-8"),
        ("file,label,label\na.png,mass,normal\n", "utf-8", "several columns called label"),
        (f"file,label\na.png,{'x' * 200_000}\n", "utf-8", "not a readable CSV table"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(tmp_path: Path, table: str, encoding: str, said: str) -> None:
    with pytest.raises(UsageProblem) as caught:
        merge(["image-folder"], own(tmp_path, table, "a.png", encoding=encoding))
    assert said in caught.value.what


def test_all_six_real_datasets_are_told_apart_and_read_in_full(real_data: Path) -> None:
    names = [name for name in SOURCES if name != "image-folder"]
    catalog, notes = merge(names, real_data / "raw")
    assert catalog.frame.groupby("source").size().to_dict() == {
        **{"radiography": 526, "mendeley": 360, "nih": 523, "covid-pneumonia-normal": 237},
        **{"covid19-pneumonia": 312, "chest-xray-pneumonia": 414},
    }
    assert catalog.counts()["kept"] == 2372
    assert len(set(locate(names, real_data / "raw").values())) == 6
    assert SOURCES["image-folder"].find(real_data / "raw") is None
    assert catalog.frame.duplicated(["file"]).sum() == 0
    children = catalog.frame[catalog.frame["source"] == "chest-xray-pneumonia"]
    assert children["nodes"].value_counts().to_dict() == {"no_finding": 206, "bacterial": 122, "other_viral": 86}
    assert (children["patient"] != "").all()
    assert "chest-xray-pneumonia: 16 images of the second copy inside chest_xray/ are counted once" in notes
    assert not [note for note in notes if note.startswith("radiography")]  # all images have a documented origin


def test_a_flat_dump_is_not_recognised_and_wrong_class_folders_are_named(real_data: Path) -> None:
    assert claimed_by(real_data / "corrupt" / "flat_dump") == []
    assert claimed_by(real_data / "corrupt" / "wrong_class_folders") == ["covid-pneumonia-normal"]
    frame, notes = rows_of("covid-pneumonia-normal", real_data / "corrupt" / "wrong_class_folders")
    assert frame["nodes"].tolist() == ["covid19", "", "no_finding"]
    assert frame["reason"].tolist() == ["", "unknown class folder: Healthy", ""]
    assert "class folder 'PNEUMONIA' holds no images" in notes
