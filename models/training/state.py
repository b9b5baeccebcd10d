"""Everything a training must remember to go on as if it had never been interrupted, as tensors and JSON.

An epoch's random draws come from (seed, epoch), so between epochs no generator has to be remembered; within one it is
torch's, from which dropout draws.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from pydantic import BaseModel, ConfigDict
from timm.utils.model_ema import ModelEmaV3
from torch import nn

from models.training.best_epoch import BestEpoch
from models.training.history import EpochRecord


class Progress(BaseModel):
    """How far a training is. epoch: the one to be worked on, from 1; batches_done: of that epoch.

    steps: optimiser steps in all. halved: whether batches are computed in two halves for lack of GPU memory.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    epoch: int = 1
    batches_done: int = 0
    steps: int = 0
    halved: bool = False
    records: list[EpochRecord] = []
    notes: list[str] = []
    best: EpochRecord | None = None
    best_is_current: bool = False
    epochs_since_best: int = 0


@dataclass(slots=True, eq=False)
class TrainingState:
    """The network, what trains it, and how far it is. average: the running mean of the weights, None where unwanted.

    sums: (batches_done, 5) float32 on the device, the measures of the epoch's steps so far.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    average: ModelEmaV3 | None = None
    best: BestEpoch = field(default_factory=BestEpoch)
    records: list[EpochRecord] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sums: list[torch.Tensor] = field(default_factory=list)
    epoch: int = 1
    steps: int = 0
    halved: bool = False

    @property
    def judged(self) -> nn.Module:
        """The network that is validated and kept: the running mean where there is one."""
        return self.model if self.average is None else self.average.module

    def progress(self) -> Progress:
        """What is remembered as JSON."""
        return Progress(
            epoch=self.epoch,
            batches_done=len(self.sums),
            steps=self.steps,
            halved=self.halved,
            records=self.records,
            notes=self.notes,
            best=self.best.record,
            best_is_current=self._best_is_current,
            epochs_since_best=self.best.epochs_since,
        )

    def tensors(self) -> dict[str, torch.Tensor]:
        """What is remembered as numbers, by name."""
        held = {**self._weights(), **self._moments()}
        if self.best.record is not None and not self._best_is_current:
            held |= {f"best/{name}": value for name, value in self.best.weights.items()}
        if self.sums:
            held |= {"epoch/sums": torch.stack(self.sums), **_generators()}
        return held

    def restore(self, progress: Progress, tensors: Mapping[str, torch.Tensor]) -> None:
        """Become what was remembered. Raises ValueError, before anything is changed, where it is another training's."""
        best = {f"best/{name}": value for name, value in self.judged.state_dict().items()}
        remembers_best = progress.best is not None and not progress.best_is_current
        for name, own in (self._weights() | (best if remembers_best else {})).items():
            _require(tensors, name, own.shape, own.dtype)
        if progress.batches_done:
            _require(tensors, "epoch/sums", torch.Size((progress.batches_done, 5)), torch.float32)
            for name, own in _generators().items():
                _require(tensors, name, own.shape, own.dtype)
        moments = self._moments_from(tensors)

        with torch.no_grad():
            for name, own in self._weights().items():
                own.copy_(tensors[name])
        self.optimizer.state.clear()
        self.optimizer.state.update(moments)
        kept = {
            name.removeprefix("best/"): tensors[name].to(own.device) if remembers_best else own.clone()
            for name, own in best.items()
            if progress.best is not None
        }
        self.best.recall(progress.best, kept, progress.epochs_since_best)
        self.records, self.notes = list(progress.records), list(progress.notes)
        self.epoch, self.steps, self.halved = progress.epoch, progress.steps, progress.halved
        self.sums = []
        if progress.batches_done:
            device = next(self.model.parameters()).device
            self.sums = list(tensors["epoch/sums"].to(device).unbind())
            _set_generators(tensors)

    @property
    def _best_is_current(self) -> bool:
        """Whether the network still is as it was when it was best, so that its weights need not be kept twice."""
        return self.best.record is not None and self.best.epoch == self.epoch - 1 and not self.sums

    def _weights(self) -> dict[str, torch.Tensor]:
        networks = {"model": self.model} | ({} if self.average is None else {"average": self.average.module})
        return {f"{part}/{name}": v for part, net in networks.items() for name, v in net.state_dict().items()}

    def _moments(self) -> dict[str, torch.Tensor]:
        return {
            f"optimizer/{name}/{key}": value
            for name, parameter in self.model.named_parameters()
            for key, value in self.optimizer.state.get(parameter, {}).items()
        }

    def _moments_from(self, tensors: Mapping[str, torch.Tensor]) -> dict[torch.Tensor, dict[str, torch.Tensor]]:
        """The optimiser's state of each parameter that has learned."""
        moments: dict[torch.Tensor, dict[str, torch.Tensor]] = {}
        for name, parameter in self.model.named_parameters():
            prefix = f"optimizer/{name}/"
            if f"{prefix}step" not in tensors:
                continue
            # Laid out in memory as the parameter is: fused AdamW walks through both side by side.
            moments[parameter] = {"step": tensors[f"{prefix}step"].to(parameter.device)}
            for key in ("exp_avg", "exp_avg_sq"):
                _require(tensors, prefix + key, parameter.shape, parameter.dtype)
                moments[parameter][key] = torch.empty_like(parameter, requires_grad=False).copy_(
                    tensors[prefix + key]
                )
        return moments


def _require(tensors: Mapping[str, torch.Tensor], name: str, shape: torch.Size, dtype: torch.dtype) -> None:
    if name not in tensors:
        raise ValueError(f"tensor {name} is missing")
    found = tensors[name]
    if (found.shape, found.dtype) != (shape, dtype):
        raise ValueError(f"tensor {name} is {found.dtype} {tuple(found.shape)}, not {dtype} {tuple(shape)}")


def _generators() -> dict[str, torch.Tensor]:
    """The states of torch's generators, one per device."""
    states = {"generator/cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["generator/cuda"] = torch.cuda.get_rng_state()
    return states


def _set_generators(tensors: Mapping[str, torch.Tensor]) -> None:
    torch.set_rng_state(tensors["generator/cpu"])
    if torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["generator/cuda"])
