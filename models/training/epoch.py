"""One pass over the training images: each batch read, changed, and learned from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import nn

from data_contracts.errors import EnvironmentProblem
from models.preprocessing import Preprocessing
from models.training.augmentation import augment
from models.training.augmentation_settings import AugmentationSettings
from models.training.batches import Batch, LabelledRows, epoch_batches
from models.training.device import Compute
from models.training.feeding import Feed
from models.training.loss_watch import LossWatch
from models.training.objectives import Objective, tensor_of
from models.training.settings import TrainingSettings
from models.training.state import TrainingState
from models.training.step import StepMeasures, training_step

# The smallest batch that is still two of two images when it is halved.
_SMALLEST_HALVED = 4


@dataclass(frozen=True, slots=True, eq=False)
class EpochLosses:
    """Means over an epoch, each class weighed. classification, reconstruction: None where the phase has none."""

    total: float
    classification: float | None
    reconstruction: float | None


class Inputs(Protocol):
    """What an epoch learns from: labelled rows, and what the network reads of them."""

    @property
    def rows(self) -> LabelledRows: ...

    def inputs(self, batches: Sequence[Batch], *, seed: int, epoch: int) -> Iterable[torch.Tensor]:
        """The network's input for one batch after another."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class TrainingData:
    """Images to learn from. preprocessing: of the images as the augmentation returns them."""

    feed: Feed
    rows: LabelledRows
    augmentation: AugmentationSettings
    preprocessing: Preprocessing

    def inputs(self, batches: Sequence[Batch], *, seed: int, epoch: int) -> Iterator[torch.Tensor]:
        """Changed images, (B, C, H, W) float32 per batch."""
        streamed = self.feed.stream(batch.rows for batch in batches)
        for batch, pixels in zip(batches, streamed, strict=True):
            changed = augment(pixels, batch.rows, self.augmentation, seed=seed, epoch=epoch, repeats=batch.repeats)
            yield self.preprocessing.apply(changed)


def train_epoch(
    state: TrainingState,
    data: Inputs,
    objective: Objective,
    settings: TrainingSettings,
    compute: Compute,
    watch: LossWatch,
    *,
    network: nn.Module | None = None,
    between: Callable[[], None] | None = None,
) -> EpochLosses:
    """What is left of `state.epoch`, from its batch after `state.sums`, which is empty again afterwards.

    network: `state.model` as it is to be called, compiled perhaps, or its part that reads `data`. between: called after
    each step but the last. Raises ModelGateError where loss or gradient stop being finite, EnvironmentProblem where
    half a batch does not fit the GPU either.
    """
    batches = epoch_batches(
        data.rows, settings.batch_size, seed=settings.seed, epoch=state.epoch, sampling=settings.sampling
    )
    done = len(state.sums)
    todo = batches[done:]
    streamed = data.inputs(todo, seed=settings.seed, epoch=state.epoch)
    for number, (batch, inputs) in enumerate(zip(todo, streamed, strict=True), start=done):
        measures = _step(
            state,
            network or state.model,
            objective,
            inputs,
            tensor_of(batch.targets, compute.device),
            settings,
            compute,
        )
        state.sums.append(measures.sums)
        state.steps += 1
        watch.add(number, batch, measures)
        if state.average is not None:
            state.average.update(state.model, step=state.steps)
        if between is not None and number + 1 < len(batches):
            between()
    watch.check()
    losses = _epoch_losses(state, objective, batches)
    state.sums = []
    return losses


def _step(
    state: TrainingState,
    network: nn.Module,
    objective: Objective,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    settings: TrainingSettings,
    compute: Compute,
) -> StepMeasures:
    """One step; the first time it does not fit the GPU's memory, again in two halves, as all steps after it."""

    def attempt() -> StepMeasures:
        parts = 2 if state.halved and len(inputs) >= _SMALLEST_HALVED else 1
        return training_step(
            network,
            state.optimizer,
            objective,
            inputs,
            targets,
            gradient_clip=settings.gradient_clip,
            compute=compute,
            parts=parts,
        )

    try:
        return attempt()
    except torch.cuda.OutOfMemoryError as error:
        if state.halved:
            raise _too_large(settings) from error
    # Outside the handler, so that the failed attempt's tensors are not kept alive by its traceback.
    state.halved = True
    state.notes.append(
        f"out of GPU memory in epoch {state.epoch}: each batch of {settings.batch_size} was computed in two halves "
        "from there on, with one gradient"
    )
    state.optimizer.zero_grad(set_to_none=True)
    if compute.device.type == "cuda":
        torch.cuda.empty_cache()
    try:
        return attempt()
    except torch.cuda.OutOfMemoryError as error:
        raise _too_large(settings) from error


def _too_large(settings: TrainingSettings) -> EnvironmentProblem:
    return EnvironmentProblem(
        f"Half a batch of {settings.batch_size} images does not fit the GPU's memory.",
        why="The network cannot be trained with this batch size on this GPU.",
        cure="Lower batch_size or the image size in the recipe, or free the GPU of other programs.",
    )


def _epoch_losses(state: TrainingState, objective: Objective, batches: list[Batch]) -> EpochLosses:
    # Read once per epoch: asking a GPU for each step's loss would stop it after each step.
    sums = torch.stack(state.sums).to("cpu", torch.float64).numpy()
    classification, weight, reconstruction = (float(total) for total in np.sum(sums[:, :3], axis=0))
    error = reconstruction / sum(map(len, batches))
    share = objective.reconstruction_weight
    return EpochLosses(
        total=objective.mean(classification, weight, error),
        classification=classification / weight if share < 1 and weight else None,
        reconstruction=error if share else None,
    )
