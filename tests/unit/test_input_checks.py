"""Doubtful pictures are flagged, rarely wrongly; the rates that input_checks states hold for the real films."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from data_contracts.images import DecodeLimits, read_image
from data_contracts.input_checks import chest_likeness, input_flags, with_input_flags


def chest(side: int = 64) -> np.ndarray:
    """Dark lungs beside a bright middle over a bright abdomen."""
    y, x = np.mgrid[0:side, 0:side] / side
    lungs = (np.hypot((x - 0.27) / 0.16, (y - 0.45) / 0.3) < 1) | (
        np.hypot((x - 0.73) / 0.16, (y - 0.45) / 0.3) < 1
    )
    body = (x > 0.08) & (x < 0.92) & (y > 0.1)
    levels = 20 + 130 * body + 60 * body * (y > 0.75) + 40 * (abs(x - 0.5) < 0.08) - 110 * lungs * body
    return gaussian_filter(np.clip(levels, 0, 255), 1.5).astype(np.uint8)


def test_a_chest_has_no_flag_and_its_negative_is_suspected() -> None:
    assert input_flags(chest()) == []
    assert input_flags(255 - chest()) == ["inversion_suspected"]


def test_likeness_turns_its_sign_with_the_picture_and_ignores_exposure_and_size() -> None:
    likeness = chest_likeness(chest())
    assert likeness > 0.5
    assert chest_likeness(255 - chest()) == pytest.approx(-likeness, abs=0.02)
    assert chest_likeness((chest() // 2 + 90).astype(np.uint8)) == pytest.approx(likeness, abs=0.02)
    assert chest_likeness(chest(200)) == pytest.approx(likeness, abs=0.05)


def test_a_picture_without_any_likeness_is_flagged() -> None:
    stripes = np.tile(np.array([0, 255], np.uint8).repeat(8), (64, 4))
    assert abs(chest_likeness(stripes)) < 0.2
    assert input_flags(stripes) == ["unlike_frontal_chest"]
    assert input_flags(np.full((64, 64), 7, np.uint8)) == ["unlike_frontal_chest"]


def test_flags_of_a_source_stay_and_stale_ones_of_decoding_go() -> None:
    assert with_input_flags("", "") == ""
    assert with_input_flags("age_missing", "inversion_suspected") == "age_missing|inversion_suspected"
    assert with_input_flags("age_missing", "age_implausible|inversion_suspected") == (
        "age_missing|inversion_suspected"
    )


@pytest.mark.real_data
def test_f15_real_films_are_rarely_flagged_and_their_negatives_nearly_always(real_data: Path) -> None:
    files = sorted(p for p in (real_data / "raw").rglob("*") if p.suffix.lower() in (".png", ".jpg", ".jpeg"))
    films = [p for p in files if "masks" not in p.parts][::10]
    pixels = [read_image(path, size=64, limits=DecodeLimits()).pixels for path in films]
    assert len(pixels) > 200
    flagged = [input_flags(film) for film in pixels]
    assert np.mean([bool(flags) for flags in flagged]) < 0.01
    assert np.mean(["inversion_suspected" in input_flags(255 - film) for film in pixels]) > 0.98


def test_noise_is_mostly_flagged() -> None:
    generator = np.random.default_rng(0)
    noise = [np.asarray(Image.fromarray(generator.integers(0, 256, (64, 64), dtype=np.uint8))) for _ in range(100)]
    assert np.mean([bool(input_flags(picture)) for picture in noise]) > 0.85
