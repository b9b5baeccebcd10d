"""The pointing game: whether the maximum of a map lies in the box a reader drew (Zhang et al. 2016), against chance."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from data_contracts.ontology import Task, TaskClass, implied
from models.evaluation.intervals import proportion
from models.explanation.cases import Cases
from models.explanation.faithfulness.estimates import LEFT_OUT, listed, share_in_words, worst_of
from models.explanation.grad_cam import Explainer
from models.explanation.picture import peak
from models.explanation.results import ClassPointing, PointingGame, Verdict
from models.explanation.settings import FaithfulnessSettings

LEVEL = 0.05  # one-sided
_RASTER = 512  # cells a side on which overlapping boxes are counted once

Box = tuple[float, float, float, float]  # left, top, width, height as shares of the sides


def points_at(cam: NDArray[np.float32], boxes: Sequence[Box]) -> bool:
    """Whether the map (H, W) has its maximum in one of the boxes; an all-zero map points nowhere.

    Without the tolerance of 15 pixels that some authors allow: chance would be more than the boxes' area then.
    """
    if not cam.any():
        return False
    row, column = peak(cam)
    y, x = (row + 0.5) / cam.shape[0], (column + 0.5) / cam.shape[1]
    return any(left <= x <= left + w and top <= y <= top + h for left, top, w, h in boxes)


def share_of_picture(boxes: Sequence[Box]) -> float:
    """What the boxes fill together, in [0, 1]; what a random point hits."""
    centres = (np.arange(_RASTER) + 0.5) / _RASTER
    filled = np.zeros((_RASTER, _RASTER), dtype=np.bool_)
    for left, top, w, h in boxes:
        rows, columns = ((centres >= start) & (centres <= start + side) for start, side in ((top, h), (left, w)))
        filled |= rows[:, None] & columns[None]
    return float(filled.mean())


def needed_hits(n: int, chance: float) -> int:
    """The fewest hits of n that chance reaches with a probability below LEVEL."""
    return int(binom.isf(LEVEL, n, chance)) + 1


def boxes_of(cell: str, task_class: TaskClass) -> list[Box]:
    """The boxes in a catalog cell whose finding belongs to the class."""
    nodes = {*task_class.nodes, *task_class.unspecified}
    boxes = json.loads(cell) if cell else []
    return [(box["x"], box["y"], box["w"], box["h"]) for box in boxes if nodes & implied([box["node"]])]


def play_pointing_game(
    explainer: Explainer, cases: Cases, task: Task, settings: FaithfulnessSettings
) -> PointingGame:
    """Each class on the images that show it and have a box for it, one of each identity group."""
    classes = [_of_class(explainer, cases, one, k, settings) for k, one in enumerate(task.classes)]
    verdict = worst_of(one.verdict for one in classes)
    reason = _missing(settings) if verdict == "not evaluated" else ""
    said = f"not evaluated: {reason}." if reason else f"{listed(classes)}. Passed is what beats a random point."
    return PointingGame(verdict=verdict, reason=reason, statement=f"Pointing game {said}", classes=classes)


def _of_class(
    explainer: Explainer, cases: Cases, task_class: TaskClass, k: int, settings: FaithfulnessSettings
) -> ClassPointing:
    boxes = [boxes_of(cell, task_class) for cell in cases.frame["boxes"]]
    usable = (cases.truth[:, k] == 1) & np.array([bool(found) for found in boxes], dtype=np.bool_)
    chosen = cases.sample(usable, settings.boxed_images, settings.seed)
    maps = explainer.maps(cases.rows[chosen], np.full(len(chosen), k))
    hits = sum(points_at(cam, boxes[position]) for cam, position in zip(maps, chosen, strict=True))
    n = len(chosen)
    if not n:
        reason = _missing(settings)
        return ClassPointing(
            verdict="not evaluated",
            reason=reason,
            statement=f"{task_class.title}: {reason}.",
            class_name=task_class.name,
            title=task_class.title,
            hits=0,
            hit_rate=proportion(0, 0, undefined=reason),
        )
    chance = float(np.mean([share_of_picture(boxes[position]) for position in chosen]))
    needed = needed_hits(n, chance)
    rate = proportion(hits, n, undefined="")
    return ClassPointing(
        verdict=_verdict(hits, n, needed),
        reason="so few images that even hitting all of them could be chance" if needed > n else "",
        statement=(
            f"{task_class.title}: the strongest point lies in a reader's box on {share_in_words(rate)}; a "
            f"random point does on {chance:.1%}, and better than chance begins at {needed} of {n}."
        ),
        class_name=task_class.name,
        title=task_class.title,
        hits=hits,
        hit_rate=rate,
        chance=chance,
        needed=needed,
        p_value=float(binom.sf(hits - 1, n, chance)),
    )


def _verdict(hits: int, n: int, needed: int) -> Verdict:
    """passed: more hits than chance. failed: no better than chance."""
    if hits >= needed:
        return "passed"
    return "inconclusive" if needed > n else "failed"


def _missing(settings: FaithfulnessSettings) -> str:
    return "no image with a box of a reader" if settings.boxed_images else LEFT_OUT
