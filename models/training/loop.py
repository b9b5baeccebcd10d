"""Training of one classifier: plain torch, one process, one device.

It keeps no checkpoint and resumes nothing; it hands back the weights of its best epoch. torch has one random
generator per process, so one process trains one network at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import cross_entropy

from data_contracts.errors import DataGateError, ModelGateError, UsageProblem
from models.architectures import build
from models.evaluation.predictions import predict_probabilities
from models.preprocessing import Preprocessing
from models.training.augmentation import augment
from models.training.augmentation_settings import AugmentationSettings
from models.training.batches import LabelledRows, epoch_batches, read_images
from models.training.best_epoch import BestEpoch
from models.training.class_balance import class_weights
from models.training.device import Compute, choose_compute
from models.training.history import EpochRecord, TrainingHistory
from models.training.schedule import cosine_learning_rate
from models.training.settings import ArchitectureSettings, TrainingSettings
from models.training.validation import validate

__all__ = ["LabelledRows", "TrainedClassifier", "train_classifier", "training_step"]


@dataclass(frozen=True, slots=True, eq=False)
class TrainedClassifier:
    """A network with the weights of its best epoch, on the CPU, in eval mode, float32.

    val_probabilities: (n_val, K) float64 softmax of that network on the validation rows, in their order,
    computed in float32 as every later prediction is. device: cpu or cuda; precision: fp32 or bf16, as it was
    trained.
    """

    model: nn.Module
    history: TrainingHistory
    val_probabilities: NDArray[np.float64]
    device: str
    precision: str


def train_classifier(
    *,
    architecture: ArchitectureSettings,
    classes: list[str],
    images: NDArray[np.uint8],
    train: LabelledRows,
    val: LabelledRows,
    settings: TrainingSettings,
    augmentation: AugmentationSettings,
    preprocessing: Preprocessing,
    on_epoch: Callable[[EpochRecord], None] | None = None,
) -> TrainedClassifier:
    """Fit one architecture and keep the epoch that did best on validation.

    images: (N, H, W) uint8, usually a memory map; train and val name its rows. on_epoch is called after each
    epoch; what it raises ends the training. Equal arguments give equal weights bit for bit on one kind of CPU
    and number of threads, and torch's global generators are left as they were found.
    Raises DataGateError for a class without training images or an empty validation set, ModelGateError where
    loss or output stop being finite, UsageProblem for arguments that do not fit together.
    """
    settings = settings.for_architecture(architecture)
    _check_rows(classes, images, train, val)
    weights = class_weights(train.labels, classes, settings.class_weights)
    compute = choose_compute(settings.precision)
    records: list[EpochRecord] = []
    best = BestEpoch()
    stopped_early = ""

    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(_stream(settings.seed, architecture.name, 0))
        model = build(
            architecture.name,
            num_classes=len(classes),
            img_size=preprocessing.size,
            options=architecture.options,
        )
        model.to(compute.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
        for epoch in range(1, settings.epochs + 1):
            # Dropout draws from torch's global generator; each epoch's stream is independent of earlier ones.
            torch.manual_seed(_stream(settings.seed, architecture.name, epoch))
            learning_rate = cosine_learning_rate(
                epoch - 1, settings.epochs, settings.learning_rate, settings.final_learning_rate
            )
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
            train_loss = _train_epoch(
                model,
                optimizer,
                images,
                train,
                weights,
                settings=settings,
                augmentation=augmentation,
                preprocessing=preprocessing,
                compute=compute,
                epoch=epoch,
            )
            scores = validate(
                model,
                images,
                val,
                weights,
                preprocessing=preprocessing,
                compute=compute,
                batch_size=settings.batch_size,
                epoch=epoch,
            )
            record = EpochRecord(
                epoch=epoch,
                learning_rate=learning_rate,
                train_loss=train_loss,
                val_loss=scores.loss,
                val_macro_auc=scores.macro_auc,
                val_accuracy=scores.accuracy,
            )
            records.append(record)
            best.offer(record, model)
            if on_epoch is not None:
                on_epoch(record)
            patience = settings.early_stopping_patience
            if patience is not None and best.epochs_since >= patience and epoch < settings.epochs:
                stopped_early = f"validation did not improve for {patience} epochs"
                break

    best.restore(model)
    val_probabilities = predict_probabilities(model.eval(), images, val.rows, preprocessing)
    return TrainedClassifier(
        model=model.to("cpu", memory_format=torch.contiguous_format),  # type: ignore[call-overload]
        history=TrainingHistory(
            epochs=records,
            best_epoch=best.epoch,
            stopped_early=stopped_early,
            selection=_selection(classes, val),
        ),
        val_probabilities=val_probabilities,
        device=compute.device.type,
        precision=compute.precision,
    )


def training_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    weights: torch.Tensor,
    *,
    gradient_clip: float | None,
    compute: Compute,
) -> torch.Tensor:
    """One optimiser step; returns the batch's mean weighted loss, left on the device so that nothing waits.

    inputs: (B, 1, H, W) float32; labels: (B,) int64; weights: (K,) float32.
    """
    with compute.autocast():
        logits = model(inputs)
    # Divided by the images of the batch, not by their weights: the gradient stays an unbiased estimate of the
    # weighted sum over all images, whichever classes the batch happens to hold.
    loss = cross_entropy(logits.float(), labels, weight=weights, reduction="sum") / len(labels)
    loss.backward()  # type: ignore[no-untyped-call]
    if gradient_clip is not None:
        nn.utils.clip_grad_norm_(model.parameters(), gradient_clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.detach()


def _train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: NDArray[np.uint8],
    train: LabelledRows,
    weights: NDArray[np.float64],
    *,
    settings: TrainingSettings,
    augmentation: AugmentationSettings,
    preprocessing: Preprocessing,
    compute: Compute,
    epoch: int,
) -> float:
    """One pass over the training images; the mean loss per image."""
    model.train()
    batches = epoch_batches(train, settings.batch_size, seed=settings.seed, epoch=epoch)
    class_weight = torch.from_numpy(weights).to(compute.device, torch.float32)
    losses = []
    for batch in batches:
        pixels = read_images(images, batch.rows, compute.device)
        changed = augment(pixels, batch.rows, augmentation, seed=settings.seed, epoch=epoch)
        losses.append(
            training_step(
                model,
                optimizer,
                preprocessing.apply(changed),
                torch.from_numpy(batch.labels).to(compute.device),
                class_weight,
                gradient_clip=settings.gradient_clip,
                compute=compute,
            )
        )
    # Read once per epoch: asking a GPU for each step's loss would stop it after each step.
    per_batch = torch.stack(losses).to("cpu", torch.float64).numpy()
    broken = np.flatnonzero(~np.isfinite(per_batch))
    if len(broken):
        first = broken[0]
        raise ModelGateError(
            f"The training loss became {per_batch[first]} in epoch {epoch}, in the batch of store rows "
            f"{', '.join(map(str, batches[first].rows))}.",
            why="The weights are spoilt from that batch on.",
            cure="Look at these images; if they are sound, lower learning_rate or set `precision: fp32`.",
        )
    return float(np.average(per_batch, weights=[len(batch) for batch in batches]))


def _check_rows(classes: list[str], images: NDArray[np.uint8], train: LabelledRows, val: LabelledRows) -> None:
    if len(classes) < 2:
        raise UsageProblem(
            f"A classifier was asked for with classes {classes}.",
            why="With fewer than two classes there is nothing to tell apart.",
            cure="Choose a task with two or more classes.",
        )
    if len(val) == 0:
        raise DataGateError(
            "There is no validation image.",
            why="The best epoch and the operating point are chosen on validation.",
            cure="Give `val` a share in the recipe's split, or add images.",
        )
    for name, data in (("train", train), ("val", val)):
        labels_fit = data.labels.size == 0 or 0 <= data.labels.min() <= data.labels.max() < len(classes)
        rows_fit = data.rows.size == 0 or 0 <= data.rows.min() <= data.rows.max() < len(images)
        if not (labels_fit and rows_fit):
            raise UsageProblem(
                f"The {name} rows or labels lie outside {len(images)} images and {len(classes)} classes.",
                why="They would be read from another image or counted as another class.",
                cure="Take rows and labels from the catalog that belongs to this image store.",
            )


def _selection(classes: list[str], val: LabelledRows) -> str:
    """In words, what chose the best epoch."""
    absent = [name for index, name in enumerate(classes) if not (val.labels == index).any()]
    if absent:
        return f"val_loss, because val_macro_auc is undefined: no validation image of {', '.join(absent)}"
    return "val_macro_auc, then val_loss where it is equal"


def _stream(seed: int, name: str, epoch: int) -> int:
    """A generator seed for one epoch of one architecture; 0 is its initial weights."""
    digest = hashlib.sha256(f"{seed}/{name}/{epoch}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
