"""The pages in a real browser: they draw, and nothing sticks out of a phone's screen. All content is made up."""

from __future__ import annotations

import base64
import io
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from data_contracts.expectations.report import ValidationCheck, ValidationReport
from models.evaluation.results import ClassEvaluation, Estimate, Evaluation, OperatingPoint, RocCurve
from models.evaluation.selection import Selection
from models.explanation.results import CamItem, CamSheet
from models.reports.data_report import DataReport, render_data_report
from models.reports.data_section import CompositionRow, Counts, DataSection, Identity, Reason
from models.reports.run_pages import render_run_pages
from models.reports.run_report import ArchitectureSection, Reproduction, RunReport, render_run_report
from models.training.history import EpochRecord, TrainingHistory

TITLES = {"bacterial": "Bacterial pneumonia", "normal": "Normal", "pneumothorax": "Pneumothorax"}
LONG_NAME = "vit_tiny_patch16_224.augreg_in21k_ft_in1k_with_a_long_name"
PHONE_WIDTH, DESKTOP_WIDTH = 390, 1280
ACCENT_COLOUR, PICTURE_COLOUR, PAPER_COLOUR = (0x0B, 0x5C, 0x87), (200, 0, 200), (255, 255, 255)

pytestmark = pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")


def chromium(folder: Path, page: Path, *options: str) -> str:
    """Run headless Chromium on a local page and return what it prints."""
    command = [
        *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *(f"--user-data-dir={folder / 'profile'}", *options, page.as_uri()),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def estimate(value: float) -> Estimate:
    return Estimate(value=value, low=value - 0.05, high=value + 0.05, n=90, method="wilson")


def architecture(name: str, parameters: int) -> ArchitectureSection:
    number = estimate(0.8)
    point = OperatingPoint(
        threshold=0.3,
        target_sensitivity=0.95,
        sensitivity=number,
        specificity=number,
        assured=False,
        note="too few",
    )
    curve = RocCurve(false_positive_rate=[0, 0.2, 1], sensitivity=[0, 0.8, 1])
    counts = {"n_positive": 30, "n_negative": 60, "positive_groups": 20}
    rates = dict.fromkeys(("sensitivity", "specificity", "ppv", "npv", "roc_auc"), number)
    classes = [
        ClassEvaluation(
            name=key, title=title, operating_point=point, roc=curve, judgement="wide", **counts, **rates
        )
        for key, title in TITLES.items()
    ]
    records = [
        EpochRecord(
            epoch=e, learning_rate=0.1, train_loss=1 / e, val_loss=1.2 / e, val_macro_auc=0.8, val_accuracy=0.5
        )
        for e in (1, 2, 3)
    ]
    picture = io.BytesIO()
    Image.new("RGB", (128, 64), PICTURE_COLOUR).save(picture, "PNG")
    item = CamItem(
        image_id="0" * 64,
        truth="normal",
        predicted="pneumothorax",
        probability=0.6,
        outcome="wrong",
        all_zero=False,
        picture_png_base64=base64.b64encode(picture.getvalue()).decode(),
    )
    return ArchitectureSection(
        name=name,
        parameters=parameters,
        history=TrainingHistory(epochs=records, best_epoch=2),
        evaluation=Evaluation(
            architecture=name,
            split="test",
            n=90,
            n_groups=80,
            without_patient_id=0,
            class_names=list(TITLES),
            classes=classes,
            confusion=[[25, 3, 2], [1, 28, 1], [0, 0, 30]],
            accuracy=number,
            balanced_accuracy=number,
            macro_auc=number,
            primary_metric="macro_auc",
            primary=number,
            notes=["A note that is to be read before the numbers."],
        ),
        operating_points=dict.fromkeys(TITLES, point),
        cam_sheet=CamSheet(architecture=name, layer="layer4", items=[item]),
    )


def data() -> DataSection:
    path = "covid19-radiography-database/COVID-19_Radiography_Dataset/COVID/images/" + "x" * 80 + ".png"
    check = ValidationCheck(
        name="size",
        title="Images are large enough.",
        severity="critical",
        passed=False,
        unexpected_count=1,
        unexpected=[path],
        detail="1 of 200 rows does not.",
    )
    composition = [
        CompositionRow(source="radiography", class_title=title, split=split, images=30, groups=28)
        for title in TITLES.values()
        for split in ("train", "val", "test")
    ]
    return DataSection(
        counts=Counts(offered=271, kept=270, quarantined=1, duplicate=0),
        quarantine=[Reason(reason="truncated file", count=1, rows=[path])],
        duplicates=[],
        label_conflict_groups=0,
        label_conflicts=[],
        composition=composition,
        excluded=[],
        identity=Identity(groups=252, largest_group=2, without_patient_id=270, groups_in_several_splits=0),
        split_settings={"seed": "7"},
        validation=ValidationReport.of("catalog", [check]),
    )


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the pages of a run and data.html."""
    folder = tmp_path_factory.mktemp("pages")
    names = [LONG_NAME, "resnet50"]
    run = RunReport(
        title="Merged",
        recipe_name="merged",
        recipe_yaml="name: merged\n",
        task_title="Three classes",
        class_titles=TITLES,
        selection=Selection(winner=LONG_NAME, primary_metric="macro_auc", why="highest", ranking=names),
        architectures=[architecture(name, 5_700_000 * rank) for rank, name in enumerate(names, start=1)],
        data=data(),
        reproduction=Reproduction(
            commands=["lungline train merged --data " + "folder/" * 20],
            data_hash="d" * 64,
            bundle_hash="b" * 64,
            seed=7,
            versions={"torch": "2.13.0"},
        ),
    )
    for name, text in {"report.html": render_run_report(run), **render_run_pages(run)}.items():
        (folder / name).write_text(text, encoding="utf-8")
    report = DataReport(title="Data of merged", catalog_hash="9" * 64, data=data())
    (folder / "data.html").write_text(render_data_report(report), encoding="utf-8")
    return folder


def test_the_pages_draw_their_plots_and_pictures(pages: Path) -> None:
    for name in ("report.html", f"architecture-{LONG_NAME}.html"):
        shot = pages / "shot.png"
        chromium(pages, pages / name, f"--screenshot={shot}", f"--window-size={DESKTOP_WIDTH},9000")
        with Image.open(shot) as image:
            colours = image.convert("RGB").getcolors(maxcolors=image.width * image.height) or []
        pixels = {colour: n for n, colour in colours}
        assert pixels.get(ACCENT_COLOUR, 0) > 1000, "lines and bars of the winner"
        assert pixels.get(PICTURE_COLOUR, 0) > 2000, "Grad-CAM pictures"
        assert pixels.get(PAPER_COLOUR, 0) > 0.5 * DESKTOP_WIDTH * 9000, "a page is mostly paper"


def measured_in_frames(pages: Path, names: list[str], script: str) -> list[str]:
    """What `script`, a function of an iframe, says of each page; frames because headless windows have a least width."""
    frames = "".join(
        f'<iframe src="{name}" style="width:{PHONE_WIDTH}px;height:800px"></iframe>' for name in names
    )
    measure = f"document.title = [...document.querySelectorAll('iframe')].map({script}).join(' ')"
    wrapper = pages / "frames.html"
    wrapper.write_text(f'<title></title><body onload="{measure}">{frames}', encoding="utf-8")
    dom = chromium(pages, wrapper, "--dump-dom", "--allow-file-access-from-files")
    return dom.split("<title>")[1].split("</title>")[0].split()


def test_nothing_sticks_out_of_a_phone(pages: Path) -> None:
    names = ["report.html", "data.html", f"architecture-{LONG_NAME}.html", "checklist.html"]
    width = "f => f.contentDocument.documentElement.scrollWidth + '/' + f.clientWidth"
    assert measured_in_frames(pages, names, width) == [f"{PHONE_WIDTH}/{PHONE_WIDTH}"] * 4


def test_a_table_is_sorted_by_its_header_and_back(pages: Path) -> None:
    # By parameters twice (the larger first, then the smaller), then as it was.
    script = (
        "f => { const table = f.contentDocument.querySelector('table.sortable');"
        " const button = [...table.querySelectorAll('thead button')].at(-1);"
        " const first = () => table.tBodies[0].rows[0].querySelector('a').textContent.slice(0, 8);"
        " return [1, 2, 3].map(() => { button.click();"
        " return first() + ':' + button.closest('th').getAttribute('aria-sort') }).join(' ') }"
    )
    assert measured_in_frames(pages, ["report.html"], script) == [
        "resnet50:descending",
        "vit_tiny:ascending",
        "vit_tiny:null",
    ]
