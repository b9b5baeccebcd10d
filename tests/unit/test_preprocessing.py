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
from models.preprocessing import Preprocessing, check_fits_weights

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
        Preprocessing.model_validate({"size": 224, "mode": "imagenet"})


def picture(seed: int, size: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).integers(20, 200, (1, size, size), dtype=np.uint8)


@pytest.mark.parametrize(
    ("mode", "level", "published"),
    [
        # Keras' vector for grey 128; blue, green, red.
        ("caffe", 128, [24.061, 11.221, 4.32]),
        # (128/255 - mean)/std for red, green, blue.
        ("imagenet_torch", 128, [0.0740644, 0.2051821, 0.4264923]),
        ("imagenet_torch", 0, [-2.1179039, -2.0357143, -1.8044444]),
    ],
)
def test_each_of_three_channels_has_its_published_value(mode: str, level: int, published: list[float]) -> None:
    result = Preprocessing(size=8, mode=mode, channels=3).apply(grey([level]))

    assert result.shape == (1, 3, 8, 8)
    np.testing.assert_allclose(result[0, :, 3, 5], published, atol=2e-5)


@pytest.mark.parametrize("mode", ["caffe", "imagenet_torch"])
def test_statistics_of_three_channels_need_three_channels(mode: str) -> None:
    with pytest.raises(ValidationError, match="set channels to 3"):
        Preprocessing(size=8, mode=mode)


@pytest.mark.parametrize("mode", ["unit", "half", "imagenet_gray", "per_image_minmax", "per_image_zscore"])
def test_three_channels_are_three_times_the_one(mode: str) -> None:
    images = picture(0)
    one = Preprocessing(size=16, mode=mode).apply(images)

    three = Preprocessing(size=16, mode=mode, channels=3).apply(images)

    assert torch.equal(three, torch.cat([one, one, one], dim=1))


def test_bundles_of_before_there_were_channels_have_one() -> None:
    assert Preprocessing.model_validate_json('{"size": 8, "mode": "half"}').channels == 1


def test_minmax_spans_zero_to_one() -> None:
    image = picture(1)

    result = Preprocessing(size=16, mode="per_image_minmax").apply(image)[0, 0].numpy()

    levels = image[0].astype(np.float64)
    np.testing.assert_allclose(result, (levels - levels.min()) / (levels.max() - levels.min()), atol=1e-6)
    assert (result.min(), result.max()) == (0, 1)


def test_zscore_follows_reference_system_2() -> None:
    image = picture(2)

    result = Preprocessing(size=16, mode="per_image_zscore").apply(image)[0, 0].numpy()

    unit = image[0] / 255
    np.testing.assert_allclose(result, (unit - unit.mean()) / (unit.std() + 1e-6), atol=1e-5)


@pytest.mark.parametrize("mode", ["per_image_minmax", "per_image_zscore"])
@pytest.mark.parametrize("level", [0, 1, 77, 255])
def test_a_constant_image_becomes_zero(mode: str, level: int) -> None:
    for size in (16, 8, 13):  # kept and resized
        result = Preprocessing(size=size, mode=mode).apply(grey([level], 16))

        assert result.abs().max() < 1e-3
    assert not Preprocessing(size=16, mode=mode).apply(grey([level], 16)).any()


@pytest.mark.parametrize("mode", ["per_image_minmax", "per_image_zscore"])
def test_an_image_is_prepared_alike_alone_and_in_a_batch(mode: str) -> None:
    images = np.concatenate([picture(seed) for seed in range(5)])
    preprocessing = Preprocessing(size=16, mode=mode)

    together = preprocessing.apply(images)

    assert torch.equal(torch.cat([preprocessing.apply(image[None]) for image in images]), together)


@pytest.mark.parametrize("mode", ["per_image_minmax", "per_image_zscore"])
def test_per_image_modes_forget_exposure(mode: str) -> None:
    image = picture(3).astype(np.float32)
    preprocessing = Preprocessing(size=16, mode=mode)

    torch.testing.assert_close(
        preprocessing.apply(image * 0.5 + 30), preprocessing.apply(image), rtol=0, atol=1e-4
    )


def test_weights_served_with_another_preprocessing_lose_their_accuracy() -> None:
    """Reference system 2: 97.83 % by its own evaluation, 74 % where the z-score was left out at prediction."""
    generator = np.random.default_rng(4)
    label = np.arange(200) % 2
    # The sign of the contrast between the halves is the class; exposure differs from image to image.
    sign = np.where(label == 1, 1.0, -1.0)[:, None, None] * np.where(np.arange(8) < 4, 1, -1)
    exposure = generator.uniform(60, 190, (200, 1, 1))
    images = np.clip(exposure + 6 * sign + generator.normal(0, 4, (200, 8, 8)), 0, 255).astype(np.uint8)
    trained_with = Preprocessing(size=8, mode="per_image_zscore")
    inputs = trained_with.apply(images).flatten(1)
    target = torch.from_numpy(label * 2.0 - 1).float()
    # A linear classifier with an intercept that reads raw levels as if they were z-scores.
    design = torch.cat([inputs, torch.ones(200, 1)], dim=1)
    weights = torch.linalg.lstsq(design[:100], target[:100, None]).solution + 0.05

    def accuracy(preprocessing: Preprocessing) -> float:
        served = torch.cat([preprocessing.apply(images[100:]).flatten(1), torch.ones(100, 1)], dim=1)
        return float(((served @ weights)[:, 0].sign() == target[100:]).float().mean())

    assert accuracy(trained_with) > 0.95
    assert accuracy(Preprocessing.model_validate_json(trained_with.model_dump_json())) == accuracy(trained_with)
    assert accuracy(Preprocessing(size=8, mode="unit")) < 0.75


def test_keras_means_are_refused_with_timms_weights() -> None:
    with pytest.raises(ValueError, match="Keras"):
        check_fits_weights("caffe", "imagenet")


@pytest.mark.parametrize(
    ("mode", "init"), [("caffe", "file:keras.safetensors"), ("caffe", "random"), ("imagenet_torch", "imagenet")]
)
def test_other_preprocessings_fit_their_weights(mode: str, init: str) -> None:
    check_fits_weights(mode, init)


def test_recipes_can_be_read_without_importing_torch() -> None:
    modules = "models.preprocessing, models.training.settings, models.training.augmentation_settings"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
