"""ResNet-50 under the classifier heads of reference systems 0, 1 and 3.

The trunk is timm's ResNet-50 with timm's (and torchvision's) parameter names, so its weights fit all of them.
Reference system 0's other head, one linear layer on the pooled map, is timm's own `resnet50`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import timm
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.resnet import Bottleneck, ResNet
from torch import nn

from data_contracts.errors import UsageProblem

TRUNK_FEATURES = 2048
_RESNET50: Any = timm.get_pretrained_cfg("resnet50")
NAMES = ("resnet50_flatten", "resnet50_two_layer", "resnet50_four_layer", "resnet50_conv_head")
# Two of the heads count the cells of the last map, so timm must pass them the image size.
_SIZED = ("resnet50_flatten", "resnet50_conv_head")

default_cfgs = generate_default_cfgs(
    {
        name: dataclasses.replace(_RESNET50, tag=None, architecture=name, fixed_input_size=name in _SIZED)
        for name in NAMES
    }
)


@register_model
def resnet50_flatten(pretrained: bool = False, img_size: Any = 224, **options: Any) -> ResNet:
    """Reference system 0 as trained: the unpooled map flattened into one linear layer.

    131,073 parameters in the head at 256 pixels and one output.
    """
    model = _trunk("resnet50_flatten", pretrained, pooled=False, **options)
    rows, columns = _cells(img_size)
    model.fc = nn.Sequential(nn.Flatten(), nn.Linear(TRUNK_FEATURES * rows * columns, model.num_classes))
    return model


@register_model
def resnet50_two_layer(pretrained: bool = False, head_drop_rate: float = 0.4, **options: Any) -> ResNet:
    """Reference system 1: pooled features, Linear 256, ReLU, dropout, Linear.

    24,027,075 parameters at one input channel and three classes.
    """
    model = _trunk("resnet50_two_layer", pretrained, **options)
    model.fc = nn.Sequential(
        nn.Linear(TRUNK_FEATURES, 256), nn.ReLU(), nn.Dropout(head_drop_rate), nn.Linear(256, model.num_classes)
    )
    return model


@register_model
def resnet50_four_layer(
    pretrained: bool = False,
    hidden: Sequence[int] = (2048, 512, 128),
    head_drop_rate: float = 0.0,
    **options: Any,
) -> ResNet:
    """Reference system 3: pooled features, Linear 2048, 512 and 128 with ReLU, Linear.

    5,311,620 parameters in the head at four classes. hidden: widths of the layers between. The activation is not
    published; ReLU does not change the count. (timm's resnet50_mlp is another network.)
    """
    model = _trunk("resnet50_four_layer", pretrained, **options)
    model.fc = nn.Sequential(*_dense([TRUNK_FEATURES, *hidden], head_drop_rate, model.num_classes))
    return model


@register_model
def resnet50_conv_head(
    pretrained: bool = False, img_size: Any = 224, head_drop_rate: float = 0.2, **options: Any
) -> nn.Module:
    """Reference system 3's other published version: 1x1 convolution, batch norm, ReLU and 2x2 pooling of the
    unpooled map, flattened into Linear 1024, 512 and 256 with ReLU, Linear.

    12,195,588 parameters in the head at 224 pixels and four classes.
    """
    model = _trunk("resnet50_conv_head", pretrained, pooled=False, **options)
    rows, columns = _cells(img_size)
    if min(rows, columns) < 2:
        raise UsageProblem(
            f"resnet50_conv_head cannot read images of {img_size} pixels.",
            why="Its head pools the last map, which has fewer than two rows.",
            cure="Choose an image size above 32; 224 is usual.",
        )
    channels = 1024
    flat = channels * (rows // 2) * (columns // 2)
    model.fc = nn.Sequential(
        nn.Conv2d(TRUNK_FEATURES, channels, kernel_size=1),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(flat, 1024),
        nn.ReLU(),
        nn.Dropout(head_drop_rate),
        nn.Linear(1024, 512),
        nn.ReLU(),
        nn.Dropout(head_drop_rate),
        nn.Linear(512, 256),
        nn.ReLU(),
        nn.Linear(256, model.num_classes),
    )
    return model


def _trunk(name: str, pretrained: bool, *, pooled: bool = True, num_classes: int = 1000, **options: Any) -> ResNet:
    """timm's ResNet-50 without classifier; `forward_head` hands its `fc` the pooled features or the whole map."""
    model: ResNet = build_model_with_cfg(
        ResNet,
        name,
        pretrained,
        block=Bottleneck,
        layers=(3, 4, 6, 3),
        num_classes=0,
        global_pool="avg" if pooled else "",
        kwargs_filter=("img_size",),
        **options,
    )
    model.num_classes = num_classes
    return model


def _dense(widths: Sequence[int], drop_rate: float, outputs: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
        if drop_rate:
            layers.append(nn.Dropout(drop_rate))
    return [*layers, nn.Linear(widths[-1], outputs)]


def _cells(img_size: int | tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of the last map: every stage halves and rounds up, five times in all."""
    height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
    return -(-height // 32), -(-width // 32)
