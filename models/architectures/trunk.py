"""Divides a network into its trunk and its classifier head, for freezing, cached features and embeddings."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from data_contracts.errors import UsageProblem

# Autograd's names of what may lie between a feature map and the linear layer that reads its averages.
_AVERAGES = ("MeanBackward", "AdaptiveAvgPool2DBackward")
_RESHAPES = ("ViewBackward", "ReshapeAliasBackward", "UnsafeViewBackward", "SqueezeBackward")


def head_of(model: nn.Module) -> list[str]:
    """Parameter-name prefixes of the classifier head, with their dot: `["fc."]`, `["head.fc."]`.

    The head is what timm's `get_classifier` returns: the last linear layer, or all layers of a house head such as
    resnet50_four_layer's. Raises UsageProblem for a network without one head of linear layers, as distilled vision
    transformers are.
    """
    return [_head_path(model) + "."]


def trunk_and_head(model: nn.Module) -> tuple[nn.Module, nn.Module]:
    """(trunk, head) that share the model's parameters; in eval mode head(trunk(x)) equals model(x) bit for bit.

    trunk: images -> what the head reads, (B, F) features or, for the flattening heads, a map (B, C, h, w); its
    parameters are all of the model's but the head's. head: -> (B, num_classes) logits; it includes the dropout
    just before the classifier, which has an effect in training mode only. Modes are shared too, except that of
    the modules that contain the head. Raises UsageProblem as `head_of` does.
    """
    path = _head_path(model)
    classifier = model.get_submodule(path)
    rate = _dropout_before_head(model)
    return _without(model, path), nn.Sequential(nn.Dropout(rate), classifier) if rate else classifier


def is_gap_linear(model: nn.Module, cam_layer: str, images: torch.Tensor) -> bool:
    """Whether the logits are one linear layer on the spatial averages of `cam_layer`'s map and nothing else.

    Then the Grad-CAM weights of class c are that layer's weights for c divided by the number of cells, and no
    backward pass is needed. images: (B, C, H, W) the model takes, of any values, on the meta device too. Judged
    by the recorded operations, in eval mode, which is left as the model's mode.
    """
    try:
        classifier = model.get_submodule(_head_path(model))
    except UsageProblem:
        return False
    if not isinstance(classifier, nn.Linear):
        return False
    maps: list[Any] = []
    features: list[Any] = []
    model.eval()
    with (
        model.get_submodule(cam_layer).register_forward_hook(lambda *call: maps.append(call[2])),
        classifier.register_forward_pre_hook(lambda *call: features.append(call[1][0])),
        torch.inference_mode(False),
        torch.enable_grad(),
    ):
        model(images.detach().clone().requires_grad_(True))
    return len(maps) == len(features) == 1 and _is_average(features[0], maps[0])


def _is_average(features: torch.Tensor, feature_map: torch.Tensor) -> bool:
    """Whether autograd recorded nothing but one spatial average and reshaping from the map to the features."""
    if feature_map.ndim != 4 or features.shape != feature_map.shape[:2]:
        return False
    averages = 0
    origin, node = feature_map.grad_fn, features.grad_fn
    while node is not origin:
        if node is None or len(node.next_functions) != 1:
            return False
        if node.name().startswith(_AVERAGES):
            averages += 1
        elif not node.name().startswith(_RESHAPES):
            return False
        node = node.next_functions[0][0]
    return averages == 1


def _head_path(model: nn.Module) -> str:
    """Dotted path of the classifier head."""
    get_classifier: Any = getattr(model, "get_classifier", None)
    classifier = get_classifier() if get_classifier is not None else None
    if isinstance(classifier, nn.Linear | nn.Sequential):
        path: str = next(path for path, module in model.named_modules() if module is classifier)
        return path
    raise UsageProblem(
        f"{type(model).__name__} has no single classifier head of linear layers.",
        why="Freezing, cached features and embeddings need to know where the trunk ends.",
        cure="Train this architecture without a frozen phase, or choose one with an ordinary classifier such as "
        "resnet50, densenet121, convnext_tiny, efficientnet_b0 or vit_tiny_patch16_224.",
    )


def _dropout_before_head(model: nn.Module) -> float:
    """Share of features that timm's network drops before its classifier; families keep it in different places."""
    rate: Any = getattr(model, "drop_rate", None)
    if rate is None:
        layer = getattr(model, "head_drop", None) or getattr(getattr(model, "head", None), "drop", None)
        rate = getattr(layer, "p", 0.0)
    return float(rate)


def _without(model: nn.Module, path: str) -> nn.Module:
    """A copy of the model whose module at `path` passes its input on; every other module is the same object."""
    child, _, rest = path.partition(".")
    copied = copy.copy(model)
    copied._modules = dict(model._modules)
    copied._modules[child] = _without(model.get_submodule(child), rest) if rest else nn.Identity()
    return copied
