"""Runs a small network a few images at a time, so that what one layer writes is still in the cache for the next."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

_PIECE = 2  # images: of 1 to 32, the fastest for simple_cnn at 224 pixels, twice as fast as 32
# Beyond that, reading the weights again for every piece costs more than the cache saves (measured on resnet18).
_MOST_WEIGHT_BYTES = 1 << 20


class InPieces(nn.Module):
    """The same logits as the network gives, as far as its kernels do not depend on the size of a batch.

    Only the feature map is made piece by piece; the head, whose linear layers may be large, reads the whole batch.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network: Any = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = [self.network.forward_features(piece) for piece in torch.split(images, _PIECE)]
        logits: torch.Tensor = self.network.forward_head(torch.cat(maps))
        return logits


def in_pieces(network: nn.Module) -> nn.Module:
    """The network, wrapped where that makes it faster: on a CPU, with few convolution weights and timm's two halves."""
    weights = [weight for weight in network.parameters() if weight.ndim == 4]
    small = sum(weight.numel() * weight.element_size() for weight in weights) <= _MOST_WEIGHT_BYTES
    halves = hasattr(network, "forward_features") and hasattr(network, "forward_head")
    return InPieces(network) if weights and small and halves and weights[0].device.type == "cpu" else network
