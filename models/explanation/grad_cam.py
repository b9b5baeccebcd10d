"""Grad-CAM: which regions of an image raised the score of a class (Selvaraju et al. 2017).

Where the head is one linear layer on pooled features the maps are computed in closed form, elsewhere by captum.
Importing this module imports neither torch nor captum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data_contracts.errors import ModelGateError, UsageProblem
from models.evaluation.predictions import evaluating
from models.explanation.closed_form import closed_form_holds, closed_form_maps
from models.explanation.results import Method

if TYPE_CHECKING:
    from torch import Tensor, nn

    from models.preprocessing import Preprocessing

BATCH = 16


@dataclass(frozen=True, slots=True)
class Explainer:
    """One model's maps of images of the store. images: (N, H, W) grey levels; layer: dotted path of the map."""

    model: nn.Module
    layer: str
    images: NDArray[np.uint8]
    preprocessing: Preprocessing
    method: Method
    bf16: bool = False

    @classmethod
    def of(
        cls,
        model: nn.Module,
        layer: str,
        images: NDArray[np.uint8],
        preprocessing: Preprocessing,
        *,
        bf16: bool = False,
    ) -> Explainer:
        """Chooses the method once, so that all maps of a report are made the same way.

        Then brings the weights into the memory format that is fastest here, which changes no value.
        """
        import torch

        blank = np.zeros((1, preprocessing.size, preprocessing.size), dtype=np.uint8)
        method = method_for(model, layer, preprocessing.apply(blank))
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return cls(model, layer, images, preprocessing, method, bf16)

    def of_model(self, model: nn.Module) -> Explainer:
        """The same for other weights of the same architecture."""
        return replace(self, model=model)

    def cells(self) -> tuple[int, int]:
        """Rows and columns of the map before it is enlarged: nothing finer can be seen in it."""
        import torch

        kept: list[Tensor] = []
        device = next(self.model.parameters()).device
        blank = np.zeros((1, self.preprocessing.size, self.preprocessing.size), dtype=np.uint8)
        with (
            self.model.get_submodule(self.layer).register_forward_hook(lambda *call: kept.append(call[2])),
            evaluating(self.model),
            torch.inference_mode(),
        ):
            self.model(self.preprocessing.apply(blank).to(device))
        return kept[0].shape[-2], kept[0].shape[-1]

    def maps(self, rows: NDArray[np.int64], class_index: NDArray[np.int64]) -> Iterator[NDArray[np.float32]]:
        """The (S, S) map of each store row for its class, in the order of rows; S is the network's input size.

        Memory: one batch of images and maps, however many rows there are.
        """
        for start in range(0, len(rows), BATCH):
            inputs = self.preprocessing.apply(self.images[rows[start : start + BATCH]])
            yield from grad_cam(
                self.model,
                self.layer,
                inputs,
                class_index[start : start + BATCH],
                method=self.method,
                bf16=self.bf16,
            )


def grad_cam(
    model: nn.Module,
    layer_path: str,
    inputs: Tensor,
    class_index: NDArray[np.int64],
    *,
    batch_size: int = BATCH,
    method: Method | None = None,
    bf16: bool = False,
) -> NDArray[np.float32]:
    """Maps (B, H, W) >= 0 of what raised the logit of `class_index` in each of the inputs (B, C, H, W).

    Legend: B images, C channels, H W input pixels, h w cells of the layer's map. The gradient of the logit is
    averaged over the layer's cells and weights its channels; the positive part of the sum is enlarged
    bilinearly to the input size. A model of one logit has two classes, and what lowers it raises the first.
    Values are in logit units per cell and not normalised; a map without a positive region is all zero. The model
    runs in eval mode, on its own device, and is handed back as it was: modes, requires_grad and gradients
    unchanged. Memory beside the result: one batch of layer maps. method: None chooses as `method_for` does. bf16:
    the network computes in that format; maps then agree with exact ones to two digits.
    Raises UsageProblem where `layer_path` is no module of the model or does not produce a (B, channels, h, w)
    map, ModelGateError where a map is not finite.
    """
    import torch
    from torch.nn.functional import interpolate

    _check_layer(model, layer_path)
    if not len(inputs):
        return np.empty((0, *inputs.shape[-2:]), dtype=np.float32)
    device = next(model.parameters()).device
    method = method or method_for(model, layer_path, inputs[:1])
    maps = np.empty((len(inputs), *inputs.shape[-2:]), dtype=np.float32)
    with torch.inference_mode(False), evaluating(model), _without_parameter_gradients(model):
        explain = closed_form_maps if method == "closed form" else _captum_maps
        for start in range(0, len(inputs), batch_size):
            stop = start + batch_size
            batch = inputs[start:stop].to(device, memory_format=torch.channels_last)
            target = torch.as_tensor(class_index[start:stop], device=device)
            with torch.autocast(device.type, dtype=torch.bfloat16) if bf16 else nullcontext():
                cam = explain(model, layer_path, batch, target)
            enlarged = interpolate(cam.detach().float(), size=maps.shape[1:], mode="bilinear")
            maps[start:stop] = enlarged[:, 0].cpu().numpy()
    if not np.isfinite(maps).all():
        raise ModelGateError(
            "The model answers some images with activations that are not finite.",
            why="What they weigh cannot be drawn, and a model whose training diverged has nothing to explain.",
            cure="Look at the learning curve; train again with a lower learning rate.",
        )
    return maps


def method_for(model: nn.Module, layer_path: str, example: Tensor) -> Method:
    """closed form where the logits are one linear layer on the averages of the layer's map, else captum.

    example: (1, C, H, W) the model takes, of any values. Raises UsageProblem where there is no such layer.
    """
    _check_layer(model, layer_path)
    with evaluating(model):
        example = example.to(next(model.parameters()).device)
        return "closed form" if closed_form_holds(model, layer_path, example) else "captum"


def _captum_maps(model: nn.Module, layer_path: str, inputs: Tensor, class_index: Tensor) -> Tensor:
    """(B, 1, h, w) maps >= 0 of the classes (B,); a backward pass from the logits to the layer."""
    from captum.attr import LayerGradCam

    explainer = LayerGradCam(_class_logits(model), model.get_submodule(layer_path))
    cam: Tensor = explainer.attribute(inputs, target=class_index, relu_attributions=True)
    if cam.dim() != 4:
        raise UsageProblem(
            f"Module {layer_path!r} produces no feature map of rows and columns.",
            why="Grad-CAM can only show where in the image a convolutional map responds.",
            cure="Name a module whose output is (images, channels, rows, columns).",
        )
    return cam


def _check_layer(model: nn.Module, layer_path: str) -> None:
    try:
        model.get_submodule(layer_path)
    except AttributeError as error:
        raise UsageProblem(
            f"The network has no module {layer_path!r}.",
            why="Grad-CAM weights the activations of one convolutional layer.",
            cure="Name one of the modules that `model.named_modules()` lists, usually the last feature map.",
        ) from error


def _class_logits(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """The model with one logit per class: a single one speaks for the second of two classes, against the first."""
    import torch

    def forward(inputs: Tensor) -> Tensor:
        logits: Tensor = model(inputs)
        return torch.cat([-logits, logits], dim=1) if logits.shape[1] == 1 else logits

    return forward


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
