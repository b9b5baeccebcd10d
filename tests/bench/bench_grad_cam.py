"""Grad-CAM of a ResNet-50: CPU time per image of 224 pixels, all ways in the same run on one thread.

The usual ways, one class of one image after another: backward through the whole network with weight gradients, as
pytorch-grad-cam and most programs do it, and captum. Ours takes batches, as a report does. Every way must come to the
same maps.

captum goes backward from the logits to the layer only, which costs little beside the forward pass that both need. In
fp32 that pass is bound by the processor's arithmetic, so one map cannot become twice as fast as captum's there: the
promise against captum is kept in bf16, that against the whole backward pass in both. Run with
`python -m tests.bench.bench_grad_cam`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import timm
import torch
from captum.attr import LayerGradCam
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu

from models.explanation.grad_cam import BATCH, grad_cam, method_for
from models.training.device import bf16_supported
from tests.bench.comparison import Comparison, judge
from tests.bench.timing import cpu_seconds

IMAGES, SIZE, CLASSES = BATCH, 224, 4
ONE_BY_ONE = 4  # images behind the time of the usual ways
LAYER = "layer4"
Maps = Callable[[], NDArray[np.float32]]


def main() -> int:
    """Measure, print the table, and return the exit status."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = timm.create_model("resnet50", num_classes=CLASSES, in_chans=1).eval()
    inputs, classes = smooth_pictures(), np.arange(IMAGES) % CLASSES
    assert method_for(model, LAYER, inputs[:1]) == "closed form"

    few = inputs[:ONE_BY_ONE], classes[:ONE_BY_ONE]

    def ours(bf16: bool) -> Maps:
        return lambda: grad_cam(model, LAYER, inputs, classes, method="closed form", bf16=bf16)

    whole = by_backward(model, *few)
    assert alike(by_captum(model, *few), whole) > 0.99999
    assert alike(ours(False)()[:ONE_BY_ONE], whole) > 0.99999
    seconds = [cpu_seconds(lambda way=way: way(model, *few)) / ONE_BY_ONE for way in (by_backward, by_captum)]
    model.to(memory_format=torch.channels_last)  # as Explainer.of does
    exact = cpu_seconds(ours(False)) / IMAGES
    comparisons = [
        Comparison("closed form / whole backward", seconds[0], exact, 2),
        Comparison("closed form / captum", seconds[1], exact, 1),
    ]
    native = bf16_supported(torch.device("cpu"))
    assert not native or alike(ours(True)()[:ONE_BY_ONE], whole) > 0.99
    rounded = cpu_seconds(ours(True)) / IMAGES if native else None
    skipped = "" if native else "no bf16 instructions"
    return judge(
        [
            *comparisons,
            Comparison("closed form, bf16 / whole backward", seconds[0], rounded, 4, skipped),
            Comparison("closed form, bf16 / captum", seconds[1], rounded, 2, skipped),
        ]
    )


def smooth_pictures() -> Tensor:
    coarse = torch.rand(IMAGES, 1, 14, 14)
    return interpolate(coarse, size=(SIZE, SIZE), mode="bicubic")


def by_backward(model: nn.Module, inputs: Tensor, classes: NDArray[np.int64]) -> NDArray[np.float32]:
    """The usual way: hooks for activations and gradients, `backward()` from the logit, one image at a time."""
    maps, kept = [], {}
    layer = model.get_submodule(LAYER)
    forward = layer.register_forward_hook(lambda *call: kept.update(activations=call[2]))
    backward = layer.register_full_backward_hook(lambda *call: kept.update(gradients=call[2][0]))
    with forward, backward:
        for image, k in zip(inputs, classes, strict=True):
            model.zero_grad()
            model(image[None])[0, k].backward()
            weights = kept["gradients"].mean(dim=(2, 3), keepdim=True)
            cam = relu((weights * kept["activations"]).sum(dim=1, keepdim=True))
            maps.append(interpolate(cam.detach(), size=(SIZE, SIZE), mode="bilinear")[0, 0].numpy())
    model.zero_grad()
    return np.stack(maps)


def by_captum(model: nn.Module, inputs: Tensor, classes: NDArray[np.int64]) -> NDArray[np.float32]:
    """captum's LayerGradCam, one image at a time."""
    explainer = LayerGradCam(model, model.get_submodule(LAYER))
    maps = []
    for image, k in zip(inputs, classes.tolist(), strict=True):
        cam = explainer.attribute(image[None], target=k, relu_attributions=True)
        maps.append(interpolate(cam.detach(), size=(SIZE, SIZE), mode="bilinear")[0, 0].numpy())
    return np.stack(maps)


def alike(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """The smallest correlation of two maps of one image; an all-zero map must be zero in both."""
    correlations = [1.0]
    for one, other in zip(found, expected, strict=True):
        assert one.any() == other.any()
        if one.any():
            correlations.append(float(np.corrcoef(one.ravel(), other.ravel())[0, 1]))
    return min(correlations)


if __name__ == "__main__":
    sys.exit(main())
