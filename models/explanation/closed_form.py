"""Grad-CAM without a backward pass, for networks whose logits are linear in the averages of the explained map.

There the derivative of the logit of class c by any cell of channel k is W_ck / (h w), so the weights of Grad-CAM are
the weights of CAM (Zhou et al. 2016) divided by the number of cells (Selvaraju et al. 2017, section 3.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


def closed_form_holds(model: nn.Module, layer_path: str, example: Tensor) -> bool:
    """Whether the logits are one linear layer on the averages of the layer's map.

    example: (1, C, H, W) on the model's device, of any values. The model must be in eval mode and stays in it. Costs
    two passes of that image.
    """
    from models.architectures.trunk import is_gap_linear

    return is_gap_linear(model, layer_path, example) and not _overwritten_later(model, layer_path, example)


def closed_form_maps(model: nn.Module, layer_path: str, inputs: Tensor, class_index: Tensor) -> Tensor:
    """(B, 1, h, w) float32 maps >= 0 of the classes (B,), in logit units per cell; one forward pass.

    Only where `closed_form_holds`. A head of one logit speaks for class 1, and what lowers it raises class 0.
    """
    import torch

    from models.architectures.trunk import head_of

    weight: Tensor = model.get_parameter(head_of(model)[0] + "weight").detach().float()
    kept: list[Tensor] = []
    with (
        model.get_submodule(layer_path).register_forward_hook(lambda *call: kept.append(call[2])),
        torch.inference_mode(),
    ):
        model(inputs)
        activations = kept[0].float()
        of_class = torch.cat([-weight, weight]) if len(weight) == 1 else weight
        cells = activations.shape[2] * activations.shape[3]
        channel_weights = of_class[class_index] / cells
        return (activations * channel_weights[:, :, None, None]).sum(dim=1, keepdim=True).clamp_min_(0)


def _overwritten_later(model: nn.Module, layer_path: str, example: Tensor) -> bool:
    """Whether an operation after the layer writes into its output, as an in-place ReLU does.

    The recorded operations then begin after that ReLU and look like an average of the layer's own map.
    """
    import torch

    kept: list[tuple[Tensor, int]] = []
    with (
        model.get_submodule(layer_path).register_forward_hook(
            lambda *call: kept.append((call[2], call[2]._version))
        ),
        torch.inference_mode(False),
        torch.no_grad(),
    ):
        model(example.clone())
    return any(output._version != version for output, version in kept)
