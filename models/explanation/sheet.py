"""The Grad-CAM sheet: which test images are shown for a model, and their pictures."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.evaluation.predictions import PROBABILITY
from models.explanation.grad_cam import grad_cam
from models.explanation.picture import draw_cam
from models.explanation.results import CamItem, CamSheet
from models.explanation.settings import ExplanationSettings

if TYPE_CHECKING:
    from torch import nn

    from models.preprocessing import Preprocessing


def build_cam_sheet(
    model: nn.Module,
    *,
    architecture: str,
    cam_layer: str,
    images: NDArray[np.uint8],
    frame: pd.DataFrame,
    class_names: Sequence[str],
    preprocessing: Preprocessing,
    settings: ExplanationSettings,
) -> CamSheet:
    """Explain the predicted class of a few images of each true class.

    images: (N, H, W) grey levels of the store. frame: predictions of the split to show, with the store row of
    each image in the column `row`. cam_layer: dotted path of a convolutional layer of the model.
    """
    examples = choose_examples(frame, class_names, settings.examples_per_class)
    if examples.empty:
        return CamSheet(architecture=architecture, layer=cam_layer, items=[])
    chosen = images[examples["row"].to_numpy(np.int64)]
    predicted = pd.Index(class_names).get_indexer(pd.Index(examples["predicted"]))
    maps = grad_cam(model, cam_layer, preprocessing.apply(chosen), predicted)
    items = [
        CamItem(
            image_id=example.image_id,
            truth=example.label,
            predicted=example.predicted,
            probability=example.confidence,
            outcome=example.outcome,
            all_zero=not cam.any(),
            picture_png_base64=base64.b64encode(draw_cam(image, cam)).decode("ascii"),
        )
        for example, image, cam in zip(examples.itertuples(), chosen, maps, strict=True)
    ]
    return CamSheet(architecture=architecture, layer=cam_layer, items=items)


def choose_examples(frame: pd.DataFrame, class_names: Sequence[str], per_class: int) -> pd.DataFrame:
    """The most confident correct and the most confident wrong images of each true class, in that order.

    Returns rows of `frame` with `predicted`, `confidence` (probability of the predicted class) and `outcome`
    added. Half of `per_class` are correct, rounded up; where one kind runs short the other fills in. One
    image per identity group and outcome, so that no patient fills a row; ties go by image_id.
    """
    probabilities = frame[[PROBABILITY + name for name in class_names]].to_numpy(np.float64)
    judged = frame.assign(
        predicted=np.asarray(class_names)[probabilities.argmax(axis=1)],
        confidence=probabilities.max(axis=1),
    )
    judged["outcome"] = np.where(judged["predicted"] == judged["label"], "correct", "wrong")
    judged = judged.sort_values(["confidence", "image_id"], ascending=[False, True], kind="stable")
    judged = judged.drop_duplicates(["label", "outcome", "group_id"])
    chosen = []
    for name in class_names:
        of_class = judged[judged["label"] == name]
        correct = of_class[of_class["outcome"] == "correct"]
        wrong = of_class[of_class["outcome"] == "wrong"]
        n_wrong = min(len(wrong), max(per_class // 2, per_class - len(correct)))
        chosen += [correct.head(per_class - n_wrong), wrong.head(n_wrong)]
    return pd.concat(chosen, ignore_index=True)
