"""Several views of one image at test time, answered together. Importing this module does not import torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn


def crop_side(side: int, share: float) -> int:
    """Pixels that a crop of this share of the side has; the published AE-CNN cuts 896 out of 1024, a share of 0.875."""
    return round(side * share)


def ten_crop(model: nn.Module, inputs: torch.Tensor, size: int) -> torch.Tensor:
    """Logits averaged over four corners, the centre, and these five mirrored: (B, C, H, W) -> (B, J).

    size: side of the crops in pixels, at most H and W. The crops run one after another, so they need no more memory
    than the whole image.
    """
    import torch
    from torchvision.transforms.v2.functional import ten_crop as crops_of

    crops = crops_of(inputs, [size, size])
    logits: torch.Tensor = torch.stack([model(crop.contiguous()) for crop in crops]).mean(dim=0)
    return logits
