"""Where a network is trained, in which number format, and how repeatably."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from data_contracts.errors import EnvironmentProblem


@dataclass(frozen=True, slots=True)
class Compute:
    """A device and the precision of the forward and backward pass; weights are float32 either way."""

    device: torch.device
    precision: Literal["fp32", "bf16"]

    def autocast(self) -> torch.autocast:
        """The context in which the network runs."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16")


def choose_compute(precision: Literal["auto", "fp32", "bf16"]) -> Compute:
    """The GPU where there is one; bf16 where the processor has instructions for it, unless told otherwise.

    Raises EnvironmentProblem where bf16 was demanded of a processor that would only emulate it.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    native = bf16_supported(device)
    if precision == "bf16" and not native:
        raise EnvironmentProblem(
            f"This {device.type.upper()} has no bf16 instructions.",
            why="They would be emulated, many times slower than fp32.",
            cure="Set `precision: auto` in the recipe's training section.",
        )
    return Compute(device, "bf16" if native and precision != "fp32" else "fp32")


def bf16_supported(device: torch.device) -> bool:
    """Whether the device multiplies bf16 numbers in hardware."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


@contextmanager
def kernels(device: torch.device, *, deterministic: bool) -> Iterator[None]:
    """While the block runs: the fastest kernels for the shapes at hand, or only those that repeat bit for bit.

    A CPU repeats by itself.
    """
    if device.type != "cuda":
        yield
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    if deterministic:
        # cuBLAS reads it when it is first used.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = not deterministic
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]


def compiled(model: nn.Module, device: torch.device) -> nn.Module:
    """The network compiled for a GPU; on a CPU as it is, where compiling made training up to twice as slow."""
    return torch.compile(model) if device.type == "cuda" else model  # type: ignore[return-value]
