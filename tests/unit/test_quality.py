"""Descriptors say what an independent calculation over the pixels says; the perceptual hash is imagehash's."""

from __future__ import annotations

import imagehash
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from scipy.ndimage import gaussian_filter, laplace

from data_contracts.quality import Descriptors, describe, perceptual_hash


def described(pixels: np.ndarray) -> Descriptors:
    return describe(Image.fromarray(pixels).histogram(), pixels)


def noise(side: int = 64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8)


def texture(side: int, seed: int = 0) -> Image.Image:
    field = gaussian_filter(np.random.default_rng(seed).normal(size=(side, side)), side / 40)
    return Image.fromarray(np.rint(np.interp(field, (field.min(), field.max()), (0, 255))).astype(np.uint8))


@given(arrays(np.uint8, (7, 9)))
def test_grey_level_descriptors_are_those_of_the_pixels(pixels: np.ndarray) -> None:
    found = described(pixels)
    assert found.mean == pytest.approx(pixels.mean())
    assert found.std == pytest.approx(pixels.std())
    assert [found.p01, found.p50, found.p99] == np.quantile(
        pixels, [0.01, 0.5, 0.99], method="inverted_cdf"
    ).tolist()
    assert found.saturated == pytest.approx(np.isin(pixels, (0, 255)).mean())


@given(arrays(np.uint8, (8, 6), elements=st.sampled_from([0, 7, 128, 255])))
def test_sharpness_is_the_variance_of_the_laplacian_inside(pixels: np.ndarray) -> None:
    expected = laplace(pixels.astype(float))[1:-1, 1:-1].var()
    assert described(pixels).sharpness == pytest.approx(expected)


def test_a_checkerboard_is_as_sharp_as_can_be() -> None:
    board = (np.indices((10, 10)).sum(axis=0) % 2 * 255).astype(np.uint8)
    assert described(board).sharpness == pytest.approx((4 * 255) ** 2)


def test_a_flat_picture_has_neither_contrast_nor_sharpness_nor_border() -> None:
    flat = described(np.full((32, 32), 90, np.uint8))
    assert (flat.mean, flat.std, flat.p01, flat.p99, flat.sharpness, flat.border_energy) == (90, 0, 90, 90, 0, 0)


def test_blur_lowers_sharpness() -> None:
    sharp = noise()
    blurred = gaussian_filter(sharp, 1.5)
    assert described(blurred).sharpness < described(sharp).sharpness / 10


def test_border_energy_sees_the_outer_twentieth_and_nothing_else() -> None:
    picture = noise(100)
    inner = picture.copy()
    inner[5:-5, 5:-5] = 0
    outer = np.ones((100, 100), bool)
    outer[5:-5, 5:-5] = False
    assert described(picture).border_energy == described(inner).border_energy
    assert described(picture).border_energy == pytest.approx(picture[outer].std())


def test_the_perceptual_hash_is_that_of_imagehash() -> None:
    picture = texture(200)
    assert perceptual_hash(picture) == str(imagehash.phash(picture, hash_size=16))
    assert len(perceptual_hash(picture)) == 64


def test_the_perceptual_hash_endures_scale_and_tells_pictures_apart() -> None:
    picture = texture(900)
    original, smaller, other = (
        imagehash.hex_to_hash(perceptual_hash(image))
        for image in (picture, picture.resize((300, 250)), texture(900, seed=1))
    )
    assert original - smaller <= 12
    assert original - other > 60
