"""Every file of the hostile collection behaves as its list EXPECT.csv says; a row that no check knows is a failure."""

from __future__ import annotations

import csv
import math
import os
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from data_contracts.catalog import DUPLICATE, KEPT, QUARANTINED
from data_contracts.errors import DataGateError, ExternalServiceError, LunglineError, UsageProblem
from data_contracts.fetch.archive import unpack
from data_contracts.image_store import ImageStore, ImageStoreSettings, build_image_store
from data_contracts.images import DecodeLimits, read_image
from data_contracts.sources import SOURCES, locate, merge
from data_contracts.spreadsheet import to_spreadsheet
from models.reports.page import _environment

Row = dict[str, str]

# What each file of img/ becomes: the start of the reason for which it is refused …
REASONS = {
    "truncated.jpg": "truncated",
    "truncated.png": "truncated",
    "zero_bytes.png": "empty file",
    "text_renamed.png": "not an image",
    "html_error_page.jpg": "not an image (looks like an HTML page: failed download?)",
    "one_pixel.png": "below minimum size",
    "all_black.png": "no contrast",
    "onebit.png": "two grey levels only (a mask?)",
    "bomb_30000x30000.png": "too large: 30000x30000",
    "bomb_header_only.png": "too large",
    "animated_gif_renamed.png": "format not allowed: GIF",
    "bad_crc.png": "damaged or not supported",
}


@dataclass(frozen=True)
class Accepted:
    """… or what is recorded of a picture that is accepted. same_pixels: as those of the picture it was made from."""

    conversion: str = ""
    same_pixels: bool = True
    mean_within: float = field(default=1.0)


ACCEPTED = {
    "gray16.png": Accepted("16-bit scaled"),
    "gray12in16.png": Accepted("12-bit scaled", same_pixels=False),
    "rgba.png": Accepted("colour to grey|alpha composited", same_pixels=False, mean_within=math.inf),
    "palette.png": Accepted("palette"),
    "cmyk.jpg": Accepted("CMYK", same_pixels=False),
    "exif_rotated_phi.jpg": Accepted("rotated", same_pixels=False),
    "png_named.jpeg": Accepted(),
    "UPPER.JPG": Accepted(),
    "trailing_garbage.jpg": Accepted(),
    "Порожній знімок — 肺 (1) é.jpg": Accepted(),
    'name,with "quotes"; and\ttab.jpg': Accepted(),
    "=cmd()+A1.jpg": Accepted(),
}
IGNORED = {"no_extension", "._IM-0001-0001.jpeg", ".DS_Store", "thumbs.db"}

ARCHIVES: dict[str, tuple[type[LunglineError], str] | None] = {
    "path_traversal.zip": (DataGateError, "outside"),
    "absolute_path.zip": (DataGateError, ""),
    "backslash_path.zip": (DataGateError, ""),
    "symlink.zip": (DataGateError, "link"),
    "zip_bomb_small.zip": (DataGateError, "claim"),
    "truncated.zip": (ExternalServiceError, "cut short"),
    "case_collision.zip": (DataGateError, "case"),
    "html_instead.zip": (ExternalServiceError, "credentials"),
    "nested_zip.zip": None,
    "good.zip": None,
}


@dataclass(frozen=True)
class Collection:
    """The hostile collection, and a store built of its images as a team's own image folder of one class."""

    root: Path
    store: ImageStore
    notes: list[str]

    def row(self, name: str) -> pd.Series | None:
        frame = self.store.catalog.frame
        found = frame[frame["file"] == f"image-folder/normal/{name}"]
        return found.iloc[0] if len(found) else None


