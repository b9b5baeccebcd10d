"""What the rest of the house must know of an architecture: its Grad-CAM layer and its usual preprocessing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any

import timm
import torch
from timm.models import PretrainedCfg
from torch import nn

from data_contracts.errors import UsageProblem
from models.architectures.construction import build, check_name
from models.architectures.trunk import is_gap_linear
from models.preprocessing import PreprocessingMode

# What timm's metadata, a mean and a standard deviation, cannot say.
_MODE_OF_NAME: Mapping[str, PreprocessingMode] = MappingProxyType({"stacked_cnn": "per_image_minmax"})
# First channel mean in timm's metadata -> mode. Everything else was made for ImageNet statistics.
_MODE_OF_MEAN: Mapping[float, PreprocessingMode] = MappingProxyType({0.5: "half", 0.0: "unit"})


@dataclass(frozen=True, slots=True)
class ArchitectureInfo:
    """cam_layer: dotted path for `get_submodule` of a layer that returns (B, C, H, W).

    preprocessing_mode: how one grey channel is prepared unless a recipe says otherwise. source: lungline or timm,
    whoever put the network together. gap_linear: the logits are one linear layer on the spatial averages of
    cam_layer's map, so that layer's weights are the Grad-CAM weights up to the number of cells.
    """

    name: str
    cam_layer: str
    preprocessing_mode: PreprocessingMode
    source: str
    gap_linear: bool


def describe(
    name: str, cam_layer: str | None = None, options: Mapping[str, object] = MappingProxyType({})
) -> ArchitectureInfo:
    """Facts about the architecture called `name`, found without reading weights or drawing random numbers.

    cam_layer: another layer than the architecture's last feature map, as a recipe may name it. options: the
    constructor arguments of the recipe, JSON values; ae_cnn's backbone decides its layer. The network is built
    once on torch's meta device, which holds shapes but no values (0.1-1 s).
    Raises UsageProblem for an unknown name and where the layer does not return a feature map (B, C, H, W), as
    in vision transformers.
    """
    return _describe(name, cam_layer, json.dumps(dict(options), sort_keys=True))


@cache
def _describe(name: str, cam_layer: str | None, options: str) -> ArchitectureInfo:
    check_name(name)
    config = timm.get_pretrained_cfg(name) or PretrainedCfg()
    size = (config.input_size or (3, 224, 224))[-1]
    with torch.device("meta"):
        model = build(name, num_classes=2, in_chans=1, img_size=size, options=json.loads(options)).eval()
    channels = None
    if cam_layer is None:
        cam_layer, channels = _last_features(model)
    _check_feature_map(name, model, size, cam_layer, channels)
    return ArchitectureInfo(
        name=name,
        cam_layer=cam_layer,
        preprocessing_mode=_MODE_OF_NAME.get(name) or _MODE_OF_MEAN.get(config.mean[0], "imagenet_gray"),
        source="lungline" if timm.model_entrypoint(name).__module__.startswith("models.") else "timm",
        gap_linear=is_gap_linear(model, cam_layer, torch.empty(1, 1, size, size, device="meta")),
    )


def _last_features(model: nn.Module) -> tuple[str, int]:
    """Path and channel count of the last stage in timm's feature metadata; ("", 0) where there is none."""
    stages: Any = getattr(model, "feature_info", None) or [{"module": "", "num_chs": 0}]
    return stages[-1]["module"], stages[-1]["num_chs"]


def _check_feature_map(name: str, model: nn.Module, size: int, layer: str, channels: int | None) -> None:
    """Raise UsageProblem unless `layer` returns (B, C, H, W), with C = `channels` where that is known.

    The channel count tells channels-first maps from the channels-last ones of some transformers.
    """
    output: list[Any] = []
    try:
        handle = model.get_submodule(layer).register_forward_hook(lambda *call: output.append(call[2]))
        with handle, torch.inference_mode():
            model(torch.empty(1, 1, size, size, device="meta"))
        shape = tuple(output[0].shape)
    except (AttributeError, IndexError, RuntimeError):
        shape = ()
    if len(shape) != 4 or channels not in (None, shape[1]):
        raise UsageProblem(
            f"Layer {layer!r} of {name} does not return a feature map.",
            why="Grad-CAM needs a layer whose output is (batch, channels, height, width).",
            cure="Name one under this architecture in the recipe (`cam_layer: ` and its dotted module path), "
            "or choose a convolutional architecture such as resnet50, densenet121 or convnext_tiny.",
        )
