"""Counts parameters as torch and as Keras do, so that a network can be compared with published numbers."""

from __future__ import annotations

from torch import nn


def torch_count(model: nn.Module) -> int:
    """How many numbers training may change."""
    return sum(parameter.numel() for parameter in model.parameters())


def keras_count(model: nn.Module) -> int:
    """The parameter count Keras would print for the same network.

    Keras gives every convolution a bias and counts batch normalisation's running mean and variance as
    (non-trainable) parameters: a ResNet-50 without classifier has 23,508,032 here and 23,587,712 there.
    """
    count = torch_count(model)
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.bias is None:
            count += module.out_channels
        for name in ("running_mean", "running_var"):
            statistic = getattr(module, name, None)
            count += 0 if statistic is None else statistic.numel()
    return count
