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


def test_a_repeated_image_changes_anew() -> None:
    images, settings = pictures(2), AugmentationSettings()
    images[1] = images[0]
    rows = np.array([3, 3])

    first, again = augment(images, rows, settings, seed=1, epoch=4, repeats=np.array([0, 1]))

    assert not torch.equal(first, again)
    assert torch.equal(first, augment(images[:1], rows[:1], settings, seed=1, epoch=4)[0])


@pytest.mark.parametrize(("change", "spread"), [({"gaussian_noise": 0.03}, 7.65), ({"speckle_noise": 0.05}, 5.0)])
def test_noise_has_the_asked_spread_and_is_another_in_each_image(change: dict[str, float], spread: float) -> None:
    plain = torch.full((len(ROWS), 64, 64), 100, dtype=torch.uint8)

    noise = augment(plain, ROWS, only(**change), seed=1, epoch=1) - 100

    assert noise.std().item() == pytest.approx(spread, rel=0.02)  # 3 % of 255; 5 % of the level
    assert abs(noise.mean().item()) < 0.1 * spread
    between = np.corrcoef(noise.flatten(1).numpy()) - np.eye(len(ROWS))
    assert np.abs(between).max() < 0.1
    backwards = augment(plain, ROWS[::-1].copy(), only(**change), seed=1, epoch=1) - 100
    assert torch.equal(backwards.flip(0), noise)


def test_noise_and_the_contrast_after_it_stay_within_grey_levels() -> None:
    extreme = torch.tensor([0, 255], dtype=torch.uint8)[torch.arange(16) % 2].reshape(1, 4, 4).repeat(5, 1, 1)

    result = augment(
        extreme, ROWS, only(gaussian_noise=0.5, speckle_noise=0.5, final_contrast=0.9), seed=1, epoch=1
    )

    assert (result.min().item(), result.max().item()) == (0, 255)


def test_the_last_contrast_turns_about_the_mean() -> None:
    image = torch.tensor([[[60, 100], [100, 140]]], dtype=torch.uint8)
    settings = only(final_contrast=0.2)
    factor = float(draw_parameters(np.array([8]), settings, seed=1, epoch=1).final_contrast[0])

    result = augment(image, np.array([8]), settings, seed=1, epoch=1)

    torch.testing.assert_close(result, (image.float() - 100) * factor + 100)
    assert 0.8 <= factor <= 1.2


def test_a_resized_crop_shows_a_window_of_the_image_at_full_size() -> None:
    # Levels that say where they are: 4 per column.
    image = (4 * torch.arange(64)).to(torch.uint8).expand(200, 64, 64)

    result = augment(image, np.arange(200), only(resized_crop=0.81), seed=1, epoch=1)

    assert result.shape == (200, 64, 64)
    widths = (result[:, 0, -1] - result[:, 0, 0]) / 4 / 63
    starts = result[:, 0, 0] / 4
    assert 0.87 < widths.min() < 0.9  # sides of .9, narrowed by the aspect ratio
    assert widths.max() <= 1.0001
    assert starts.min() >= -0.5
    assert starts.max() > 5


def test_a_crop_cuts_a_window_out_without_enlarging_it() -> None:
    image = (4 * torch.arange(64)).to(torch.uint8).expand(200, 64, 64)

    result = augment(image, np.arange(200), only(crop=0.875), seed=1, epoch=1)

    assert result.shape == (200, 56, 56)
    torch.testing.assert_close(
        result[:, :, 1:] - result[:, :, :-1], torch.full((200, 56, 55), 4.0), atol=0.01, rtol=0
    )
    assert result[:, 0, 0].min() < 4
    assert result[:, 0, 0].max() > 4 * 7
