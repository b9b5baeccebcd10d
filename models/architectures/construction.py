"""From an architecture's name to a network; only the ImageNet weights a recipe asks for touch the internet."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import timm
from torch import nn

from data_contracts.errors import UsageProblem
from models.architectures.initial_weights import InitialWeights, load_initial_weights

# What `build` decides itself, and what would fetch weights or read a pickle.
_RESERVED_OPTIONS = frozenset(
    {
        "num_classes",
        "in_chans",
        "img_size",
        "features_only",
        "pretrained",
        "pretrained_cfg",
        "pretrained_cfg_overlay",
        "checkpoint_path",
        "cache_dir",
    }
)


def build(
    name: str,
    *,
    num_classes: int,
    in_chans: int = 1,
    img_size: int,
    options: Mapping[str, object] = MappingProxyType({}),
    init: str = "random",
) -> nn.Module:
    """The network called `name` in training mode: (B, in_chans, size, size) -> (B, num_classes) logits.

    name: a family of this package or any timm model. options: further constructor arguments of that model
    (`drop_rate`, …). Random weights are drawn from torch's global generator, which the caller seeds. init:
    `random`, `imagenet` or `file:PATH`, see `load_initial_weights`; `initial_weights_of` says what came of it.
    Raises UsageProblem for an unknown name (with close matches) or options the model cannot take, and what
    `load_initial_weights` raises.
    """
    check_name(name)
    refused = sorted(_RESERVED_OPTIONS.intersection(options))
    if refused:
        raise UsageProblem(
            f"Options {refused} of {name} may not be set.",
            why="Shape and classes come from the recipe, and weights from its `init`.",
            cure="Remove them from `options`.",
        )
    arguments: dict[str, Any] = dict(options)
    config = timm.get_pretrained_cfg(name)
    if config is not None and config.fixed_input_size:
        arguments["img_size"] = img_size
    try:
        model: nn.Module = timm.create_model(
            name, pretrained=False, num_classes=num_classes, in_chans=in_chans, **arguments
        )
    except (AssertionError, AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise UsageProblem(
            f"{name} cannot be built for {img_size} pixels with options {dict(options)}: {error}",
            why="There is no network to train.",
            cure="Correct the options, or choose an image size this architecture accepts (most accept 224).",
        ) from error
    vars(model)["initial_weights"] = load_initial_weights(model, name, init)
    return model


def initial_weights_of(model: nn.Module) -> InitialWeights:
    """Where the weights of a network from `build` started."""
    initial: InitialWeights = vars(model)["initial_weights"]
    return initial


def check_name(name: str) -> None:
    """Raise UsageProblem unless `name` is an architecture; the message names those spelled most alike."""
    if "." in name and timm.is_model(name):
        raise UsageProblem(
            f"{name!r} names pretrained weights, not only an architecture.",
            why="Where weights start is what `init` says, so the name could promise what the model does not have.",
            cure=f"Write {name.partition('.')[0]!r}, and `init: imagenet` or `init: file:PATH` for its weights.",
        )
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=5)
        raise UsageProblem(
            f"There is no architecture called {name!r}.",
            why="Recipes name the architectures they train.",
            cure=(f"Did you mean {', '.join(close)}? " if close else "")
            + "Any timm model name and simple_cnn, stacked_cnn, ae_cnn, resnet50_flatten, resnet50_two_layer, "
            "resnet50_four_layer and resnet50_conv_head are accepted.",
        )
