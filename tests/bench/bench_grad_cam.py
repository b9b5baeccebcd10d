"""Grad-CAM of a ResNet-50: CPU time per image of 224 pixels, all ways in the same run on one thread.

The usual ways: backward through the whole network with weight gradients, image by image, as most programs do it,
and captum, image by image. Every way must come to the same maps. Run with `python -m tests.bench.bench_grad_cam`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu

from models.explanation.grad_cam import grad_cam, method_for
from models.training.device import bf16_supported
from tests.bench.comparison import Comparison, judge
from tests.bench.timing import cpu_seconds

IMAGES, SIZE, CLASSES = 4, 224, 4
LAYER = "layer4"
Maps = Callable[[], NDArray[np.float32]]


def main() -> int:
    """Measure, print the table, and return the exit status."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = timm.create_model("resnet50", num_classes=CLASSES, in_chans=1).eval()
    inputs, classes = smooth_pictures(), np.arange(IMAGES) % CLASSES
    assert method_for(model, LAYER, inputs[:1]) == "closed form"

    def by_captum() -> NDArray[np.float32]:
        each = [
            grad_cam(model, LAYER, inputs[i : i + 1], classes[i : i + 1], method="captum") for i in range(IMAGES)
        ]
        return np.concatenate(each)

    def ours(bf16: bool) -> Maps:
        return lambda: grad_cam(model, LAYER, inputs, classes, method="closed form", bf16=bf16)

    whole = by_backward(model, inputs, classes)
    assert alike(by_captum(), whole) > 0.99999
    assert alike(ours(False)(), whole) > 0.99999
    seconds = [cpu_seconds(way) / IMAGES for way in (lambda: by_backward(model, inputs, classes), by_captum)]
    model.to(memory_format=torch.channels_last)  # as Explainer.of does
    exact = cpu_seconds(ours(False)) / IMAGES
    comparisons = [
        Comparison("closed form / whole backward", seconds[0], exact, 2),
        Comparison("closed form / captum", seconds[1], exact, 1),
    ]
    name, target = "closed form, bf16 / whole backward", 4.0
    if bf16_supported(torch.device("cpu")):
        assert alike(ours(True)(), whole) > 0.99
        comparisons.append(Comparison(name, seconds[0], cpu_seconds(ours(True)) / IMAGES, target))
    else:
        comparisons.append(Comparison(name, seconds[0], None, target, skipped="no bf16 instructions"))
    return judge(comparisons)


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
