"""The one preprocessing: published vectors, both input kinds, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from data_contracts.errors import UsageProblem
from models.preprocessing import Preprocessing

# Grey levels 0, 128 and 255 by the formulas: x/255, (x/255 - .5)/.5, (x/255 - .449)/.226.
VECTORS = {
    "unit": [0.0, 0.50196078, 1.0],
    "half": [-1.0, 0.00392157, 1.0],
    "imagenet_gray": [-1.98672566, 0.23434018, 2.43805310],
}


def grey(levels: list[int], size: int = 8) -> np.ndarray:
    """One constant (size, size) image per level."""
    return np.repeat(np.array(levels, dtype=np.uint8), size * size).reshape(-1, size, size)


@pytest.mark.parametrize("mode", VECTORS)
def test_grey_levels_become_the_published_values(mode: str) -> None:
    result = Preprocessing(size=8, mode=mode).apply(grey([0, 128, 255]))

    assert result.shape == (3, 1, 8, 8)
    assert result.dtype == torch.float32
    np.testing.assert_allclose(result[:, 0, 3, 5], VECTORS[mode], atol=1e-6)


def test_the_ends_of_half_are_exact() -> None:
    result = Preprocessing(size=8, mode="half").apply(grey([0, 255]))

    assert result[0].unique().tolist() == [-1.0]
    assert result[1].unique().tolist() == [1.0]


def test_arrays_tensors_and_augmented_floats_give_equal_bits() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16), dtype=np.uint8)
    preprocessing = Preprocessing(size=16, mode="imagenet_gray")
    expected = preprocessing.apply(images)

    assert torch.equal(preprocessing.apply(torch.from_numpy(images)), expected)
    assert torch.equal(preprocessing.apply(torch.from_numpy(images).float()), expected)


def test_the_input_is_never_changed() -> None:
    levels = torch.full((1, 8, 8), 200.0)

    Preprocessing(size=8, mode="half").apply(levels)

    assert levels.unique().tolist() == [200.0]


def test_a_read_only_memory_map_is_read_without_a_warning(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", grey([7, 9]))
    images = np.load(tmp_path / "images.npy", mmap_mode="r")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = Preprocessing(size=8, mode="unit").apply(images)

    np.testing.assert_allclose(result[:, 0, 0, 0] * 255, [7, 9], atol=1e-4)


def test_another_size_is_resized_like_pillows_antialiased_bilinear_filter() -> None:
    image = np.random.default_rng(1).integers(0, 256, (64, 64), dtype=np.uint8)
    pillow = np.asarray(Image.fromarray(image).resize((16, 16), Image.Resampling.BILINEAR), dtype=np.float64)

    result = Preprocessing(size=16, mode="unit").apply(image[None])

    # Pillow rounds to whole grey levels after each of its two passes.
    np.testing.assert_allclose(result[0, 0].double() * 255, pillow, atol=1.1)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, 8, 8), dtype=np.float64),
        np.zeros((1, 8, 8), dtype=np.int32),
        np.zeros((8, 8), dtype=np.uint8),
        np.zeros((1, 1, 8, 8), dtype=np.uint8),
    ],
)
def test_another_type_or_shape_is_refused(images: np.ndarray) -> None:
    with pytest.raises(UsageProblem, match="Preprocessing got"):
        Preprocessing(size=8, mode="unit").apply(images)


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ValidationError, match="imagenet_gray"):
        Preprocessing.model_validate({"size": 224, "mode": "caffe"})


def test_recipes_can_be_read_without_importing_torch() -> None:
    modules = "models.preprocessing, models.training.settings, models.training.augmentation_settings"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
