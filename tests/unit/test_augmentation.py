"""Augmentation: a sample's change depends on seed, epoch and row alone, and leaves no mark of its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import affine_grid

from models.training.augmentation import augment, draw_parameters, sampling_grid
from models.training.augmentation_settings import AugmentationSettings

NONE = AugmentationSettings(rotation_degrees=0, horizontal_flip=False, zoom=0, shift=0, brightness=0, contrast=0)
ROWS = np.array([3, 11, 12, 40, 77], dtype=np.int64)


def only(**changes: float | bool) -> AugmentationSettings:
    """Settings that change nothing else."""
    return NONE.model_copy(update=changes)


def pictures(count: int = len(ROWS), size: int = 32) -> torch.Tensor:
    generator = np.random.default_rng(5)
    return torch.from_numpy(generator.integers(0, 256, (count, size, size), dtype=np.uint8))


def test_order_and_batch_size_do_not_change_a_sample() -> None:
    images, settings = pictures(), AugmentationSettings()
    together = augment(images, ROWS, settings, seed=1, epoch=4)

    backwards = augment(images.flip(0), ROWS[::-1], settings, seed=1, epoch=4)
    alone = [augment(images[[i]], ROWS[[i]], settings, seed=1, epoch=4)[0] for i in range(len(ROWS))]

    assert torch.equal(backwards.flip(0), together)
    assert torch.equal(torch.stack(alone), together)


def test_seed_epoch_and_row_each_change_the_sample() -> None:
    images, settings = pictures(1), AugmentationSettings()
    first = augment(images, np.array([3]), settings, seed=1, epoch=4)

    for row, seed, epoch in [(4, 1, 4), (3, 2, 4), (3, 1, 5)]:
        assert not torch.equal(augment(images, np.array([row]), settings, seed=seed, epoch=epoch), first)


def test_no_global_generator_is_used() -> None:
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002

    augment(pictures(), ROWS, AugmentationSettings(), seed=1, epoch=1)

    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_settings_without_change_return_the_image_exactly() -> None:
    result = augment(pictures(), ROWS, NONE, seed=1, epoch=1)

    assert result.dtype == torch.float32
    assert torch.equal(result, pictures().float())


def test_grey_levels_stay_in_range_and_the_input_unchanged() -> None:
    images = pictures()

    result = augment(images, ROWS, only(brightness=0.9, contrast=0.9), seed=1, epoch=1)

    assert result.min() >= 0
    assert result.max() <= 255
    assert torch.equal(images, pictures())


def test_moving_an_image_uncovers_no_dark_corner() -> None:
    plain = torch.full((len(ROWS), 32, 32), 130, dtype=torch.uint8)
    settings = only(rotation_degrees=45, horizontal_flip=True, zoom=0.5, shift=0.5)

    result = augment(plain, ROWS, settings, seed=1, epoch=1)

    torch.testing.assert_close(result, plain.float(), atol=1e-3, rtol=0)


def test_a_flip_mirrors_left_and_right_of_about_half_of_the_images() -> None:
    rows = np.arange(200)
    images = pictures(200, size=8)

    result = augment(images, rows, only(horizontal_flip=True), seed=1, epoch=1)

    def equal(expected: torch.Tensor) -> np.ndarray:
        return np.array([torch.allclose(a, b.float(), atol=0.01) for a, b in zip(result, expected, strict=True)])

    mirrored = equal(images.flip(2))
    assert np.array_equal(~mirrored, equal(images))
    assert 70 < mirrored.sum() < 130


def test_a_quarter_of_the_grid_is_a_quarter_turn() -> None:
    image = pictures(1)
    clockwise = torch.tensor([[[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]]])

    grid = sampling_grid(clockwise, 32, 32)
    turned = torch.nn.functional.grid_sample(image[:, None].float(), grid, align_corners=False)[0, 0]

    torch.testing.assert_close(turned, torch.rot90(image[0], -1).float(), atol=0.01, rtol=0)


def test_the_sampling_grid_is_torchs_affine_grid() -> None:
    affine = torch.from_numpy(draw_parameters(ROWS, AugmentationSettings(), seed=1, epoch=1).affine)

    expected = affine_grid(affine, [len(ROWS), 1, 24, 40], align_corners=False)

    torch.testing.assert_close(sampling_grid(affine, 24, 40), expected, atol=1e-6, rtol=0)


def test_parameters_fill_their_ranges_and_never_leave_them() -> None:
    settings = AugmentationSettings(
        rotation_degrees=15, zoom=0.2, shift=0.1, brightness=0.3, contrast=0.4, horizontal_flip=False
    )
    drawn = draw_parameters(np.arange(2000), settings, seed=9, epoch=2)

    turn = drawn.affine[:, :, :2]
    window = np.hypot(turn[:, 0, 0], turn[:, 1, 0])
    no_shear = window[:, None, None] ** 2 * np.eye(2)
    np.testing.assert_allclose(turn @ turn.transpose(0, 2, 1), no_shear, atol=1e-6)
    degrees = np.rad2deg(np.arctan2(drawn.affine[:, 1, 0], drawn.affine[:, 0, 0]))
    shares_moved = drawn.affine[:, :, 2] / 2
    for values, low, high in [
        (degrees, -15, 15),
        (1 / window, 0.8, 1.2),
        (shares_moved, -0.1, 0.1),
        (drawn.brightness, 0.7, 1.3),
        (drawn.contrast, 0.6, 1.4),
    ]:
        margin = 0.01 * (high - low)
        assert low - 1e-5 <= values.min() < low + margin
        assert high - margin < values.max() <= high + 1e-5
        assert values.mean() == pytest.approx((low + high) / 2, abs=0.03 * (high - low))


def test_switching_one_change_off_leaves_the_others_as_they_were() -> None:
    everything = AugmentationSettings()
    without_flip = everything.model_copy(update={"horizontal_flip": False})

    first = draw_parameters(ROWS, everything, seed=1, epoch=1)
    second = draw_parameters(ROWS, without_flip, seed=1, epoch=1)

    assert np.array_equal(first.contrast, second.contrast)
    assert np.array_equal(first.affine[:, :, 1:], second.affine[:, :, 1:])


def test_contrast_turns_about_the_images_mean_after_brightness() -> None:
    image = torch.tensor([[[60, 100], [100, 140]]], dtype=torch.uint8)
    settings = only(brightness=0.2, contrast=0.5)
    drawn = draw_parameters(np.array([8]), settings, seed=1, epoch=1)
    brightness, contrast = float(drawn.brightness[0]), float(drawn.contrast[0])

    result = augment(image, np.array([8]), settings, seed=1, epoch=1)

    bright = image.float() * brightness
    torch.testing.assert_close(result, (bright - 100 * brightness) * contrast + 100 * brightness)
