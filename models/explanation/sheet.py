"""The Grad-CAM sheet: which test images are shown for a model, and their pictures."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_contracts.targets import truth_table
from models.evaluation.predictions import PROBABILITY, UNKNOWN
from models.explanation.cases import Cases
from models.explanation.grad_cam import Explainer
from models.explanation.picture import draw_cam
from models.explanation.results import CamItem, Outcome, OutcomeItem


def draw_examples(explainer: Explainer, examples: pd.DataFrame, class_names: Sequence[str]) -> list[CamItem]:
    """What raised the predicted class of images from `choose_examples` or `choose_findings`.

    examples: also with the store row of each image in the column `row`.
    """
    predicted = pd.Index(class_names).get_indexer(pd.Index(examples["predicted"]))
    drawn = _drawn(explainer, examples["row"].to_numpy(np.int64), predicted)
    return [
        CamItem(
            image_id=example.image_id,
            truth=example.label,
            predicted=example.predicted,
            probability=example.confidence,
            outcome=example.outcome,
            all_zero=all_zero,
            picture_png_base64=picture,
        )
        for example, (picture, all_zero) in zip(examples.itertuples(), drawn, strict=True)
    ]


def draw_outcomes(
    explainer: Explainer, cases: Cases, thresholds: Mapping[str, float], per_outcome: int
) -> list[OutcomeItem]:
    """For each class with an operating point: what raised its score in true and false positives and negatives.

    Images of which it is not known whether they show the class stand for none of the four.
    """
    chosen: list[tuple[int, Outcome, int, int]] = []  # class, outcome, how many came out so, position
    for k, name in enumerate(cases.class_names):
        if name not in thresholds:
            continue
        called = cases.probabilities[:, k] >= thresholds[name]
        shown, absent = cases.truth[:, k] == 1, cases.truth[:, k] == 0
        sides: dict[Outcome, NDArray[np.bool_]] = {
            "true positive": called & shown,
            "false positive": called & absent,
            "false negative": ~called & shown,
            "true negative": ~called & absent,
        }
        for outcome, members in sides.items():
            middle = _middle_ones(cases, members, k, per_outcome)
            chosen += [(k, outcome, int(members.sum()), position) for position in middle]
    classes, _, _, positions = zip(*chosen, strict=True) if chosen else ((), (), (), ())
    drawn = _drawn(explainer, cases.rows[np.array(positions, np.int64)], np.array(classes, np.int64))
    return [
        OutcomeItem(
            class_name=cases.class_names[k],
            outcome=outcome,
            of=of,
            image_id=cases.frame["image_id"].iloc[position],
            truth=cases.frame["label"].iloc[position],
            probability=float(cases.probabilities[position, k]),
            threshold=thresholds[cases.class_names[k]],
            all_zero=all_zero,
            picture_png_base64=picture,
        )
        for (k, outcome, of, position), (picture, all_zero) in zip(chosen, drawn, strict=True)
    ]


def _middle_ones(cases: Cases, members: NDArray[np.bool_], k: int, count: int) -> list[int]:
    """Positions of the `count` members around the median probability of class k, higher first; ties by image_id."""
    frame = cases.frame.assign(position=np.arange(len(members)), probability=cases.probabilities[:, k])[members]
    frame = frame.sort_values(["probability", "image_id"], ascending=[False, True], kind="stable")
    frame = frame.drop_duplicates("group_id")
    start = max(0, (len(frame) - count) // 2)
    return [int(position) for position in frame["position"].iloc[start : start + count]]


def _drawn(
    explainer: Explainer, rows: NDArray[np.int64], class_index: NDArray[np.int64]
) -> Iterator[tuple[str, bool]]:
    """(PNG in base64, whether the map is all zero) of each store row for its class."""
    for row, cam in zip(rows, explainer.maps(rows, class_index), strict=True):
        picture = draw_cam(np.asarray(explainer.images[row]), cam)
        yield base64.b64encode(picture).decode("ascii"), not cam.any()


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
    chosen = [_right_and_wrong(judged[judged["label"] == name], per_class) for name in class_names]
    return pd.concat(chosen, ignore_index=True)


def choose_findings(
    frame: pd.DataFrame, class_names: Sequence[str], thresholds: Mapping[str, float], per_class: int
) -> pd.DataFrame:
    """As `choose_examples` for a multi-label task: of each class, images that were called positive for it.

    Right where they show the class, wrong where they are known not to. thresholds: class name -> probability
    from which it is called; a class without one is never called. An image may stand under several classes.
    """
    truth = truth_table(frame["label"], frame[UNKNOWN], class_names, multi_label=True)
    chosen = []
    for k, name in enumerate(class_names):
        scores = frame[PROBABILITY + name]
        judged = frame.assign(
            predicted=name, confidence=scores, outcome=np.where(truth[:, k] == 1, "correct", "wrong")
        )
        called = (scores >= thresholds.get(name, np.inf)) & (truth[:, k] >= 0)
        chosen.append(_right_and_wrong(judged[called], per_class))
    return pd.concat(chosen, ignore_index=True)


def _right_and_wrong(judged: pd.DataFrame, per_class: int) -> pd.DataFrame:
    judged = judged.sort_values(["confidence", "image_id"], ascending=[False, True], kind="stable")
    judged = judged.drop_duplicates(["outcome", "group_id"])
    correct, wrong = (judged[judged["outcome"] == outcome] for outcome in ("correct", "wrong"))
    n_wrong = min(len(wrong), max(per_class // 2, per_class - len(correct)))
    return pd.concat([correct.head(per_class - n_wrong), wrong.head(n_wrong)])