@pytest.fixture(scope="module")
def collection(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Collection:
    data = tmp_path_factory.mktemp("hostile")
    images = data / "image-folder" / "normal"
    images.mkdir(parents=True)
    with tarfile.open(real_data / "corrupt" / "odd_names.tar") as archive:
        archive.extractall(data / "odd", filter="data")
    files = [path for path in (real_data / "corrupt" / "img").rglob("*") if path.is_file()]
    for path in (*files, *(data / "odd" / "img").iterdir()):
        shutil.copyfile(path, images / path.name)
    catalog, notes = merge(["image-folder"], data)
    built = build_image_store(catalog, data, ImageStoreSettings(size=64), data / "stores")
    return Collection(real_data / "corrupt", ImageStore.open(built.folder), notes)


def check_image(row: Row, collection: Collection, _: Path) -> None:
    name = row["file"].rpartition("/")[2]
    found = collection.row(name)
    if name in IGNORED:
        assert found is None
        assert "image-folder: normal: 4 files that are not images ignored" in collection.notes
        return
    assert found is not None
    if name in REASONS:
        assert found["status"] == QUARANTINED
        assert found["reason"].startswith(REASONS[name])
        return
    expected = ACCEPTED[name]
    assert found["status"] in (KEPT, DUPLICATE)
    assert found["conversion"] == expected.conversion
    original = read_image(collection.root.parent / row["derived_from"], size=64, limits=DecodeLimits())
    assert (found["image_id"] == original.image_id) == expected.same_pixels
    assert abs(found["mean"] - original.descriptors.mean) <= expected.mean_within
    assert found["format"] == ("PNG" if name.endswith((".png", ".jpeg")) else "JPEG")
    if name == "exif_rotated_phi.jpg":
        check_no_trace_of_a_name(collection)


def check_no_trace_of_a_name(collection: Collection) -> None:
    with Image.open(collection.root / "img" / "exif_rotated_phi.jpg") as picture:
        description = str(picture.getexif()[270])
    assert "DOE^JANE" in description
    for path in collection.store.folder.parent.rglob("*"):
        assert path.is_dir() or b"DOE" not in path.read_bytes()


def check_archive(row: Row, collection: Collection, tmp_path: Path) -> None:
    name = row["file"].removeprefix("zip/")
    expected = ARCHIVES[name]
    archive = collection.root / row["file"]
    if expected is None:
        unpacked = unpack(archive, tmp_path / "out")
        assert unpacked.files > 0
        assert bool(unpacked.nested) == (name == "nested_zip.zip")
        return
    kind, words = expected
    with pytest.raises(kind) as refused:
        unpack(archive, tmp_path / "out")
    assert words in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def nih(table: Path, data: Path) -> Path:
    """The NIH layout with this findings table and an image for each plain name that it holds."""
    folder = data / "nih"
    (folder / "images").mkdir(parents=True)
    shutil.copyfile(table, folder / "Data_Entry_2017.csv")
    for number in ("00000001_000", "00000001_001", "00000001_002", "00000002_000"):
        (folder / "images" / f"{number}.png").write_bytes(b"not read here")
    for number in range(7):
        (folder / "images" / f"00000003_{number:03}.png").write_bytes(b"not read here")
    return data


def rows_of(table: Path, data: Path) -> tuple[pd.DataFrame, str]:
    """Catalog rows by image name, and all notes in one text."""
    catalog, notes = merge(["nih"], nih(table, data))
    frame = catalog.frame.set_index(catalog.frame["file"].str.rpartition("/")[2].str.removesuffix(".png"))
    return frame, "\n".join(notes)


def refused_table(table: Path, data: Path) -> str:
    with pytest.raises(UsageProblem) as refused:
        rows_of(table, data)
    return str(refused.value)


def check_ages(table: Path, data: Path) -> None:
    frame, _ = rows_of(table, data)
    ages = {"00000002_000": 58.0, "00000003_001": 1.0, "00000003_003": 0.0, "00000003_004": 77.0}
    assert {name: frame.loc[name, "age"] for name in ages} == ages
    assert set(frame.loc[list(ages), "flags"]) == {""}
    unusable = {
        **{"00000001_000": "age_implausible", "00000001_001": "age_missing", "00000001_002": "age_implausible"},
        **{"00000003_000": "age_missing", "00000003_002": "age_implausible"},
    }
    assert {name: frame.loc[name, "flags"] for name in unusable} == unusable
    assert frame.loc[list(unusable), "age"].isna().all()


def check_duplicate_ids(table: Path, data: Path) -> None:
    frame, notes = rows_of(table, data)
    assert frame.loc["00000001_000", "status"] == KEPT
    assert frame.loc["00000001_001", ["status", "reason"]].tolist() == [
        QUARANTINED,
        "listed twice with different labels",
    ]
    assert "2 rows of Data_Entry_2017.csv repeat an earlier image" in notes


def check_unknown_labels(table: Path, data: Path) -> None:
    frame, _ = rows_of(table, data)
    assert (
        frame["reason"].to_dict().items()
        >= {
            "00000001_000": "unknown label: 'Pneumothroax'",
            "00000001_001": "contradictory label: No Finding together with a finding",
            "00000001_002": "unknown label: ''",
        }.items()
    )
    assert (
        frame["nodes"].to_dict().items()
        >= {
            "00000002_000": "pneumonia",
            "00000003_000": "pneumothorax",
            "00000003_001": "effusion|pneumothorax",
        }.items()
    )


def check_missing_columns(table: Path, data: Path) -> None:
    assert "lacks the columns Patient ID, Patient Age;" in refused_table(table, data)


def check_bom_crlf(table: Path, data: Path) -> None:
    frame, notes = rows_of(table, data)
    clean = data / "clean.csv"
    clean.write_text(table.read_text(encoding="utf-8-sig"), encoding="utf-8", newline="\n")
    expected, clean_notes = rows_of(clean, data / "clean")
    pd.testing.assert_frame_equal(frame.drop(columns="file"), expected.drop(columns="file"))
    assert notes == clean_notes
    assert frame.loc["00000003_001", "nodes"]


def check_utf16(table: Path, data: Path) -> None:
    assert "is not UTF-8 text" in refused_table(table, data)


def check_semicolon(table: Path, data: Path) -> None:
    assert "its header begins 'Image Index;Finding Labels" in refused_table(table, data)


def check_empty(table: Path, data: Path) -> None:
    assert "lacks the columns Image Index" in refused_table(table, data)


def check_header_only(table: Path, data: Path) -> None:
    frame, notes = rows_of(table, data)
    assert "has a header and no rows" in notes
    assert set(frame["reason"]) == {"no row in Data_Entry_2017.csv"}


def check_quoted_newline(table: Path, data: Path) -> None:
    frame, _ = rows_of(table, data)
    assert frame.loc["00000001_000", "reason"] == "unknown label: 'Effusion\\nMass'"
    assert frame.loc["00000001_001", "nodes"] == "cardiomegaly|emphysema"


def check_path_in_id(table: Path, data: Path) -> None:
    frame, notes = rows_of(table, data)
    assert all((data / file).resolve().is_relative_to(data / "nih") for file in frame["file"])
    assert frame.loc["00000001_002", "nodes"] == "cardiomegaly|effusion"
    assert "2 rows of Data_Entry_2017.csv have no image on disk" in notes


def check_formula(table: Path, data: Path) -> None:
    frame, _ = rows_of(table, data)
    assert frame.loc["00000001_000", "reason"] == "unknown label: '=HYPERLINK(\"http://evil\")'"
    shown = to_spreadsheet(frame[["raw_label", "reason"]])
    assert not any(cell.startswith("=") for line in csv.reader(shown.splitlines()) for cell in line)


def check_html(table: Path, data: Path) -> None:
    frame, _ = rows_of(table, data)
    reason = frame.loc["00000001_000", "reason"]
    assert reason == "unknown label: '<script>alert(1)</script>'"
    assert "<script" not in _environment().from_string("{{ reason }}").render(reason=reason)


TABLES: dict[str, Callable[[Path, Path], None]] = {
    f"Data_Entry_{check.__name__.removeprefix('check_')}.csv": check
    for check in (
        *(check_ages, check_duplicate_ids, check_unknown_labels, check_missing_columns, check_bom_crlf),
        *(check_utf16, check_semicolon, check_empty, check_header_only, check_quoted_newline),
        *(check_path_in_id, check_formula, check_html),
    )
}


def check_table(row: Row, collection: Collection, tmp_path: Path) -> None:
    TABLES[row["file"].removeprefix("csv/")](collection.root / row["file"], tmp_path)


def check_flat_dump(_: Row, collection: Collection, tmp_path: Path) -> None:
    shutil.copytree(collection.root / "flat_dump", tmp_path / "flat_dump")
    assert [name for name, source in SOURCES.items() if source.find(tmp_path)] == []
    with pytest.raises(UsageProblem, match="No dataset in the layout of image-folder"):
        locate(["image-folder"], tmp_path)


def check_wrong_class_folders(_: Row, collection: Collection, tmp_path: Path) -> None:
    shutil.copytree(collection.root / "wrong_class_folders", tmp_path / "set")
    catalog, notes = merge(["covid-pneumonia-normal"], tmp_path)
    rows = catalog.frame.set_index("raw_label")
    assert rows["nodes"].to_dict() == {"Covid": "covid19", "Healthy": "", "normal": "no_finding"}
    assert rows.loc["Healthy", "reason"] == "unknown class folder: Healthy"
    assert "covid-pneumonia-normal: class folder 'PNEUMONIA' holds no images" in notes


CHECKS: dict[str, Callable[[Row, Collection, Path], None]] = {
    "img": check_image,
    "zip": check_archive,
    "csv": check_table,
    "flat_dump": check_flat_dump,
    "wrong_class_folders": check_wrong_class_folders,
}


def expected_rows() -> list[Row]:
    folder = os.environ.get("LUNGLINE_REAL_DATA", "")
    if not folder:
        return []
    with (Path(folder) / "corrupt" / "EXPECT.csv").open(encoding="utf-8", newline="") as table:
        return list(csv.DictReader(table))


@pytest.mark.real_data
@pytest.mark.parametrize("row", expected_rows(), ids=lambda row: row["file"].encode("ascii", "replace").decode())
def test_f12_f13_f14_f15_f22_a_hostile_file_behaves_as_its_list_says(
    row: Row, collection: Collection, tmp_path: Path
) -> None:
    try:
        CHECKS[row["file"].partition("/")[0]](row, collection, tmp_path)
    except KeyError as missing:
        pytest.fail(f"no check for {row['file']}: {missing}")


@pytest.mark.real_data
def test_levels_of_the_list_and_outcomes_agree(real_data: Path) -> None:
    """Nothing that the list wants refused is accepted, and the other way round."""
    for row in expected_rows():
        name = row["file"].rpartition("/")[2]
        if row["file"].startswith("img/"):
            accepted, refused = name in ACCEPTED, name in REASONS
        elif row["file"].startswith("zip/"):
            accepted, refused = ARCHIVES[name] is None, ARCHIVES[name] is not None
        else:
            continue
        assert not (row["level"].startswith("reject ") and accepted), name
        assert not (row["level"] == "accept" and refused), name
        assert (row["level"] in ("ignore", "skip/accept")) == (name in IGNORED), name
