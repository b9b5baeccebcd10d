"""The training step and a whole epoch against the usual way: CPU time per image, both sides in the same run.

The usual step is float32 in the default memory format. The usual epoch is torchvision's ImageFolder before that step:
each 1024 x 1024 PNG is decoded and changed with Pillow in every epoch; ours reads the image store, in which each was
decoded once. Run with `python -m tests.bench.bench_training`; it exits with 1 where a target is missed.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, one_hot

from models.architectures import build
from models.preprocessing import Preprocessing
from models.training.augmentation_settings import AugmentationSettings
from models.training.batches import LabelledRows
from models.training.class_balance import ClassBalance
from models.training.device import Compute, bf16_supported, choose_compute
from models.training.epoch import TrainingData, train_epoch
from models.training.feeding import Feed
from models.training.loss_watch import LossWatch
from models.training.objectives import Objective
from models.training.settings import TrainingSettings
from models.training.state import TrainingState
from models.training.step import training_step
from tests.bench.bench_data_path import folder_loader
from tests.bench.comparison import Comparison, judge
from tests.bench.pictures import write_pictures
from tests.bench.timing import cpu_seconds, cpu_seconds_in_turn

CPU = torch.device("cpu")
SIZE, CLASSES, BATCH = 224, 3, 16
FILES = 32  # images of an epoch
STEPS = {"simple_cnn": (BATCH, 1.8), "resnet50": (8, 1.5)}  # images of a step, and the promise


def main() -> int:
    """Measure, print the table, and return the exit status."""
    torch.set_num_threads(1)
    comparisons = [step_of(name, images, target) for name, (images, target) in STEPS.items()]
    with tempfile.TemporaryDirectory() as temporary:
        write_pictures(Path(temporary), FILES)
        comparisons.append(whole_epoch(Path(temporary)))
    return judge(comparisons)


def step_of(name: str, images: int, target: float) -> Comparison:
    """float32 in the default memory format with AdamW, against the step of the training loop."""
    inputs, labels = torch.randn(images, 1, SIZE, SIZE), torch.arange(images) % CLASSES
    usual_model = build(name, num_classes=CLASSES, img_size=SIZE)
    usual_optimizer = torch.optim.AdamW(usual_model.parameters(), lr=1e-4)

    def usual() -> None:
        usual_step(usual_model, usual_optimizer, inputs, labels)

    title = f"{name} training step"
    if not bf16_supported(CPU):
        return Comparison(title, cpu_seconds(usual) / images, None, target, "this CPU has no bf16 instructions")
    model, optimizer = ours_of(name)
    objective, compute = Objective("softmax", torch.ones(CLASSES), torch.ones(CLASSES)), Compute(CPU, "bf16")
    targets = one_hot(labels, CLASSES).to(torch.int8)

    def ours() -> None:
        training_step(model, optimizer, objective, inputs, targets, gradient_clip=1.0, compute=compute)

    usual_seconds, seconds = cpu_seconds_in_turn(usual, ours)
    return Comparison(title, usual_seconds / images, seconds / images, target)


def whole_epoch(pictures: Path) -> Comparison:
    """simple_cnn over the same number of images, read, changed and learned from."""
    loader = folder_loader(pictures, BATCH)
    usual_model = build("simple_cnn", num_classes=CLASSES, in_chans=3, img_size=SIZE)
    usual_optimizer = torch.optim.AdamW(usual_model.parameters(), lr=1e-4)

    def usual() -> None:
        for inputs, labels in loader:
            usual_step(usual_model, usual_optimizer, inputs, labels)

    settings, compute = TrainingSettings(batch_size=BATCH), choose_compute("auto")
    state = TrainingState(*ours_of("simple_cnn"))
    rows = np.arange(FILES)
    data = TrainingData(
        Feed(np.random.default_rng(0).integers(0, 256, (FILES, SIZE, SIZE), dtype=np.uint8), CPU),
        LabelledRows.of_labels(rows, rows % CLASSES, CLASSES),
        AugmentationSettings(),
        Preprocessing(size=SIZE, mode="imagenet_gray"),
    )
    balance = ClassBalance("softmax", np.ones(CLASSES), np.zeros(CLASSES))

    def ours() -> None:
        state.epoch += 1
        train_epoch(state, data, Objective.of(balance, CPU), settings, compute, LossWatch(state.epoch, CPU))

    usual_seconds, seconds = cpu_seconds_in_turn(usual, ours, repeats=2)
    return Comparison("simple_cnn, whole epoch", usual_seconds / FILES, seconds / FILES, 2)


def usual_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, inputs: torch.Tensor, labels: torch.Tensor
) -> None:
    optimizer.zero_grad()
    loss = cross_entropy(model(inputs), labels)
    loss.backward()
    optimizer.step()
    loss.item()


def ours_of(name: str) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Network and optimiser as the training loop makes them."""
    model = build(name, num_classes=CLASSES, img_size=SIZE).to(memory_format=torch.channels_last)
    return model, torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)


if __name__ == "__main__":
    sys.exit(main())
