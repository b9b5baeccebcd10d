"""Kubernetes' quantities as numbers: what a pod asks for, what a node gives, and what is missing between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deploy.stacks.stack_file import Pod

_GPU = "nvidia.com/gpu"
_UNITS = {"m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


@dataclass(frozen=True, slots=True)
class Resources:
    """cpu: cores. memory: bytes. gpu: devices."""

    cpu: float = 0
    memory: float = 0
    gpu: float = 0

    def lacks(self, asked: Resources) -> str:
        """What is missing of what was asked, with both numbers; "" where nothing is."""
        short = []
        if asked.cpu > self.cpu:
            short.append(f"{self.cpu:g} CPU for {asked.cpu:g}")
        if asked.memory > self.memory:
            short.append(f"{self.memory / 2**30:.1f} GiB for {asked.memory / 2**30:.1f}")
        if asked.gpu > self.gpu:
            short.append(f"{self.gpu:g} GPU for {asked.gpu:g}")
        return f"gives {', '.join(short)}" if short else ""

    def __str__(self) -> str:
        return f"{self.cpu:g} CPU, {self.memory / 2**30:.1f} GiB, {self.gpu:g} GPU"


def asked_by(pod: Pod) -> Resources:
    """What Kubernetes schedules by."""
    return Resources(number(pod.cpu or "0"), number(pod.memory or "0"), float(pod.gpu or 0))


def given_by(allocatable: Mapping[str, str]) -> Resources:
    """A node's `allocatable`, with nothing running on it."""
    cpu, memory, gpu = (number(str(allocatable.get(name, "0"))) for name in ("cpu", "memory", _GPU))
    return Resources(cpu, memory, gpu)


def number(quantity: str) -> float:
    """1500m -> 1.5, 32Gi -> 34359738368."""
    digits = quantity.rstrip("mkMGTKi")
    return float(digits) * _UNITS.get(quantity[len(digits) :], 1)
