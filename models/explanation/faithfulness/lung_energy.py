"""Lung energy: how much of a map lies on the lungs, against the share of the picture that the lungs fill."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_contracts.ontology import TaskClass
from models.evaluation.results import Estimate
from models.explanation.cases import Cases
from models.explanation.faithfulness.estimates import (
    LEFT_OUT,
    estimate,
    in_words,
    listed,
    share_in_words,
    verdict_on,
    worst_of,
)
from models.explanation.grad_cam import Explainer
from models.explanation.results import ClassLungEnergy, LungEnergy
from models.explanation.settings import FaithfulnessSettings

# What a map of a finding must reach, as medians over images: more than a map without any preference, and most of it.
REQUIRED_LIFT = 1.3
REQUIRED_ENERGY = 0.5
_ASKED_FOR = (
    f"Asked for is {REQUIRED_ENERGY:.0%} of a map in the lungs and {REQUIRED_LIFT} times what a map without any "
    "preference has there."
)

# Store row -> (h, w) mask over the same field of view, or None where there is none.
LungMask = Callable[[int], NDArray[np.bool_] | None]


def energy_in(cam: NDArray[np.float32], mask: NDArray[np.bool_]) -> tuple[float, float]:
    """(share of the map's sum inside the mask, share of the picture inside it), both in [0, 1].

    cam (H, W) >= 0; mask (h, w) over the same field of view, resized by nearest neighbour. The first is nan for an
    all-zero map, because no attention must not read as perfect or as no attention to the lungs.
    """
    picture = Image.fromarray(mask.astype(np.uint8)).resize(cam.shape[::-1], Image.Resampling.NEAREST)
    inside = np.asarray(picture).astype(bool)
    total = float(cam.sum(dtype=np.float64))
    energy = float(cam[inside].sum(dtype=np.float64)) / total if total > 0 else float("nan")
    return energy, float(inside.mean())


def measure_lung_energy(
    explainer: Explainer,
    cases: Cases,
    findings: Sequence[TaskClass],
    lung_mask: LungMask,
    settings: FaithfulnessSettings,
) -> LungEnergy:
    """Maps of each finding on images that show it and have a mask, whatever the model said of them.

    findings: the classes that are findings; where a network saw that there is none says nothing.
    """
    classes = [_of_class(explainer, cases, one, lung_mask, settings) for one in findings]
    verdict = worst_of(one.verdict for one in classes)
    reason = _missing(settings) if verdict == "not evaluated" else ""
    said = f"not evaluated: {reason}." if reason else f"{listed(classes)}. {_ASKED_FOR}"
    return LungEnergy(verdict=verdict, reason=reason, statement=f"Lung energy {said}", classes=classes)


def _of_class(
    explainer: Explainer,
    cases: Cases,
    task_class: TaskClass,
    lung_mask: LungMask,
    settings: FaithfulnessSettings,
) -> ClassLungEnergy:
    k = cases.class_names.index(task_class.name)
    masks: list[NDArray[np.bool_]] = []
    rows: list[int] = []
    # Masks are looked for in the order of the draw, so that only as many files are read as are needed.
    for position in cases.sample(cases.truth[:, k] == 1, len(cases.frame), settings.seed):
        if len(masks) == settings.lung_images:
            break
        row = int(cases.rows[position])
        mask = lung_mask(row)
        if mask is not None:
            masks.append(mask)
            rows.append(row)
    maps = explainer.maps(np.array(rows, dtype=np.int64), np.full(len(rows), k))
    shares = np.array([energy_in(cam, mask) for cam, mask in zip(maps, masks, strict=True)]).reshape(-1, 2)
    defined = shares[np.isfinite(shares[:, 0]) & (shares[:, 1] > 0)]
    energy = estimate("median", defined[:, 0], settings, _missing(settings))
    lift = estimate("median", defined[:, 0] / defined[:, 1], settings, _missing(settings))
    return ClassLungEnergy(
        verdict=worst_of([verdict_on(energy, at_least=REQUIRED_ENERGY), verdict_on(lift, at_least=REQUIRED_LIFT)]),
        reason=energy.undefined,
        statement=_said(task_class.title, energy, lift),
        class_name=task_class.name,
        title=task_class.title,
        energy=energy,
        lift=lift,
        lung_area=float(shares[:, 1].mean()) if len(shares) else None,
        all_zero=int(np.isnan(shares[:, 0]).sum()),
    )


def _missing(settings: FaithfulnessSettings) -> str:
    return "no image with a lung mask and a map that is not all zero" if settings.lung_images else LEFT_OUT


def _said(title: str, energy: Estimate, lift: Estimate) -> str:
    if energy.value is None:
        return f"{title}: {energy.undefined}."
    return (
        f"{title}: the median share of a map in the lungs is {share_in_words(energy)}; that is "
        f"{in_words(lift)} times what a map without any preference has."
    )
