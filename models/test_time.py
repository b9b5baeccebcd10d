"""Several views of one image at test time, answered together."""

from __future__ import annotations

import torch
from torch import nn


def ten_crop(model: nn.Module, inputs: torch.Tensor, size: int) -> torch.Tensor:
    """Logits averaged over four corners, the centre, and these five mirrored: (B, C, H, W) -> (B, J).

    size: side of the crops in pixels, at most H and W; the published AE-CNN cuts 896 out of 1024. The crops run one
    after another, so they need no more memory than the whole image.
    """
    from torchvision.transforms.v2.functional import ten_crop as crops_of

    crops = crops_of(inputs, [size, size])
    logits: torch.Tensor = torch.stack([model(crop.contiguous()) for crop in crops]).mean(dim=0)
    return logits
