"""One optimiser step, and what it measured; nothing in it waits for a GPU."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from models.training.device import Compute
from models.training.objectives import Objective


@dataclass(frozen=True, slots=True, eq=False)
class StepMeasures:
    """What one step measured, left on the device.

    sums: (5,) float32: of the weighed classification losses, of their weights, of the reconstruction errors, of the
    minimised losses, and the norm of the gradient. per_image: (B,) minimised losses.
    """

    sums: torch.Tensor
    per_image: torch.Tensor


def training_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    objective: Objective,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    *,
    gradient_clip: float | None,
    compute: Compute,
    parts: int = 1,
) -> StepMeasures:
    """One optimiser step on a batch, computed in `parts` pieces one after another to need less memory.

    inputs: (B, C, H, W) float32; targets: (B, K) int8. The gradient is that of the whole batch whatever the number of
    pieces, but batch normalisation sees a piece at a time.
    """
    pieces = []
    for some, wanted in zip(inputs.chunk(parts), targets.chunk(parts), strict=True):
        with compute.autocast():
            losses = objective(model, some, wanted)
        (losses.total.sum() / len(inputs)).backward()  # type: ignore[no-untyped-call]
        pieces.append(losses)
    learning = [p for p in model.parameters() if p.grad is not None]
    gradients = [p.grad for p in learning if p.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    if gradient_clip is not None:
        nn.utils.clip_grads_with_norm_(learning, gradient_clip, norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    per_image = torch.cat([piece.total.detach() for piece in pieces])
    terms = [
        torch.cat([piece.classification for piece in pieces]).sum(),
        torch.cat([piece.weight for piece in pieces]).sum(),
        torch.cat([piece.reconstruction for piece in pieces]).sum(),
        per_image.sum(),
        norm,
    ]
    return StepMeasures(torch.stack([term.to(torch.float32) for term in terms]), per_image)
