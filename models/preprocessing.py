"""The one preprocessing: grey levels in, network input out, for training, evaluation, scoring and serving.

A model served with another preprocessing than it was trained with keeps its weights and loses its accuracy,
so the settings travel inside the model bundle and there is no second implementation.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from data_contracts.errors import UsageProblem

if TYPE_CHECKING:
    import torch

PreprocessingMode = Literal[
    "unit", "half", "imagenet_gray", "imagenet_torch", "caffe", "per_image_minmax", "per_image_zscore"
]

# mode -> (mean, standard deviation) of the unit range. imagenet_gray averages ImageNet's statistics over the
# three channels: with one pair for all, a stem summed over RGB answers as it would to the image replicated.
_MEAN_AND_STD: Mapping[PreprocessingMode, tuple[float, float]] = MappingProxyType(
    {"unit": (0.0, 1.0), "half": (0.5, 0.5), "imagenet_gray": (0.449, 0.226)}
)
# mode -> (mean, standard deviation) of each channel in grey levels. imagenet_torch: red, green, blue as
# torchvision and timm train. caffe: blue, green, red means, as keras.applications' ResNet-50 takes them.
_LEVELS_OF_CHANNELS: Mapping[PreprocessingMode, tuple[tuple[float, ...], tuple[float, ...]]] = MappingProxyType(
    {
        "imagenet_torch": (
            (0.485 * 255, 0.456 * 255, 0.406 * 255),
            (0.229 * 255, 0.224 * 255, 0.225 * 255),
        ),
        "caffe": ((103.939, 116.779, 123.68), (1.0, 1.0, 1.0)),
    }
)
# Added to the standard deviation of the unit range, as reference system 2 does; here in grey levels.
_ZSCORE_EPSILON = 255e-6
# Grey levels; resizing rounds a constant image to a spread of 1e-5, one odd pixel among 224 x 224 is 4e-3.
_CONSTANT_BELOW = 1e-3


class Preprocessing(BaseModel):
    """What happens to a stored image before a network sees it.

    size: height and width of the network input in pixels. mode, for grey level x:

    - unit x/255, half (x/255 - .5)/.5, imagenet_gray (x/255 - .449)/.226;
    - per_image_minmax (x - min)/(max - min) and per_image_zscore (x/255 - mean)/(std + 1e-6) with the image's own
      statistics after resizing, std over n pixels; a constant image becomes 0;
    - imagenet_torch with ImageNet's statistics of each channel, and caffe with Keras' means of blue, green and red
      in grey levels, not scaled; both need channels = 3.

    channels: 1, or 3 for the grey image in all three.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int = Field(ge=8, description="height and width of the network input, pixels")
    mode: PreprocessingMode = Field(description="how grey levels 0-255 become network input")
    channels: Literal[1, 3] = Field(default=1, description="1, or 3 for the grey image three times")

    @model_validator(mode="after")
    def _enough_channels(self) -> Self:
        if self.mode in _LEVELS_OF_CHANNELS and self.channels != 3:
            raise ValueError(f"mode {self.mode} has statistics for three channels; set channels to 3")
        return self

    def apply(self, images: NDArray[Any] | torch.Tensor, device: torch.device | str | None = None) -> torch.Tensor:
        """Network input for a batch of images: (B, H, W) grey levels -> (B, channels, size, size) float32.

        images: uint8, or float32 in 0-255 as the augmentation returns them; never changed. Images of another
        size are resized with an antialiased bilinear filter. device: where the result lies; None keeps the
        input's. Raises UsageProblem for any other type or shape.
        """
        import torch
        from torch.nn.functional import interpolate

        if isinstance(images, torch.Tensor):
            batch = images
        else:
            # from_numpy shares memory, so a read-only memory map has to be copied first.
            batch = torch.from_numpy(np.require(images, requirements=["C", "W"]))
        if batch.ndim != 3 or batch.dtype not in (torch.uint8, torch.float32):
            raise UsageProblem(
                f"Preprocessing got {batch.dtype} of shape {tuple(batch.shape)}.",
                why="It reads grey levels 0-255; anything else would be scaled wrongly in silence.",
                cure="Pass (batch, height, width) as uint8, or as float32 straight from the augmentation.",
            )
        # Bytes travel to the device, floats are made there: a quarter of the traffic.
        levels = batch.to(device).to(torch.float32).unsqueeze(1)
        if levels.shape[2:] != (self.size, self.size):
            levels = interpolate(
                levels, size=(self.size, self.size), mode="bilinear", align_corners=False, antialias=True
            )
        if self.mode in _LEVELS_OF_CHANNELS:
            mean, std = (levels.new_tensor(values)[:, None, None] for values in _LEVELS_OF_CHANNELS[self.mode])
            return (levels - mean).div_(std)
        if self.mode == "per_image_minmax":
            levels = _minmax(levels)
        elif self.mode == "per_image_zscore":
            levels = _zscore(levels)
        else:
            unit_mean, unit_std = _MEAN_AND_STD[self.mode]
            levels = levels.div(255.0).sub_(unit_mean).div_(unit_std)
        return levels if self.channels == 1 else levels.repeat(1, self.channels, 1, 1)


def check_fits_weights(mode: PreprocessingMode, init: str) -> None:
    """Raise ValueError where a recipe prepares images in another way than its published weights were trained with.

    Keras' `caffe` means belong to Keras' weights; `init: imagenet` loads timm's. A file of weights may have come
    from either, so it is believed.
    """
    if mode == "caffe" and init == "imagenet":
        raise ValueError(
            "preprocessing caffe belongs to Keras' weights, but init: imagenet loads timm's; "
            "use imagenet_gray, or imagenet_torch with three channels"
        )


def _minmax(levels: torch.Tensor) -> torch.Tensor:
    low, high = levels.amin((1, 2, 3), keepdim=True), levels.amax((1, 2, 3), keepdim=True)
    # Less than one grey level of range is rounding, not a picture.
    return (levels - low).div_((high - low).clamp_(min=1.0))


def _zscore(levels: torch.Tensor) -> torch.Tensor:
    import torch

    # In float64 the sums of a constant image are exact, and no batch size or device changes the result visibly.
    std, mean = torch.std_mean(levels.double(), (1, 2, 3), correction=0, keepdim=True)
    varied = (levels - mean.float()).div_(std.float() + _ZSCORE_EPSILON)
    return varied.mul_(std >= _CONSTANT_BELOW)
