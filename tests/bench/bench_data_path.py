"""The data path against the usual way: CPU time per image, both sides in the same run.

The usual way is torchvision's ImageFolder: decode each 1024 x 1024 PNG every epoch, convert it to RGB, change it
with Pillow. Ours reads a uint8 memory map of 224 x 224 images. Run with `python -m tests.bench.bench_data_path`;
it exits with 1 where a target is missed.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from models.preprocessing import Preprocessing
from models.training.augmentation import augment
from models.training.augmentation_settings import AugmentationSettings
from models.training.batches import LabelledRows, consecutive_batches, epoch_batches, read_images
from tests.bench.comparison import Comparison, judge
from tests.bench.pictures import write_pictures
from tests.bench.timing import cpu_seconds

CPU = torch.device("cpu")
BATCH = 32
FILES = 24  # decoded per measurement of the usual way
ROWS = 512  # read per measurement of ours
# What the usual way changes with Pillow, after resizing.
CHANGE = (
    transforms.RandomRotation(10),
    transforms.RandomHorizontalFlip(),
    transforms.RandomResizedCrop(224, scale=(0.9, 1.0), ratio=(0.95, 1.05)),
    transforms.ColorJitter(brightness=0.2, contrast=0.2),
)


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
        ]
    return judge(comparisons)


def write_store(path: Path) -> np.ndarray:
    """A read-only memory map of uint8 images, as the image store keeps them."""
    np.save(path, np.random.default_rng(0).integers(0, 256, (ROWS, 224, 224), dtype=np.uint8))
    return np.load(path, mmap_mode="r")


def train_path(pictures: Path, images: np.ndarray) -> Comparison:
    data = LabelledRows.of_labels(np.arange(ROWS), np.arange(ROWS) % 2, classes=2)
    settings = AugmentationSettings()
    preprocessing = Preprocessing(size=224, mode="imagenet_gray")

    def ours() -> None:
        for batch in epoch_batches(data, BATCH, seed=0, epoch=1):
            pixels = read_images(images, batch.rows, CPU)
            preprocessing.apply(augment(pixels, batch.rows, settings, seed=0, epoch=1))

    usual = usual_path(folder_loader(pictures, BATCH))
    return Comparison("read and augment for training", usual, per_image(ours, ROWS), 10)


def evaluation_path(pictures: Path, images: np.ndarray) -> Comparison:
    preprocessing = Preprocessing(size=224, mode="imagenet_gray")

    def ours() -> None:
        for rows in consecutive_batches(np.arange(ROWS), BATCH):
            preprocessing.apply(read_images(images, rows, CPU))

    usual = usual_path(folder_loader(pictures, BATCH, change=()))
    return Comparison("read for evaluation", usual, per_image(ours, ROWS), 150)


def folder_loader(pictures: Path, batch: int, change: Sequence[object] = CHANGE) -> DataLoader:
    """torchvision's folder data set: pictures resized with Pillow and changed by these transforms."""
    normalise = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    resized = transforms.Resize((224, 224))
    dataset = ImageFolder(pictures, transforms.Compose([resized, *change, transforms.ToTensor(), normalise]))
    return DataLoader(dataset, batch_size=batch, shuffle=True)


def usual_path(loader: DataLoader) -> float:
    """CPU seconds per image of reading all of it once."""
    return per_image(lambda: [batch for batch, _ in loader], FILES)


def per_image(function: Callable[[], object], images: int) -> float:
    return cpu_seconds(function, repeats=3) / images


if __name__ == "__main__":
    sys.exit(main())
