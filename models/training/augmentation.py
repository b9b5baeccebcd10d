"""Random changes to training images: one affine resampling and one linear change of grey levels per image.

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


@dataclass(frozen=True, slots=True, eq=False)
class AugmentationParameters:
    """What happens to each image of a batch.

    affine: (B, 2, 3) float32, output to input position in torch's coordinates (-1 to 1 across the image).
    brightness, contrast: (B,) float32 factors; 1 changes nothing.
    """

    affine: NDArray[np.float32]
    brightness: NDArray[np.float32]
    contrast: NDArray[np.float32]


def draw_parameters(
    rows: NDArray[np.int64], settings: AugmentationSettings, *, seed: int, epoch: int
) -> AugmentationParameters:
    """Parameters for the images of these store rows in this epoch.

    Philox is counter-based: each (epoch, row) is a place in the seed's sequence, reached without drawing what
    lies before it (9 microseconds per row).
    """
    draws = np.empty((len(rows), 7))
    for i, row in enumerate(rows):
        bits = np.random.Philox(key=seed, counter=[0, 0, epoch, int(row)])
        draws[i] = np.random.Generator(bits).random(7)
    mirror = np.where(settings.horizontal_flip & (draws[:, 0] < 0.5), -1.0, 1.0)
    # The others lie in [-1, 1).
    angle_draw, zoom_draw, x_draw, y_draw, brightness_draw, contrast_draw = 2 * draws[:, 1:].T - 1
    angle = np.deg2rad(settings.rotation_degrees) * angle_draw
    # Zooming in by z reads a window 1/z as wide.
    window = 1 / (1 + settings.zoom * zoom_draw)
    cosine, sine = np.cos(angle) * window, np.sin(angle) * window
    # A share of the side is twice that in coordinates that run from -1 to 1.
    move_x, move_y = 2 * settings.shift * x_draw, 2 * settings.shift * y_draw
    affine = np.stack([cosine * mirror, -sine, move_x, sine * mirror, cosine, move_y], axis=1)
    return AugmentationParameters(
        affine=affine.reshape(-1, 2, 3).astype(np.float32),
        brightness=(1 + settings.brightness * brightness_draw).astype(np.float32),
        contrast=(1 + settings.contrast * contrast_draw).astype(np.float32),
    )


def augment(
    images: torch.Tensor, rows: NDArray[np.int64], settings: AugmentationSettings, *, seed: int, epoch: int
) -> torch.Tensor:
    """Changed copies of a batch: (B, H, W) uint8 -> (B, H, W) float32 grey levels 0-255, on the same device.

    images must be square, as the image store's are, or a rotation would also shear. What a rotation or shift
    uncovers repeats the nearest border pixel: a network could read black corners as a sign of something.
    """
    parameters = draw_parameters(rows, settings, seed=seed, epoch=epoch)
    device = images.device
    brightness = torch.from_numpy(parameters.brightness).to(device)[:, None, None]
    contrast = torch.from_numpy(parameters.contrast).to(device)[:, None, None]
    # Contrast turns about the image's mean level. Summed as integers, it is exact on every device.
    mean = images.sum(dim=(1, 2), dtype=torch.int64, keepdim=True).to(torch.float32) / images[0].numel()

    levels = images.to(torch.float32)
    if settings.horizontal_flip or settings.rotation_degrees or settings.zoom or settings.shift:
        grid = sampling_grid(torch.from_numpy(parameters.affine).to(device), images.shape[1], images.shape[2])
        levels = grid_sample(
            levels.unsqueeze(1), grid, mode="bilinear", padding_mode="border", align_corners=False
        ).squeeze(1)
    # brightness * x, then contrast about its mean, in one pass.
    return levels.mul_(brightness * contrast).add_(mean * brightness * (1 - contrast)).clamp_(0, 255)


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
