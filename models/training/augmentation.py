"""Random changes to training images: one affine resampling, one linear change of grey levels, noise where wanted.

A sample's change depends on (seed, epoch, store row) alone. Order, batch size and an interrupted run do not
alter it, and architectures trained side by side see the same pictures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import grid_sample

from models.training.augmentation_settings import AugmentationSettings
from models.training.noise import noise_fields

# Aspect ratios of a resized crop: torchvision's RandomResizedCrop with its range narrowed to that of an upright chest.
_CROP_RATIOS = (0.95, 1.05)


@dataclass(frozen=True, slots=True, eq=False)
class AugmentationParameters:
    """What happens to each image of a batch.

    affine: (B, 2, 3) float32, output to input position in torch's coordinates (-1 to 1 across the image).
    brightness, contrast, final_contrast: (B,) float32 factors; 1 changes nothing.
    noise: (2, B) places in [0, 1) of the Gaussian and the speckle field.
    """

    affine: NDArray[np.float32]
    brightness: NDArray[np.float32]
    contrast: NDArray[np.float32]
    final_contrast: NDArray[np.float32]
    noise: NDArray[np.float64]


def draw_parameters(
    rows: NDArray[np.int64],
    settings: AugmentationSettings,
    *,
    seed: int,
    epoch: int,
    repeats: NDArray[np.int64] | None = None,
) -> AugmentationParameters:
    """Parameters for the images of these store rows in this epoch.

    repeats: (B,) how often the epoch drew the image before, so that a repeated image changes anew; None: never.
    Philox is counter-based: each (repeat, epoch, row) is a place in the seed's sequence, reached without drawing what
    lies before it (9 microseconds per row).
    """
    earlier = np.zeros(len(rows), dtype=np.int64) if repeats is None else repeats
    draws = np.empty((len(rows), 14))
    for i, (row, repeat) in enumerate(zip(rows.tolist(), earlier.tolist(), strict=True)):
        bits = np.random.Philox(key=seed, counter=[0, repeat, epoch, row])
        draws[i] = np.random.Generator(bits).random(14)
    mirror = np.where(settings.horizontal_flip & (draws[:, 0] < 0.5), -1.0, 1.0)
    # The others lie in [-1, 1).
    angle_draw, zoom_draw, x_draw, y_draw, brightness_draw, contrast_draw = 2 * draws[:, 1:7].T - 1
    angle = np.deg2rad(settings.rotation_degrees) * angle_draw
    # Zooming in by z reads a window 1/z as wide; a crop reads a window that lies within what is left.
    window = 1 / (1 + settings.zoom * zoom_draw)
    width, height, crop_x, crop_y = _crop_window(settings, draws[:, 7:11])
    cosine, sine = np.cos(angle) * window, np.sin(angle) * window
    # A share of the side is twice that in coordinates that run from -1 to 1.
    move_x, move_y = 2 * settings.shift * x_draw + crop_x, 2 * settings.shift * y_draw + crop_y
    affine = np.stack(
        [cosine * mirror * width, -sine * height, move_x, sine * mirror * width, cosine * height, move_y], axis=1
    )
    return AugmentationParameters(
        affine=affine.reshape(-1, 2, 3).astype(np.float32),
        brightness=(1 + settings.brightness * brightness_draw).astype(np.float32),
        contrast=(1 + settings.contrast * contrast_draw).astype(np.float32),
        final_contrast=(1 + settings.final_contrast * (2 * draws[:, 11] - 1)).astype(np.float32),
        noise=draws[:, 12:14].T,
    )


def _crop_window(settings: AugmentationSettings, draws: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Width and height of the random windows as shares of the side, and how far their centres move (from -1 to 1)."""
    area_draw, ratio_draw, x_draw, y_draw = draws.T
    area = 1 - (1 - settings.resized_crop) * area_draw
    low, high = np.log(_CROP_RATIOS)
    ratio = np.exp(low + (high - low) * ratio_draw) if settings.resized_crop < 1 else np.ones(len(draws))
    width = np.minimum(np.sqrt(area * ratio), 1) * settings.crop
    height = np.minimum(np.sqrt(area / ratio), 1) * settings.crop
    return width, height, (1 - width) * (2 * x_draw - 1), (1 - height) * (2 * y_draw - 1)


