"""What training minimises: cross entropy, binary cross entropy, and the error of a reconstruction beside them.

Every loss is kept per image until the end, so that a batch computed in two halves has the same gradient, and an image
whose loss is not finite can be named.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

from data_contracts.errors import UsageProblem
from models.output import Output
from models.training.class_balance import ClassBalance


@dataclass(frozen=True, slots=True, eq=False)
class Losses:
    """Per image of a batch. total: (B,) what is minimised, its mean over the batch.

    classification: (B,) sum of weight x loss over what is known of each image; weight: (B,) sum of these weights.
    reconstruction: (B,) mean squared error. Zeros where a phase has no such term.
    """

    total: torch.Tensor
    classification: torch.Tensor
    weight: torch.Tensor
    reconstruction: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Objective:
    """A loss with the weights of its classes.

    positive, negative: (J,) float weights of a true and a false answer for each of J logits; softmax uses `positive`
    alone. reconstruction_weight: share of the reconstruction error, 0 to 1.
    """

    output: Output
    positive: torch.Tensor
    negative: torch.Tensor
    reconstruction_weight: float = 0.0

    @classmethod
    def of(
        cls, balance: ClassBalance, device: torch.device, *, reconstruction_weight: float = 0.0, **tensor: Any
    ) -> Self:
        """The objective on a device; float32 unless `dtype` says otherwise."""
        dtype = tensor.get("dtype", torch.float32)
        positive, negative = (
            torch.as_tensor(weights, dtype=dtype, device=device)
            for weights in (balance.positive, balance.negative)
        )
        return cls(balance.output, positive, negative, reconstruction_weight)

    def __call__(self, model: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> Losses:
        """Losses of a batch. inputs: (B, C, H, W); targets: (B, K) of 1 true, 0 false, -1 unknown."""
        logits, error = self.answers(model, inputs)
        nothing = torch.zeros(len(inputs), device=inputs.device)
        classification = weight = nothing
        total = nothing
        if self.reconstruction_weight < 1:
            losses, weights = self.entries(logits.float(), targets)
            classification, weight = (losses * weights).sum(dim=1), weights.sum(dim=1)
            # Divided by the logits, known or not, and later by the images of the batch, not by their weights: the
            # gradient stays an unbiased estimate of the weighted sum over all images, whatever a batch holds.
            total = (1 - self.reconstruction_weight) * classification / losses.shape[1]
        if error is not None:
            total = total + self.reconstruction_weight * error
        return Losses(
            total, classification.detach(), weight.detach(), nothing if error is None else error.detach()
        )

    def entries(self, logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss and weight of every answer: (B, J) each, J = 1 for softmax; the weight of an unknown one is 0."""
        if self.output == "softmax":
            labels = targets.argmax(dim=1)
            return cross_entropy(logits, labels, reduction="none")[:, None], self.positive[labels][:, None]
        truth = targets[:, 1:] if self.output == "binary" else targets
        # With a weight per answer this is torch's pos_weight, which weighs the true answers alone.
        weights = torch.where(truth == 1, self.positive, self.negative) * (truth >= 0)
        wanted = truth.clamp(min=0).to(logits.dtype)
        return binary_cross_entropy_with_logits(logits, wanted, reduction="none"), weights

    def mean(self, classification: float, weight: float, reconstruction: float) -> float:
        """The loss of many images from sums of weight x loss and of weights, and the mean reconstruction error."""
        share = self.reconstruction_weight
        classified = classification / weight if weight else 0.0
        return (1 - share) * classified + share * reconstruction

    def answers(self, model: nn.Module, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(B, J) logits, and (B,) mean squared errors of the reconstruction where it counts, else None.

        Where only the reconstruction counts, the classifier is not asked and its logits are (B, 0).
        """
        if self.reconstruction_weight == 0:
            return model(inputs), None
        network: Any = model
        if not hasattr(model, "reconstruct"):
            raise UsageProblem(
                f"{type(model).__name__} cannot reconstruct its input.",
                why="There is no reconstruction error to be minimised.",
                cure="Leave out stages and reconstruction_weight, or use ae_cnn.",
            )
        if self.reconstruction_weight == 1:
            logits, image = inputs.new_zeros((len(inputs), 0)), network.decode(network.encode(inputs))
        else:
            logits, image, _ = network.reconstruct(inputs)
        error = mse_loss(image.float(), inputs.float(), reduction="none").mean(dim=(1, 2, 3))
        return logits, error


def tensor_of(targets: NDArray[Any], device: torch.device) -> torch.Tensor:
    """(B, K) int8 targets on the device."""
    return torch.from_numpy(targets).to(device, non_blocking=True)
