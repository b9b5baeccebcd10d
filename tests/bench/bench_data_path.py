"""The data path and the training step against the usual way: CPU time per image, both sides in the same run.

The usual way is torchvision's ImageFolder: decode each 1024 x 1024 PNG every epoch, convert it to RGB, change it
with Pillow. Ours reads a uint8 memory map of 224 x 224 images. Run with `python -m tests.bench.bench_data_path`;
it exits with 1 where a target is missed.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy, one_hot
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from models.architectures import build
from models.preprocessing import Preprocessing
from models.training.augmentation import augment
from models.training.augmentation_settings import AugmentationSettings
from models.training.batches import LabelledRows, consecutive_batches, epoch_batches, read_images
from models.training.device import Compute, bf16_supported
from models.training.objectives import Objective
from models.training.step import training_step
from tests.bench.comparison import Comparison, judge
from tests.bench.pictures import write_pictures
from tests.bench.timing import cpu_seconds

CPU = torch.device("cpu")
BATCH = 32
FILES = 24  # decoded per measurement of the usual way
ROWS = 512  # read per measurement of ours
STEP = 16  # images per training step


def main() -> int:
    """Measure, print the table, and return the exit status."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_pictures(folder / "pictures", FILES)
        images = write_store(folder / "images.npy")
        comparisons = [
            train_path(folder / "pictures", images),
            evaluation_path(folder / "pictures", images),
            train_step(),
        ]
    return judge(comparisons)


def write_store(path: Path) -> np.ndarray:
    """A read-only memory map of uint8 images, as the image store keeps them."""
    np.save(path, np.random.default_rng(0).integers(0, 256, (ROWS, 224, 224), dtype=np.uint8))
    return np.load(path, mmap_mode="r")


def train_path(pictures: Path, images: np.ndarray) -> Comparison:
    change = [
        transforms.Resize((224, 224)),
        transforms.RandomRotation(10),
        transforms.RandomHorizontalFlip(),
        transforms.RandomResizedCrop(224, scale=(0.9, 1.0), ratio=(0.95, 1.05)),
        transforms.ColorJitter(brightness=0.2, contrast=0.2),
    ]
    data = LabelledRows.of_labels(np.arange(ROWS), np.arange(ROWS) % 2, classes=2)
    settings = AugmentationSettings()
    preprocessing = Preprocessing(size=224, mode="imagenet_gray")

    def ours() -> None:
        for batch in epoch_batches(data, BATCH, seed=0, epoch=1):
            pixels = read_images(images, batch.rows, CPU)
            preprocessing.apply(augment(pixels, batch.rows, settings, seed=0, epoch=1))

    return Comparison("read and augment for training", usual_path(pictures, change), per_image(ours, ROWS), 10)


def evaluation_path(pictures: Path, images: np.ndarray) -> Comparison:
    preprocessing = Preprocessing(size=224, mode="imagenet_gray")

    def ours() -> None:
        for rows in consecutive_batches(np.arange(ROWS), BATCH):
            preprocessing.apply(read_images(images, rows, CPU))

    usual = usual_path(pictures, [transforms.Resize((224, 224))])
    return Comparison("read for evaluation", usual, per_image(ours, ROWS), 150)


def usual_path(pictures: Path, change: list[object]) -> float:
    """CPU seconds per image of torchvision's folder data set with this list of Pillow transforms."""
    normalise = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    dataset = ImageFolder(pictures, transforms.Compose([*change, transforms.ToTensor(), normalise]))
    loader = DataLoader(dataset, batch_size=BATCH, shuffle=True)
    return per_image(lambda: [batch for batch, _ in loader], FILES)


def train_step() -> Comparison:
    """SimpleCNN: float32 in the default memory format with AdamW, against the step of the training loop."""
    inputs, labels = torch.randn(STEP, 1, 224, 224), torch.arange(STEP) % 3

    usual_model = build("simple_cnn", num_classes=3, img_size=224)
    usual_optimizer = torch.optim.AdamW(usual_model.parameters(), lr=1e-4)

    def usual() -> None:
        usual_optimizer.zero_grad()
        loss = cross_entropy(usual_model(inputs), labels)
        loss.backward()
        usual_optimizer.step()
        loss.item()

    seconds = per_image(usual, STEP)
    if not bf16_supported(CPU):
        return Comparison("simple_cnn training step", seconds, None, 1.8, "this CPU has no bf16 instructions")

    model = build("simple_cnn", num_classes=3, img_size=224).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    objective, compute = Objective("softmax", torch.ones(3), torch.ones(3)), Compute(CPU, "bf16")
    targets = one_hot(labels, 3).to(torch.int8)

    def ours() -> None:
        training_step(model, optimizer, objective, inputs, targets, gradient_clip=1.0, compute=compute)

    return Comparison("simple_cnn training step", seconds, per_image(ours, STEP), 1.8)


def per_image(function: Callable[[], object], images: int) -> float:
    return cpu_seconds(function, repeats=3) / images


if __name__ == "__main__":
    sys.exit(main())
