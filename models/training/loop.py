"""Training of one classifier: plain torch, one process, one device, resumed where it was interrupted.

It hands back the weights of its best epoch. torch has one random generator per process, so one process trains one
network at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from timm.utils.model_ema import ModelEmaV3
from torch import nn

from models.architectures import InitialWeights, build, initial_weights_of
from models.evaluation.predictions import predict_probabilities
from models.output import Output, output_count
from models.preprocessing import Preprocessing
from models.training.augmentation_settings import AugmentationSettings
from models.training.batches import LabelledRows, draw_shares
from models.training.checkpoint import Checkpoints, Say
from models.training.class_balance import ClassBalance, class_balance
from models.training.device import Compute, choose_compute, compiled, kernels
from models.training.epoch import TrainingData, train_epoch
from models.training.feature_cache import FeatureCache
from models.training.feeding import Feed
from models.training.history import EpochRecord, PhaseRecord, TrainingHistory
from models.training.identity import training_identity
from models.training.loss_watch import LossWatch
from models.training.objectives import Objective
from models.training.phases import Phase, begin_phase, phase_of, plan_phases
from models.training.reading import Readings, feature_notes
from models.training.schedule import learning_rate
from models.training.settings import ArchitectureSettings, TrainingSettings
from models.training.state import TrainingState
from models.training.validation import undefined_classes, validate
from models.training.what_fits import check_rows, check_test_time_crop, training_input_size

__all__ = ["LabelledRows", "TrainedClassifier", "train_classifier"]


@dataclass(frozen=True, slots=True, eq=False)
class TrainedClassifier:
    """A network with the weights of its best epoch, on the CPU, in eval mode, float32.

    output: what its numbers mean. val_probabilities: (n_val, K) float64 of that network on the validation rows, in
    their order, computed in float32 and with the same crops as every later prediction is. device: cpu or cuda;
    precision: fp32 or bf16, as it was trained.
    """

    model: nn.Module
    output: Output
    history: TrainingHistory
    val_probabilities: NDArray[np.float64]
    device: str
    precision: str
    initial_weights: InitialWeights


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
    multi_label: bool = False,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    say: Say | None = None,
    checkpoints: Path | None = None,
    features: FeatureCache | None = None,
    with_probabilities: bool = True,
) -> TrainedClassifier:
    """Fit one architecture and keep the epoch that did best on validation.

    images: (N, H, W) uint8, usually a memory map; train and val name its rows. on_epoch is called after each
    epoch, also with those of an interrupted training that this one resumes; what it raises ends the training. say:
    told of what went otherwise than planned, the log if None. checkpoints: a folder of this training's own, from which
    an interrupted one resumes; None: nothing is written. features: where a frozen trunk's features are kept for this
    and later trainings; None: in memory. with_probabilities: False leaves val_probabilities empty. Equal arguments
    give equal weights bit for bit on one kind of CPU and number of threads, interrupted or not, and torch's global
    generators are left as they were found. Raises DataGateError for a class without training images or an empty
    validation set, ModelGateError where loss or output stop being finite, UsageProblem for arguments that do not fit
    together.
    """
    settings = settings.for_architecture(architecture)
    output = settings.output(classes, multi_label=multi_label)
    check_rows(classes, images, train, val)
    input_size = training_input_size(architecture, preprocessing.size, images.shape[1], augmentation)
    check_test_time_crop(architecture, preprocessing.size)
    shares = None if settings.sampling == "natural" else draw_shares(train, settings.sampling)
    balance = class_balance(train.targets, classes, output, settings.class_weights, shares)
    phases, notes = plan_phases(settings, architecture)
    notes += feature_notes(phases, settings)
    compute = choose_compute(settings.precision)

    with (
        torch.random.fork_rng(devices=range(torch.cuda.device_count())),
        kernels(compute.device, deterministic=settings.deterministic),
    ):
        state = _first_state(architecture, output_count(output, len(classes)), settings, preprocessing, compute)
        started_from = initial_weights_of(state.model)
        state.notes += notes
        for note in notes:
            if say is not None:
                say(note)
        keeper = None
        if checkpoints is not None:
            identity = training_identity(
                {
                    "architecture": architecture,
                    "training": settings,
                    "augmentation": augmentation,
                    "preprocessing": preprocessing,
                },
                classes=classes,
                output=output,
                initial_weights=started_from.model_dump_json(),
                train=train,
                val=val,
                compute=compute,
            )
            keeper = Checkpoints(checkpoints, identity, say=say)
            keeper.resume(state)
        data = TrainingData(
            Feed(images, compute.device),
            train,
            augmentation,
            preprocessing.model_copy(update={"size": input_size}),
        )
        training = _Training(
            settings=settings,
            name=architecture.name,
            phases=phases,
            balance=balance,
            readings=Readings.of(
                state.model,
                compiled(state.model, compute.device) if settings.compile else state.model,
                data,
                val,
                preprocessing,
                settings,
                compute,
                features=features,
                say=say,
            ),
            val=val,
            compute=compute,
            keeper=keeper,
            folder=checkpoints,
        )
        stopped_early = training.run(state, on_epoch)
    state.best.restore(state.model)
    model = state.model.requires_grad_(True).eval()
    predicted = val.rows if with_probabilities else val.rows[:0]
    val_probabilities = predict_probabilities(
        model, images, predicted, preprocessing, output=output, test_time_crop=architecture.test_time_crop
    )
    return TrainedClassifier(
        model=model.to("cpu", memory_format=torch.contiguous_format),  # type: ignore[call-overload]
        output=output,
        history=TrainingHistory(
            epochs=state.records,
            best_epoch=state.best.epoch,
            stopped_early=stopped_early,
            selection=_selection(classes, val),
            phases=_phase_records(phases),
            notes=state.notes,
        ),
        val_probabilities=val_probabilities,
        device=compute.device.type,
        precision=compute.precision,
        initial_weights=started_from,
    )


def _first_state(
    architecture: ArchitectureSettings,
    logits: int,
    settings: TrainingSettings,
    preprocessing: Preprocessing,
    compute: Compute,
) -> TrainingState:
    """The untrained network with its optimiser, on the device."""
    torch.manual_seed(_stream(settings.seed, architecture.name, 0))
    model = build(
        architecture.name,
        num_classes=logits,
        in_chans=preprocessing.channels,
        img_size=preprocessing.size,
        options=architecture.options,
        init=settings.init,
    )
    model.to(compute.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    # Warming up keeps the random weights of the start out of a short training's mean.
    average = None if settings.ema_decay is None else ModelEmaV3(model, settings.ema_decay, use_warmup=True)
    return TrainingState(model, optimizer, average)


@dataclass(frozen=True, slots=True, eq=False)
class _Training:
    """All that stays the same while a network is trained."""

    settings: TrainingSettings
    name: str
    phases: list[Phase]
    balance: ClassBalance
    readings: Readings
    val: LabelledRows
    compute: Compute
    keeper: Checkpoints | None
    folder: Path | None

    def run(self, state: TrainingState, on_epoch: Callable[[EpochRecord], None] | None) -> str:
        """Train from where the state is to the end; why it ended early, or ""."""
        if on_epoch is not None:
            for earlier in state.records:
                on_epoch(earlier)
        patience = self.settings.early_stopping_patience
        planned = self.settings.epochs - self.phases[-1].epochs
        while state.epoch <= self.settings.epochs:
            # All phases but the last are as long as planned: what they lead up to has not begun to improve.
            waited = min(state.best.epochs_since, state.epoch - 1 - planned)
            if patience is not None and waited >= patience:
                return f"validation did not improve for {patience} epochs"
            record = self._epoch(state)
            state.records.append(record)
            if phase_of(self.phases, record.epoch).reconstruction_weight < 1:
                state.best.offer(record, state.judged)
            state.epoch += 1
            if self.keeper is not None and self.keeper.is_due(state):
                self.keeper.write(state)
            if on_epoch is not None:
                on_epoch(record)
        return ""

    def _epoch(self, state: TrainingState) -> EpochRecord:
        phase, rate = phase_of(self.phases, state.epoch), learning_rate(self.settings, state.epoch)
        begin_phase(state.model, phase)
        reading = self.readings.during(phase, state)
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        if not state.sums:
            # Dropout draws from torch's global generator; each epoch's stream is independent of earlier ones.
            torch.manual_seed(_stream(self.settings.seed, self.name, state.epoch))
        watch = LossWatch(state.epoch, self.compute.device, self.folder)
        objective = Objective.of(
            self.balance, self.compute.device, reconstruction_weight=phase.reconstruction_weight
        )
        trained = train_epoch(
            state,
            reading.train,
            objective,
            self.settings,
            self.compute,
            watch,
            network=reading.network,
            between=lambda: self._between(state, watch),
        )
        scores = validate(
            reading.judged,
            reading.val,
            self.val,
            self.balance,
            reconstruction_weight=phase.reconstruction_weight,
            preprocessing=reading.preprocessing,
            compute=self.compute,
            batch_size=self.settings.batch_size,
            epoch=state.epoch,
        )
        reconstructs = any(phase.reconstruction_weight for phase in self.phases)
        return EpochRecord(
            epoch=state.epoch,
            learning_rate=rate,
            train_loss=trained.total,
            val_loss=scores.loss,
            val_macro_auc=scores.macro_auc,
            val_accuracy=scores.accuracy,
            train_classification_loss=trained.classification if reconstructs else None,
            train_reconstruction_loss=trained.reconstruction,
            val_classification_loss=scores.classification if reconstructs else None,
            val_reconstruction_loss=scores.reconstruction,
        )

    def _between(self, state: TrainingState, watch: LossWatch) -> None:
        if self.keeper is not None and self.keeper.is_due(state):
            watch.check()  # a checkpoint never holds weights after a loss that was not finite
            self.keeper.write(state)


def _selection(classes: list[str], val: LabelledRows) -> str:
    """In words, what chose the best epoch."""
    if lacking := undefined_classes(val.targets, classes):
        return (
            "val_loss, because val_macro_auc is undefined: no validation image of, or none without, "
            + ", ".join(lacking)
        )
    return "val_macro_auc, then val_loss where it is equal"


def _phase_records(phases: list[Phase]) -> list[PhaseRecord]:
    ends = np.cumsum([phase.epochs for phase in phases]).tolist()
    return [
        PhaseRecord(name=phase.name, first_epoch=end - phase.epochs + 1, last_epoch=end)
        for phase, end in zip(phases, ends, strict=True)
    ]


def _stream(seed: int, name: str, epoch: int) -> int:
    """A generator seed for one epoch of one architecture; 0 is its initial weights."""
    digest = hashlib.sha256(f"{seed}/{name}/{epoch}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
