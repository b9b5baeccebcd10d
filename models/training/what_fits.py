"""Refuses, before anything is trained, images, labels and sizes that do not belong together."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from data_contracts.errors import DataGateError, UsageProblem
from models.architectures import build
from models.test_time import crop_side
from models.training.augmentation import augmented_side
from models.training.augmentation_settings import AugmentationSettings
from models.training.batches import LabelledRows
from models.training.settings import ArchitectureSettings


def check_rows(classes: list[str], images: NDArray[np.uint8], train: LabelledRows, val: LabelledRows) -> None:
    """Raise UsageProblem for rows or targets of other images or classes, DataGateError without validation images."""
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
        targets_fit = data.targets.shape[1] == len(classes) and np.isin(data.targets, (-1, 0, 1)).all()
        rows_fit = data.rows.size == 0 or 0 <= data.rows.min() <= data.rows.max() < len(images)
        if not (targets_fit and rows_fit):
            raise UsageProblem(
                f"The {name} rows or labels lie outside {len(images)} images and {len(classes)} classes.",
                why="They would be read from another image or counted as another class.",
                cure="Take rows and labels from the catalog that belongs to this image store.",
            )


def training_input_size(
    architecture: ArchitectureSettings, size: int, stored_side: int, augmentation: AugmentationSettings
) -> int:
    """Side of the network's input while it trains: `size`, or less by the share that `crop` cuts out.

    Raises UsageProblem where the network built for `size` pixels cannot read that.
    """
    side = round(size * augmented_side(stored_side, augmentation) / stored_side)
    if side != size and not _reads(architecture, size, side):
        raise UsageProblem(
            f"{architecture.name} cannot be trained on windows of {side} pixels cut out of {size}.",
            why="It is built for one size of image, and validation reads the images whole.",
            cure="Set `crop: 1`, or use resized_crop, which enlarges its window again.",
        )
    return side


def check_test_time_crop(architecture: ArchitectureSettings, size: int) -> None:
    """Raise UsageProblem where the network built for `size` pixels cannot read the crops of its test_time_crop."""
    if architecture.test_time_crop is None:
        return
    side = crop_side(size, architecture.test_time_crop)
    if not _reads(architecture, size, side):
        raise UsageProblem(
            f"{architecture.name} cannot read crops of {side} pixels cut out of {size}.",
            why="It would be trained for hours and then answer nothing.",
            cure="Leave out test_time_crop, or choose an architecture that pools its last map, such as resnet50, "
            "densenet121 or ae_cnn.",
        )


def _reads(architecture: ArchitectureSettings, size: int, side: int) -> bool:
    """Whether the network built for `size` pixels takes images of `side` pixels."""
    with torch.device("meta"), torch.inference_mode():
        model = build(architecture.name, num_classes=2, img_size=size, options=architecture.options).eval()
        try:
            model(torch.empty(1, 1, side, side))
        except (AssertionError, RuntimeError):
            return False
    return True
