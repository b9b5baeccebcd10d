"""Data that break the contract stop the run before anything trains, with the rows on a page."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.pipeline.conftest import run_lungline


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One workspace for all of these runs: making a ZenML database takes longer than most of them."""
    return tmp_path_factory.mktemp("home")


def page_named_in(message: str, home: Path) -> str:
    """The data page that an error message points to."""
    page = next(page for page in (home / "runs").rglob("data.html") if str(page) in message)
    return page.read_text(encoding="utf-8")


def test_too_many_unreadable_files_stop_the_run_with_exit_code_3(
    phantom: Path, recipe: Path, home: Path, tmp_path: Path
) -> None:
    """F12: beyond the quarantine limit nothing trains; the message names the files and the page."""
    data = tmp_path / "data"
    shutil.copytree(phantom, data)
    broken = sorted((data / "mendeley-9xkhgts2s6").rglob("*.jpg"))[:8]
    for file in broken:
        file.write_bytes(file.read_bytes()[:300])
    stopped = run_lungline(home, "train", str(recipe), "--data", str(data))
    assert stopped.code == 3
    assert "Few enough files are in quarantine." in stopped.err
    assert broken[0].name in stopped.err
    assert "Traceback" not in stopped.err
    assert "train " not in stopped.err.replace("lungline train", "")
    assert broken[0].name in page_named_in(stopped.err, home)


def test_an_empty_class_stops_the_run_and_is_named(
    phantom: Path, recipe: Path, home: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(phantom, data)
    for file in (data / "mendeley-9xkhgts2s6").rglob("Pneumonia-Bacterial*.jpg"):
        file.unlink()
    stopped = run_lungline(home, "data", "build", str(recipe), "--data", str(data))
    assert stopped.code == 3
    assert "bacterial" in stopped.err


def test_f19_a_class_of_one_source_without_a_waiver_stops_the_run_before_training(
    phantom: Path, recipe: Path, home: Path
) -> None:
    without = ("--set", "validation.single_source_waivers={}")
    stopped = run_lungline(home, "train", str(recipe), "--data", str(phantom), *without)
    assert stopped.code == 3
    assert "Images of bacterial come from more than one source." in stopped.err
    assert "train " not in stopped.err.replace("lungline train", "")
    assert "Images of pneumothorax come from more than one source." in page_named_in(stopped.err, home)


def test_the_data_part_alone_reports_what_it_found(phantom: Path, recipe: Path, home: Path) -> None:
    built = run_lungline(home, "data", "build", str(recipe), "--data", str(phantom))
    assert built.code == 0, built.err
    assert "pneumothorax" in built.out
    assert "Pneumothorax" in page_named_in(built.out + built.err, home)


def test_real_images_go_the_whole_way(real_data: Path, home: Path) -> None:
    finished = run_lungline(
        home,
        *("train", "merged", "--data", str(real_data / "raw"), "--json"),
        *("--set", "images.size=48", "--set", "training.epochs=2"),
        *("--set", "architectures=[{name: simple_cnn}, {name: resnet18}]"),
    )
    assert finished.code == 0, finished.err
    assert "1,409 offered = 1,409 kept + 0 quarantined + 0 duplicate" in finished.err
    result = finished.document
    best = next(
        read["test"]
        for read in result["evaluations"]
        if read["test"]["architecture"] == result["selection"]["winner"]
    )
    assert best["macro_auc"]["value"] > 0.6
    pneumothorax = next(entry for entry in best["classes"] if entry["name"] == "pneumothorax")
    assert pneumothorax["judgement"] == "too few to judge"


@pytest.mark.parametrize("source", ["radiography", "nih"])
def test_a_dataset_that_is_missing_is_a_usage_error(
    phantom: Path, recipe: Path, home: Path, tmp_path: Path, source: str
) -> None:
    data = tmp_path / "data"
    shutil.copytree(phantom, data)
    folder = {"radiography": "covid19-radiography-database", "nih": "nih-chest-xrays"}[source]
    shutil.rmtree(data / folder)
    stopped = run_lungline(home, "train", str(recipe), "--data", str(data))
    assert stopped.code == 2
    assert f"layout of {source}" in stopped.err
