"""What the data report shows beyond counts: pictures, look-alikes, sources, patients and descriptors."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data_contracts.catalog import Catalog
from data_contracts.image_store import ImageStore
from data_contracts.ontology import task_named
from data_contracts.splits import SplitSettings
from models.reports.compose import data_page
from models.reports.data_pictures import REFUSED_SHOWN
from models.reports.data_report import DataDetail, data_detail
from models.reports.data_section import data_section
from models.reports.descriptor_figures import Histogram, descriptor_histograms, ridges
from models.reports.row_names import RowNames, inert
from models.reports.thumbnails import LONGER_SIDE, Thumbnails

TITLES = {"covid19": "COVID-19", "normal": "Normal"}


def picture(number: int, size: tuple[int, int] = (96, 64)) -> Image.Image:
    noise = np.random.default_rng(number).integers(0, 255, (size[1], size[0]), dtype=np.uint8)
    return Image.fromarray(noise)


def catalog() -> Catalog:
    """Six kept images (two look alike with contradicting labels, two are of one patient), a duplicate, 30 refused."""
    rows = [
        {"label": "", "nodes": "covid19", "group_id": "g0", "label_conflict": True, "phash": f"{0:064x}"},
        {"label": "", "nodes": "no_finding", "group_id": "g0", "label_conflict": True, "phash": f"{3:064x}"},
        {"label": "normal", "nodes": "no_finding", "group_id": "g1", "phash": f"{7:064x}", "patient": "nih:13"},
        {"label": "normal", "nodes": "no_finding", "group_id": "g1", "phash": f"{8:064x}", "patient": "nih:13"},
        {"label": "covid19", "nodes": "covid19", "group_id": "g2", "phash": f"{9:064x}", "age": 40.0, "sex": "F"},
        {
            "label": "covid19",
            "nodes": "covid19",
            "group_id": "g3",
            "phash": f"{10:064x}",
            "age": 60.0,
            "view": "AP",
        },
    ]
    frame = pd.DataFrame(rows).assign(status="kept", row=range(6), width=96, height=64)
    frame["source"] = ["radiography", "mendeley", "nih", "nih", "radiography", "mendeley"]
    frame["file"] = [f"images/{i}.png" for i in range(6)]
    frame["image_id"] = [f"{i:064x}" for i in range(6)]
    frame["split"] = ["", "", "train", "train", "train", "test"]
    for position, name in enumerate(("mean", "std", "p01", "p50", "p99", "sharpness", "border_energy")):
        frame[name] = np.arange(6.0) + 10 * (position + 1)
    copy = {"status": "duplicate", "file": "images/copy.png", "source": "radiography", "row": -1}
    copy |= {"image_id": f"{4:064x}", "reason": "same pixels as images/4.png", "group_id": "g2"}
    refused = [
        {
            "status": "quarantined",
            "file": f"bad/{i:02d}.png",
            "source": "radiography",
            "row": -1,
            "reason": "truncated",
        }
        for i in range(29)
    ]
    small = {"status": "quarantined", "file": "bad/small.png", "source": "radiography", "row": -1}
    small |= {"reason": "below minimum size 32 px: 20x10"}
    parts = (Catalog.of(pd.DataFrame(part)).frame for part in (frame, [copy], [*refused, small]))
    return Catalog.of(pd.concat(list(parts), ignore_index=True))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the small picture, and a truncated file."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "bad").mkdir()
    metadata = Image.Exif()
    metadata[0x9286] = "Jane Doe"  # user comment
    picture(1, (20, 10)).save(folder / "bad/small.png", exif=metadata)
    (folder / "bad/00.png").write_bytes((folder / "bad/small.png").read_bytes()[:60])
    return folder


def store() -> ImageStore:
    images = np.stack([np.asarray(picture(i, (64, 64))) for i in range(6)])
    return ImageStore(Path(), images, catalog(), 64, "0" * 64)


@pytest.fixture(scope="module")
def detail(data_dir: Path) -> DataDetail:
    return data_detail(
        catalog(),
        class_titles=TITLES,
        split=SplitSettings(external=["mendeley"]),
        store=store(),
        data_dir=data_dir,
    )


def decoded(png: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(png)))


def test_both_sides_of_a_contradiction_are_shown(detail: DataDetail) -> None:
    [pair] = detail.pictures.conflicts
    assert {pair.first.note, pair.second.note} == {"covid19", "no finding"}
    assert pair.first.png
    assert pair.second.png
    assert pair.first.png != pair.second.png


def test_look_alikes_are_shown_but_not_two_films_of_one_patient(detail: DataDetail) -> None:
    [pair] = detail.pictures.alike
    assert pair.remark == "2 of 256 bits of the picture's hash differ"
    assert detail.pictures.alike_in_all == 1


def test_refused_files_are_shown_where_they_are_pictures_and_no_reason_hides_another(detail: DataDetail) -> None:
    refused = detail.pictures.refused
    assert len(refused) == REFUSED_SHOWN
    assert detail.pictures.refused_in_all == 30
    shown = [picture for picture in refused if picture.png]
    assert [picture.name for picture in shown] == ["bad/small.png"]


def test_a_thumbnail_keeps_the_proportions_and_carries_no_metadata(detail: DataDetail) -> None:
    kept = decoded(detail.pictures.conflicts[0].first.png)
    assert kept.size == (LONGER_SIDE, round(LONGER_SIDE * 64 / 96))
    [shown] = [picture.png for picture in detail.pictures.refused if picture.png]
    refused = decoded(shown)
    assert refused.size == (LONGER_SIDE, LONGER_SIDE // 2)
    assert dict(refused.getexif()) == {}
    assert b"Jane" not in base64.b64decode(shown)


def test_no_picture_is_read_outside_the_data_folder_or_where_it_may_name_a_patient(data_dir: Path) -> None:
    thumbnails = Thumbnails(catalog(), None, data_dir / "bad")
    assert thumbnails.of_refused("small.png", "no contrast")
    assert thumbnails.of_refused("../bad/../bad/small.png", "no contrast")
    assert thumbnails.of_refused("small.png", "burned-in annotation") == ""
    assert Thumbnails(catalog(), None, data_dir / "bad" / "..").of_refused("../small.png", "x") == ""
    assert thumbnails.of_image("0" * 64) == ""  # no store at hand


def test_sources_say_how_well_their_patients_are_known(detail: DataDetail) -> None:
    rows = {row.source: row for row in detail.sources}
    assert rows["nih"].with_patient == rows["nih"].kept == 2
    assert rows["nih"].patients == 1
    assert rows["radiography"].with_patient == 0
    assert rows["radiography"].quarantined == 30
    assert rows["mendeley"].external
    assert not rows["nih"].external


def test_patients_and_views_are_counted_by_source_and_class(detail: DataDetail) -> None:
    rows = {(row.source, row.class_title): row for row in detail.population}
    assert rows["radiography", "COVID-19"].age_median == 40
    assert rows["radiography", "COVID-19"].female == 1
    assert rows["mendeley", "COVID-19"].ap == 1
    assert rows["nih", "Normal"].age_median is None


def test_an_image_of_several_classes_counts_for_each_in_the_composition() -> None:
    frame = catalog().frame
    frame.loc[frame["label"] == "normal", "label"] = "covid19|normal"
    data = data_section(Catalog.of(frame), class_titles=TITLES, split_settings={})
    assert data.several_labels
    assert [(row.source, row.class_title, row.images) for row in data.composition if row.source == "nih"] == [
        ("nih", "COVID-19", 2),
        ("nih", "Normal", 2),
    ]


def test_histograms_cover_their_images_and_draw_one_ridge_per_source() -> None:
    kept = catalog().kept
    histograms = descriptor_histograms(kept)
    brightness = histograms[0]
    assert brightness.medians == {"mendeley": 13.0, "nih": 12.5, "radiography": 12.0}
    assert all(0 < sum(shares) <= 1 for shares in brightness.shares.values())
    assert all(str(ridges(histogram)).count('class="ridge"') == 3 for histogram in histograms)
    same = kept.assign(width=512)
    [width] = [histogram for histogram in descriptor_histograms(same) if histogram.title == "Width"]
    assert width.edges[0] < 512 < width.edges[-1]


def test_a_logarithmic_axis_has_round_marks() -> None:
    histogram = Histogram(
        title="Width",
        unit="pixels",
        logarithmic=True,
        edges=[100.0, 1000.0, 10000.0],
        shares={"a": [0.5, 0.5]},
        medians={"a": 1000.0},
    )
    drawn = str(ridges(histogram))
    assert all(f">{mark}<" in drawn for mark in ("100", "1000"))


def test_a_page_without_pictures_names_them_all_the_same() -> None:
    page = data_page(
        catalog(), [], title="Data", recipe_name="r", task=task_named("covid-binary"), split=SplitSettings()
    )
    assert "data:image" not in page
    assert "no picture" in page
    assert "images/0.png" in page


def test_the_same_catalog_gives_the_same_page(data_dir: Path) -> None:
    task = task_named("covid-binary")
    arguments = {"title": "Data", "recipe_name": "r", "task": task, "split": SplitSettings(), "store": store()}
    assert data_page(catalog(), [], **arguments, data_dir=data_dir) == data_page(
        catalog(), [], **arguments, data_dir=data_dir
    )


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1"])
def test_text_that_a_spreadsheet_would_run_gets_a_quotation_mark(text: str) -> None:
    assert inert(text) == f"'{text}"
    assert inert(f"a{text}") == f"a{text}"


def test_a_missing_path_does_not_garble_the_sentences_of_its_source() -> None:
    frame = catalog().frame
    frame.loc[frame["source"] == "nih", "file"] = ""
    assert RowNames(frame).within("2 rows contradict this.") == "2 rows contradict this."
