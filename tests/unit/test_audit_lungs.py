"""Lung masks: those of a source where they can be read, else an estimate whose overlap with drawn ones is measured."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_contracts.images import DecodeLimits, read_image
from data_contracts.sources.phantom import Disease, draw_phantom
from models.audit.lungs import ESTIMATE_DICE, MASK_SIDE, dice, enlarge, estimate_lungs, lung_masks, widen


def phantoms(size: int = 96, count: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Images and true masks at MASK_SIDE."""
    drawn = [draw_phantom(Disease.NORMAL, seed=3, patient=i, index=i, size=size) for i in range(count)]
    masks = [np.asarray(Image.fromarray(one.lung_mask).resize((MASK_SIDE, MASK_SIDE))) for one in drawn]
    return np.stack([one.pixels for one in drawn]), np.stack(masks)


@pytest.mark.parametrize("size", [64, 96])
def test_the_estimate_finds_the_lungs_of_phantoms(size: int) -> None:
    images, masks = phantoms(size)
    overlap = dice(estimate_lungs(images), masks)
    assert overlap.mean() > 0.75
    assert overlap.min() > 0.6


@pytest.mark.parametrize("picture", [np.zeros((32, 32)), np.full((64, 64), 255), np.eye(200) * 255])
def test_a_picture_without_lungs_gets_a_mask_and_no_error(picture: np.ndarray) -> None:
    mask = estimate_lungs(picture[None].astype(np.uint8))
    assert mask.shape == (1, MASK_SIDE, MASK_SIDE)
    assert 0.05 < mask.mean() < 0.6


def test_no_images_are_no_masks() -> None:
    assert lung_masks(np.empty((0, 64, 64), np.uint8), [], None).masks.shape == (0, MASK_SIDE, MASK_SIDE)


def test_masks_of_the_source_come_first_and_bad_ones_are_counted(tmp_path: Path) -> None:
    images, masks = phantoms(count=6)
    Image.fromarray(masks[0].astype(np.uint8) * 255).save(tmp_path / "good.png")
    Image.fromarray(masks[1].astype(np.uint8)).save(tmp_path / "zero-one.png")  # 1 for lung
    Image.new("L", (64, 64)).save(tmp_path / "empty.png")
    (tmp_path / "page.png").write_text("<html>not here</html>")
    (tmp_path / "cut.png").write_bytes((tmp_path / "good.png").read_bytes()[:60])
    files = ["good.png", "zero-one.png", "empty.png", "page.png", "cut.png", "missing.png"]
    found = lung_masks(images, files, tmp_path)
    assert found.given.tolist() == [True, True, False, False, False, False]
    assert found.refused == 4
    assert (dice(found.masks[:2], masks[:2]) > 0.98).all()
    np.testing.assert_array_equal(found.masks[2:], estimate_lungs(images[2:]))
    without_folder = lung_masks(images, files, None)
    assert not without_folder.given.any()
    assert without_folder.refused == 0


def test_a_margin_grows_each_mask_by_itself() -> None:
    masks = np.zeros((2, MASK_SIDE, MASK_SIDE), dtype=bool)
    masks[0, 30:34, 30:34] = True
    wide = widen(masks)
    assert not wide[1].any()
    assert wide[0].any(axis=1).sum() == 4 + 2 * 3  # 5 % of 64 are 3 pixels


def test_masks_are_enlarged_in_place() -> None:
    masks = np.zeros((1, MASK_SIDE, MASK_SIDE), dtype=bool)
    masks[0, 16:32, 48:] = True
    expected = np.zeros((224, 224), dtype=bool)
    expected[56:112, 168:] = True
    np.testing.assert_array_equal(enlarge(masks, 224)[0], expected)
    assert enlarge(masks, 32).shape == (1, 32, 32)


def test_overlap_is_dice() -> None:
    first = np.array([[[1, 1], [0, 0]], [[0, 0], [0, 0]]], dtype=bool)
    second = np.array([[[1, 0], [1, 0]], [[0, 0], [0, 0]]], dtype=bool)
    assert dice(first, second).tolist() == [0.5, 1.0]


@pytest.mark.real_data
def test_the_stated_overlap_with_drawn_masks_is_the_measured_one(
    real_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = drawn_masks(real_data)
    images = np.stack([read_image(image, size=128, limits=DecodeLimits()).pixels for image, _ in pairs])
    drawn = np.stack([_mask(mask) for _, mask in pairs])
    overlap = dice(estimate_lungs(images), drawn)
    measured = overlap.mean(), np.median(overlap), np.quantile(overlap, 0.1)
    with capsys.disabled():
        print(f"\nDice of {len(pairs)} lung estimates: mean %.3f, median %.3f, 10th percentile %.3f" % measured)
    assert len(pairs) == 255
    assert measured == pytest.approx(ESTIMATE_DICE, abs=0.006)


def drawn_masks(folder: Path) -> list[tuple[Path, Path]]:
    with (folder / "extra/lung_masks/index.csv").open(newline="") as file:
        listed = [(folder / row["image"], folder / row["mask"]) for row in csv.DictReader(file)]
    beside = sorted((folder / "raw/covid19-radiography-database").rglob("masks/*.png"))
    return listed + [(mask.parent.parent / "images" / mask.name, mask) for mask in beside]


def _mask(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        shrunk = picture.convert("L").resize((MASK_SIDE, MASK_SIDE), Image.Resampling.BOX)
    return np.asarray(shrunk) > 127
