"""Where a network is trained and in which number format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

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
