"""Grad-CAM: which regions of an image raised the score of a class (Selvaraju et al. 2017), by captum.

Importing this module imports neither torch nor captum.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data_contracts.errors import UsageProblem
from models.evaluation.predictions import evaluating

if TYPE_CHECKING:
    from torch import Tensor, nn


def grad_cam(
    model: nn.Module,
    layer_path: str,
    inputs: Tensor,
    class_index: NDArray[np.int64],
    *,
    batch_size: int = 16,
) -> NDArray[np.float32]:
    """Maps (B, H, W) >= 0 of what raised the logit of `class_index` in each of the inputs (B, C, H, W).

    Legend: B images, C channels, H W input pixels, h w cells of the layer's map. The gradient of the logit is
    averaged over the layer's cells and weights its channels; the positive part of the sum is enlarged
    bilinearly to the input size. Values are in logit units per cell and not normalised; a map without a
    positive region is all zero. The model runs in eval mode, on its own device, and is handed back as it was:
    modes, requires_grad and gradients unchanged. Memory beside the result: one batch of layer maps.
    Raises UsageProblem where `layer_path` is no module of the model or does not produce a (B, channels, h, w)
    map.
    """
    import torch
    from captum.attr import LayerGradCam
    from torch.nn.functional import interpolate

    try:
        layer = model.get_submodule(layer_path)
    except AttributeError as error:
        raise UsageProblem(
            f"The network has no module {layer_path!r}.",
            why="Grad-CAM weights the activations of one convolutional layer.",
            cure="Name one of the modules that `model.named_modules()` lists, usually the last feature map.",
        ) from error

    height, width = inputs.shape[-2:]
    device = next(model.parameters()).device
    explainer = LayerGradCam(model, layer)
    maps = np.empty((len(inputs), height, width), dtype=np.float32)
    with torch.inference_mode(False), evaluating(model), _without_parameter_gradients(model):
        for start in range(0, len(inputs), batch_size):
            stop = start + batch_size
            batch = inputs[start:stop].to(device, memory_format=torch.channels_last)
            target = torch.as_tensor(class_index[start:stop], device=device)
            cam = explainer.attribute(batch, target=target, relu_attributions=True)
            if cam.dim() != 4:
                raise UsageProblem(
                    f"Module {layer_path!r} produces no feature map of rows and columns.",
                    why="Grad-CAM can only show where in the image a convolutional map responds.",
                    cure="Name a module whose output is (images, channels, rows, columns).",
                )
            enlarged = interpolate(cam.detach().float(), size=(height, width), mode="bilinear")
            maps[start:stop] = enlarged[:, 0].cpu().numpy()
    return maps


@contextmanager
def _without_parameter_gradients(model: nn.Module) -> Iterator[None]:
    """No parameter asks for a gradient, so captum's graph begins at the layer and the trunk keeps none.

    captum itself makes the layer's output require a gradient, so frozen nets need nothing more.
    """
    wanted = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    for parameter, _ in wanted:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, requires_grad in wanted:
            parameter.requires_grad_(requires_grad)
