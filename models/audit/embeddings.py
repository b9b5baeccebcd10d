"""What a network makes of an image before its classifier head reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.evaluation.predictions import evaluating
from models.registry.bundle import ModelBundle

if TYPE_CHECKING:
    from torch import nn

    from models.preprocessing import Preprocessing

_BATCH = 64


def embed(bundle: ModelBundle, images: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """(n, F) trunk features of the images at `rows`, in their order; a feature map is averaged over its cells.

    images: (N, H, W) grey levels. Memory beside the result: one batch. Raises UsageProblem for a network without one
    classifier head.
    """
    return embed_with(bundle.load_model(), images, rows, bundle.spec.preprocessing)


def embed_with(
    model: nn.Module, images: NDArray[np.uint8], rows: NDArray[np.int64], preprocessing: Preprocessing
) -> NDArray[np.float32]:
    """As `embed`, with a network that is loaded already; it runs where its weights are."""
    import torch

    from models.architectures.trunk import trunk_and_head

    trunk, _ = trunk_and_head(model)
    device = next(model.parameters()).device
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    parts = []
    with evaluating(model), evaluating(trunk), torch.inference_mode():
        for start in range(0, len(rows), _BATCH):
            inputs = preprocessing.apply(images[rows[start : start + _BATCH]], device=device)
            features = trunk(inputs.contiguous(memory_format=torch.channels_last)).float()
            parts.append((features.mean(dim=(2, 3)) if features.ndim == 4 else features.flatten(1)).cpu().numpy())
    return np.concatenate(parts) if parts else np.empty((0, 0), np.float32)
