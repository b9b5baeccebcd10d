"""The one preprocessing: grey levels in, network input out, for training, evaluation, scoring and serving.

A model served with another preprocessing than it was trained with keeps its weights and loses its accuracy,
so the settings travel inside the model bundle and there is no second implementation.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from data_contracts.errors import UsageProblem

if TYPE_CHECKING:
    import torch

PreprocessingMode = Literal["unit", "half", "imagenet_gray"]

# mode -> (mean, standard deviation) of the unit range. imagenet_gray averages ImageNet's statistics over the
# three channels: with one pair for all, a stem summed over RGB answers as it would to the image replicated.
_MEAN_AND_STD: Mapping[PreprocessingMode, tuple[float, float]] = MappingProxyType(
    {"unit": (0.0, 1.0), "half": (0.5, 0.5), "imagenet_gray": (0.449, 0.226)}
)


class Preprocessing(BaseModel):
    """What happens to a stored image before a network sees it.

    size: height and width of the network input in pixels. mode: unit x/255, half (x/255 - .5)/.5,
    imagenet_gray (x/255 - .449)/.226.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int = Field(ge=8, description="height and width of the network input, pixels")
    mode: PreprocessingMode = Field(description="how grey levels 0-255 become network input")

    def apply(self, images: NDArray[Any] | torch.Tensor, device: torch.device | str | None = None) -> torch.Tensor:
        """Network input for a batch of images: (B, H, W) grey levels -> (B, 1, size, size) float32.

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
        mean, std = _MEAN_AND_STD[self.mode]
        return levels.div(255.0).sub_(mean).div_(std)