def augmented_side(side: int, settings: AugmentationSettings) -> int:
    """The side of the images that `augment` makes of images with this side: less where `crop` cuts a window out."""
    return round(side * settings.crop)


def augment(
    images: torch.Tensor,
    rows: NDArray[np.int64],
    settings: AugmentationSettings,
    *,
    seed: int,
    epoch: int,
    repeats: NDArray[np.int64] | None = None,
) -> torch.Tensor:
    """Changed copies of a batch: (B, S, S) uint8 -> (B, T, T) float32 grey levels 0-255, on the same device.

    T is `augmented_side`. images must be square, as the image store's are, or a rotation would also shear. What a
    rotation or shift uncovers repeats the nearest border pixel: a network could read black corners as a sign of
    something. repeats: as in `draw_parameters`.
    """
    parameters = draw_parameters(rows, settings, seed=seed, epoch=epoch, repeats=repeats)
    device = images.device
    brightness, contrast, final_contrast = (
        torch.from_numpy(factors).to(device)[:, None, None]
        for factors in (parameters.brightness, parameters.contrast, parameters.final_contrast)
    )
    # Contrast turns about the image's mean level. Summed as integers, it is exact on every device.
    mean = images.sum(dim=(1, 2), dtype=torch.int64, keepdim=True).to(torch.float32) / images[0].numel()

    levels = images.to(torch.float32)
    if _moves(settings):
        side = augmented_side(images.shape[1], settings)
        grid = sampling_grid(torch.from_numpy(parameters.affine).to(device), side, side)
        levels = grid_sample(
            levels.unsqueeze(1), grid, mode="bilinear", padding_mode="border", align_corners=False
        ).squeeze(1)
    # brightness * x, then contrast about its mean, in one pass.
    levels = levels.mul_(brightness * contrast).add_(mean * brightness * (1 - contrast)).clamp_(0, 255)
    if settings.gaussian_noise:
        levels.add_(noise_fields(seed, parameters.noise[0], levels), alpha=255 * settings.gaussian_noise).clamp_(
            0, 255
        )
    if settings.speckle_noise:
        field = noise_fields(seed, parameters.noise[1], levels)
        levels.addcmul_(levels, field, value=settings.speckle_noise).clamp_(0, 255)
    if settings.final_contrast:
        about = levels.mean(dim=(1, 2), keepdim=True)
        levels.mul_(final_contrast).add_(about * (1 - final_contrast)).clamp_(0, 255)
    return levels


def _moves(settings: AugmentationSettings) -> bool:
    return (
        bool(settings.horizontal_flip or settings.rotation_degrees or settings.zoom or settings.shift)
        or min(settings.crop, settings.resized_crop) < 1
    )


def sampling_grid(affine: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """(B, 2, 3) -> (B, height, width, 2) input positions (x, y), as torch's affine_grid gives them.

    Broadcasting adds what x and y contribute. affine_grid multiplies matrices instead, which took 13 times
    the CPU time (809 against 63 microseconds per 224 x 224 image).
    """
    x = _pixel_centres(width, affine.device)[None, None, :]
    y = _pixel_centres(height, affine.device)[None, :, None]
    grid = affine.new_empty((len(affine), height, width, 2))
    for axis in (0, 1):
        along_x, along_y, move = affine[:, axis, :, None, None].unbind(dim=1)
        torch.add(along_x * x, along_y * y + move, out=grid[..., axis])
    return grid


def _pixel_centres(count: int, device: torch.device) -> torch.Tensor:
    return (2 * torch.arange(count, device=device, dtype=torch.float32) + 1) / count - 1
