"""Training a head over images against training it on the frozen trunk's features: CPU time per image, 20 epochs.

Both sides train the head of ResNet-50 with the same code and number format, augment, and validate after every epoch;
one validation image to four training images. Over images every epoch costs the same, so one is measured and counted 20
times. Random weights: they do not change the speed. Run with `python -m tests.bench.bench_frozen_features`.
"""

from __future__ import annotations

import sys

import numpy as np
import torch

from models.architectures import build
from models.preprocessing import Preprocessing
from models.training.augmentation_settings import AugmentationSettings
from models.training.batches import LabelledRows
from models.training.class_balance import ClassBalance
from models.training.device import choose_compute
from models.training.epoch import TrainingData, train_epoch
from models.training.feeding import Feed
from models.training.loss_watch import LossWatch
from models.training.objectives import Objective
from models.training.phases import Phase, begin_phase
from models.training.reading import Readings
from models.training.settings import TrainingSettings
from models.training.state import TrainingState
from models.training.validation import validate
from tests.bench.comparison import Comparison, judge
from tests.bench.timing import cpu_seconds

SIZE, CLASSES, EPOCHS = 224, 4, 20
TRAIN, VAL = 32, 8
HEAD = Phase("head", EPOCHS, "head")


def main() -> int:
    """Measure, print the table, and return the exit status."""
    torch.set_num_threads(1)
    over_images = EPOCHS * cpu_seconds(lambda: train_head(views=0, epochs=1))
    comparisons = [
        Comparison(
            f"frozen trunk, {EPOCHS} epochs, {views} view{'s' if views > 1 else ''}",
            over_images / TRAIN,
            cpu_seconds(lambda views=views: train_head(views=views, epochs=EPOCHS), repeats=1) / TRAIN,
            target,
        )
        for views, target in ((1, 15), (4, 5))
    ]
    return judge(comparisons)


def train_head(*, views: int, epochs: int) -> None:
    """Epochs of the head over images (views 0) or on features, which are computed on the way."""
    settings = TrainingSettings(epochs=EPOCHS, freeze_epochs=EPOCHS, feature_views=views)
    compute = choose_compute(settings.precision)
    state = TrainingState(MODEL, torch.optim.AdamW(MODEL.parameters(), lr=1e-4, fused=True))
    data = TrainingData(Feed(IMAGES, compute.device), TRAIN_ROWS, AugmentationSettings(), PREPROCESSING)
    readings = Readings.of(MODEL, MODEL, data, VAL_ROWS, PREPROCESSING, settings, compute, features=None, say=None)
    balance = ClassBalance("softmax", np.ones(CLASSES), np.zeros(CLASSES))
    for epoch in range(1, epochs + 1):
        begin_phase(MODEL, HEAD)
        reading = readings.during(HEAD, state)
        state.epoch = epoch
        train_epoch(
            state,
            reading.train,
            Objective.of(balance, compute.device),
            settings,
            compute,
            LossWatch(epoch, compute.device),
            network=reading.network,
        )
        validate(
            reading.judged,
            reading.val,
            VAL_ROWS,
            balance,
            preprocessing=reading.preprocessing,
            compute=compute,
            batch_size=settings.batch_size,
            epoch=epoch,
        )


def _rows(start: int, stop: int) -> LabelledRows:
    index = np.arange(start, stop)
    return LabelledRows.of_labels(index, index % CLASSES, CLASSES)


PREPROCESSING = Preprocessing(size=SIZE, mode="imagenet_gray")
IMAGES = np.random.default_rng(0).integers(0, 256, (TRAIN + VAL, SIZE, SIZE), dtype=np.uint8)
TRAIN_ROWS, VAL_ROWS = _rows(0, TRAIN), _rows(TRAIN, TRAIN + VAL)
MODEL = build("resnet50", num_classes=CLASSES, img_size=SIZE).to(memory_format=torch.channels_last)

if __name__ == "__main__":
    sys.exit(main())
