"""Adapters read each dataset in its original layout, and say what they passed over."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from data_contracts.catalog import QUARANTINED
from data_contracts.errors import UsageProblem
from data_contracts.sources import fingerprint, locate, merge
from data_contracts.sources.nih import age_in_years, findings

NIH_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
)


def touch(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"not read here")


@pytest.fixture
def radiography(tmp_path: Path) -> Path:
    root = tmp_path / "covid19-radiography-database" / "COVID-19_Radiography_Dataset"
    for name in ("COVID", "Lung_Opacity", "Normal", "Viral Pneumonia"):
        touch(root / name / "images" / f"{name}-1.png")
    touch(root / "COVID" / "masks" / "COVID-1.png")
    touch(root / "COVID" / "images" / "._COVID-1.png")
    touch(root / "COVID" / "images" / "Thumbs.db")
    return tmp_path


def nih(tmp_path: Path, *rows: str, header: str = NIH_HEADER, encoding: str = "utf-8") -> Path:
    folder = tmp_path / "nih-chest-xrays"
    folder.mkdir(exist_ok=True)
    (folder / "Data_Entry_2017.csv").write_text(header + "".join(f"{row}\n" for row in rows), encoding=encoding)
    for row in rows:
        touch(folder / "images_001" / "images" / row.split(",")[0])
    return tmp_path


def test_radiography_lists_images_with_masks_and_without_hidden_files(radiography: Path) -> None:
    catalog, notes = merge(["radiography"], radiography)
    frame = catalog.frame.set_index("raw_label")
    assert frame["nodes"].to_dict() == {
        "COVID": "covid19",
        "Lung_Opacity": "opacity",
        "Normal": "no_finding",
        "Viral Pneumonia": "other_viral",
    }
    assert frame.loc["COVID", "mask_file"].endswith("COVID/masks/COVID-1.png")
    assert frame.loc["Normal", "mask_file"] == ""
    assert notes == ["radiography: images: 2 files that are not images ignored"]


def test_file_paths_are_relative_to_the_data_folder(radiography: Path) -> None:
    catalog, _ = merge(["radiography"], radiography)
    assert all((radiography / file).is_file() and not Path(file).is_absolute() for file in catalog.frame["file"])


def test_mendeley_is_found_however_deep_its_archive_nested_it(tmp_path: Path) -> None:
    inner = tmp_path / "Curated Dataset" / "Curated X-Ray Dataset" / "Curated X-Ray Dataset"
    for name in ("COVID-19", "Normal", "Pneumonia-Bacterial", "Pneumonia-Viral"):
        touch(inner / name / f"{name} (1).JPG")
    catalog, _ = merge(["mendeley"], tmp_path)
    assert sorted(catalog.frame["nodes"]) == ["bacterial", "covid19", "no_finding", "other_viral"]


def test_nih_gives_patient_age_view_and_all_findings(tmp_path: Path) -> None:
    data = nih(tmp_path, "00000013_026.png,Effusion|Pneumothorax,26,13,057Y,M,AP,2500,2048,0.168,0.168,")
    row = merge(["nih"], data)[0].frame.iloc[0]
    assert (row["nodes"], row["patient"], row["age"], row["view"], row["sex"]) == (
        *("effusion|pneumothorax", "nih:13", 57.0, "AP", "M"),
    )


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        ("Pneumothroax", "unknown label"),
        ("", "unknown label"),
        ("=HYPERLINK(1)", "unknown label"),
        ("No Finding|Mass", "contradictory label"),
    ],
)
def test_a_label_that_cannot_be_trusted_goes_to_quarantine_with_the_reason(
    tmp_path: Path, label: str, reason: str
) -> None:
    row = merge(["nih"], nih(tmp_path, f"00000001_000.png,{label},0,1,58,M,PA,1,1,1,1,"))[0].frame.iloc[0]
    assert row["status"] == QUARANTINED
    assert row["reason"].startswith(reason)


def test_case_blanks_and_trailing_bars_do_not_make_another_label() -> None:
    assert findings(" effusion | MASS |") == (["effusion", "mass"], "")


def test_rows_without_image_and_images_without_row_are_both_accounted_for(tmp_path: Path) -> None:
    data = nih(
        tmp_path, "00000001_000.png,Mass,0,1,58,M,PA,1,1,1,1,", "00000002_000.png,Mass,0,2,58,M,PA,1,1,1,1,"
    )
    images = data / "nih-chest-xrays" / "images_001" / "images"
    (images / "00000002_000.png").rename(images / "00000009_000.png")
    catalog, notes = merge(["nih"], data)
    assert "nih: 1 rows of Data_Entry_2017.csv have no image on disk" in notes
    assert catalog.frame["reason"].tolist() == ["", "no row in Data_Entry_2017.csv"]


def test_an_image_listed_twice_with_different_labels_goes_to_quarantine(tmp_path: Path) -> None:
    data = nih(
        tmp_path, "00000001_000.png,Mass,0,1,58,M,PA,1,1,1,1,", "00000001_000.png,Hernia,0,1,58,M,PA,1,1,1,1,"
    )
    assert merge(["nih"], data)[0].frame["reason"].tolist() == ["listed twice with different labels"]


@pytest.mark.parametrize(
    ("cell", "years"),
    [("58", 58.0), ("058Y", 58.0), ("12M", 1.0), ("0", 0.0), ("414", math.nan), ("-5", math.nan), ("", math.nan)],
)
def test_ages_are_years_and_impossible_ones_are_unknown(cell: str, years: float) -> None:
    assert age_in_years(cell) == pytest.approx(years, nan_ok=True)


def test_a_table_without_patients_is_refused_by_the_name_of_the_missing_column(tmp_path: Path) -> None:
    data = nih(tmp_path, "00000001_000.png,Mass", header="Image Index,Finding Labels\n")
    with pytest.raises(UsageProblem, match="Patient ID, Patient Age"):
        merge(["nih"], data)


def test_a_table_in_another_encoding_is_refused(tmp_path: Path) -> None:
    data = nih(tmp_path, "00000001_000.png,Mass,0,1,58,M,PA,1,1,1,1,", encoding="utf-16")
    with pytest.raises(UsageProblem, match="not UTF-8"):
        merge(["nih"], data)


def test_a_byte_order_mark_and_windows_line_ends_change_nothing(tmp_path: Path) -> None:
    row = "00000001_000.png,Mass,0,1,58,M,PA,1,1,1,1,\r"
    data = nih(tmp_path, row, header=NIH_HEADER.replace("\n", "\r\n"), encoding="utf-8-sig")
    assert merge(["nih"], data)[0].frame["nodes"].tolist() == ["mass"]


def test_a_dataset_that_is_not_there_is_an_error_and_not_left_out(radiography: Path) -> None:
    with pytest.raises(UsageProblem, match="layout of mendeley"):
        locate(["radiography", "mendeley"], radiography)


def test_a_missing_data_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match="does not exist"):
        locate(["nih"], tmp_path / "nowhere")


def test_the_fingerprint_changes_with_any_file_and_only_then(radiography: Path) -> None:
    before = fingerprint(["radiography"], radiography)
    assert fingerprint(["radiography"], radiography) == before
    image = next(radiography.rglob("COVID-1.png"))
    image.write_bytes(b"other content")
    assert fingerprint(["radiography"], radiography) != before


def test_the_fingerprint_changes_with_a_file_of_the_same_size_whose_time_was_set_back(radiography: Path) -> None:
    """F55: as an archive or `cp -p` does with it."""
    before = fingerprint(["radiography"], radiography)
    image = next(radiography.rglob("COVID-1.png"))
    was = image.stat()
    image.write_bytes(bytes(was.st_size))
    os.utime(image, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert fingerprint(["radiography"], radiography) != before


def test_the_fingerprint_changes_with_an_image_that_the_adapter_finds_behind_a_link(radiography: Path) -> None:
    """F55: links may lead anywhere inside the data folder, in a circle as well, and nowhere else."""
    folder = next(radiography.rglob("COVID-1.png")).parent
    moved = folder.rename(radiography / "elsewhere")
    folder.symlink_to(moved)
    (moved / "circle").symlink_to(folder.parent)
    (folder.parent / "outside").symlink_to("/")
    before = fingerprint(["radiography"], radiography)
    assert fingerprint(["radiography"], radiography) == before
    (moved / "COVID-1.png").write_bytes(b"other content")
    assert fingerprint(["radiography"], radiography) != before


def test_real_datasets_are_read_in_full(real_data: Path) -> None:
    catalog, notes = merge(["radiography", "mendeley", "nih"], real_data / "raw")
    assert catalog.frame.groupby("source").size().to_dict() == {"mendeley": 360, "nih": 523, "radiography": 526}
    assert notes == ["nih: 39 rows of Data_Entry_2017.csv have no image on disk"]
    pneumothorax = catalog.frame[catalog.frame["nodes"].str.contains("pneumothorax")]
    assert (len(pneumothorax), pneumothorax["patient"].nunique()) == (47, 19)
    assert (catalog.frame["mask_file"] != "").sum() == 80


@pytest.mark.parametrize(
    "table",
    ["bom_crlf", "ages", "duplicate_ids", "formula", "html", "path_in_id", "quoted_newline", "unknown_labels"],
)
def test_hostile_nih_tables_are_read_and_flagged(real_data: Path, tmp_path: Path, table: str) -> None:
    folder = tmp_path / "nih"
    (folder / "images").mkdir(parents=True)
    content = (real_data / "corrupt" / "csv" / f"Data_Entry_{table}.csv").read_bytes()
    (folder / "Data_Entry_2017.csv").write_bytes(content)
    touch(folder / "images" / "00000001_000.png")
    catalog, notes = merge(["nih"], tmp_path)
    assert len(catalog.frame) == 1
    assert notes


@pytest.mark.parametrize("table", ["empty", "missing_columns", "semicolon", "utf16"])
def test_nih_tables_that_are_no_tables_are_refused(real_data: Path, tmp_path: Path, table: str) -> None:
    (tmp_path / "images").mkdir()
    content = (real_data / "corrupt" / "csv" / f"Data_Entry_{table}.csv").read_bytes()
    (tmp_path / "Data_Entry_2017.csv").write_bytes(content)
    with pytest.raises(UsageProblem):
        merge(["nih"], tmp_path)
