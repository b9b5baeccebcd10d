"""A training of seconds for the fault tests; run as a program, it is killed at several points, once at each.

`python -m tests.faults.small_training FOLDER` leaves FOLDER/POINT as a killed training of that point left it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.preprocessing import Preprocessing
from models.training import checkpoint, epoch
from models.training.augmentation_settings import AugmentationSettings
from models.training.batches import LabelledRows
from models.training.loop import TrainedClassifier, train_classifier
from models.training.settings import ArchitectureSettings, TrainingSettings

SIZE, IMAGES = 32, 48
CLASSES = ["low", "high"]
# Everything that has a state: dropout, momentum, the mean of the weights, a best epoch, a sampling that repeats.
SETTINGS: dict[str, Any] = {
    "epochs": 3,
    "batch_size": 8,
    "learning_rate": 1e-3,
    "ema_decay": 0.9,
    "sampling": "class_balanced",
    "precision": "fp32",
}
KILLED_AT = ("batch", "checkpoint", "epoch")


def pictures() -> np.ndarray:
    """Noise, brighter at the top or at the bottom."""
    images = np.random.default_rng(0).integers(0, 90, (IMAGES, SIZE, SIZE)).astype(np.uint8)
    for row in range(IMAGES):
        images[row, slice(0, 12) if row % 2 else slice(20, SIZE)] += 40
    return images


def rows(start: int, stop: int) -> LabelledRows:
    index = np.arange(start, stop)
    data = LabelledRows.of_labels(index, index % 2, 2)
    return LabelledRows(data.rows, data.targets, image_ids=np.array([f"{row:064x}" for row in index]))


def fit(checkpoints: Path | None = None, name: str = "simple_cnn", **changes: Any) -> TrainedClassifier:
    """Train; `changes` replace arguments of train_classifier, or settings where they are named as these are."""
    settings = {
        **SETTINGS,
        **{key: changes.pop(key) for key in [*changes] if key in TrainingSettings.model_fields},
    }
    arguments: dict[str, Any] = {
        "architecture": ArchitectureSettings(name=name),
        "classes": CLASSES,
        "images": pictures(),
        "train": rows(0, 32),
        "val": rows(32, 48),
        "settings": TrainingSettings(**settings),
        "augmentation": AugmentationSettings(gaussian_noise=0.03),
        "preprocessing": Preprocessing(size=SIZE, mode="half"),
        "checkpoints": checkpoints,
    }
    return train_classifier(**{**arguments, **changes})


def always_due() -> None:
    """Write a checkpoint after each epoch and after each batch, however long it takes."""
    checkpoint.LARGEST_SHARE = 1
    checkpoint.SECONDS_BETWEEN = 0


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed_at(call: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, but the process dies when it is called for the `call`-th time."""
    calls = 0

    def counted(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        return die() if calls == call else function(*arguments, **named)

    return counted


def killed_training(folder: Path, point: str) -> None:
    always_due()
    if point == "batch":  # in the second epoch of four batches each
        epoch.training_step = killed_at(7, epoch.training_step)
        fit(folder)
    elif point == "checkpoint":  # three files each, and the folder's name last
        os.fsync = killed_at(40, os.fsync)
        fit(folder)
    else:  # just after the second epoch
        fit(folder, on_epoch=lambda record: die() if record.epoch == 2 else None)


if __name__ == "__main__":
    torch.set_num_threads(1)
    fit(epochs=1)  # imports what is imported late, once for all children
    for point in KILLED_AT:
        child = os.fork()
        if child == 0:
            killed_training(Path(sys.argv[1]) / point, point)
            os._exit(1)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL, point
