"""One phantom radiograph: anatomy, pose, disease and exposure put together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_contracts.sources.phantom.acquisition import choose_exposure, draw_distractors, expose
from data_contracts.sources.phantom.anatomy import Anatomy
from data_contracts.sources.phantom.bones import draw_bones
from data_contracts.sources.phantom.canvas import Canvas, Field, Pose, smoothstep
from data_contracts.sources.phantom.chest import draw_chest
from data_contracts.sources.phantom.disease import Disease, Finding, add_effusion, draw_disease
from data_contracts.sources.phantom.randomness import Stream, random_stream
from data_contracts.sources.phantom.shifts import AcquisitionShift, ShortcutKind, stamp
from data_contracts.sources.phantom.vessels import draw_vessels, grow_vessels

_BLOOD = 1.9  # contrast of vessels against aerated lung
_PLEURAL_AIR = 0.16  # how much darker bare air is than the lung that left it


@dataclass(frozen=True, slots=True)
class PhantomImage:
    """A drawn radiograph with its ground truth.

    pixels: (H, W) uint8, bright = dense. lung_mask: both lungs without heart and diaphragm. lesion_mask: where
    disease or effusion was drawn, empty without one. severity: 0 … 1, 0 for normal.
    """

    pixels: NDArray[np.uint8]
    lung_mask: NDArray[np.bool_]
    lesion_mask: NDArray[np.bool_]
    disease: Disease
    severity: float

    @property
    def lesion_box(self) -> tuple[int, int, int, int] | None:
        """(left, top, width, height) of the lesion in pixels, or None where there is none."""
        rows, columns = np.nonzero(self.lesion_mask)
        if rows.size == 0:
            return None
        left, top = int(columns.min()), int(rows.min())
        return left, top, int(columns.max()) - left + 1, int(rows.max()) - top + 1


def _drawn_severity(rng: np.random.Generator) -> float:
    """How plain a case is: mostly middling, with a tail of cases that hardly show."""
    return float(rng.beta(2.2, 1.2))


def draw_phantom(
    disease: Disease,
    *,
    seed: int,
    patient: int,
    index: int,
    size: int = 256,
    severity: float | None = None,
    effusion: float = 0.0,
    mark: tuple[ShortcutKind, int] = (ShortcutKind.NONE, 0),
    shift: AcquisitionShift | None = None,
) -> PhantomImage:
    """Draw image `index` of `patient`; equal arguments give equal bytes, whatever was drawn before.

    seed, patient and index ≥ 0. Images of one patient share the anatomy; pose, disease, exposure and noise belong
    to the image. severity 0 … 1 is drawn at random where None. effusion 0 … 1 adds pleural fluid, 0 for none.
    mark: kind and variant of a shortcut stamped on the picture. shift: how another scanner would show it; it moves
    the masks too.
    """
    anatomy = Anatomy.of_patient(seed, patient)
    canvas = Canvas(size, Pose.drawn(random_stream(seed, Stream.POSE, index)))
    chest = draw_chest(anatomy, canvas)
    trees = grow_vessels(anatomy, seed, patient)

    exposure_rng = random_stream(seed, Stream.EXPOSURE, index)
    hazy, surface = draw_distractors(canvas, exposure_rng)
    prominence = anatomy.vessel_gain * float(np.clip(exposure_rng.normal(1.0, 0.22), 0.5, 1.6))
    bones = draw_bones(anatomy, canvas) * smoothstep(chest.tissue, 0.1, 0.4)
    healthy = chest.tissue + bones + surface * smoothstep(chest.tissue, 0.05, 0.3) - chest.air * (1 - hazy)
    film = choose_exposure(healthy, exposure_rng)

    disease_rng = random_stream(seed, Stream.DISEASE, index)
    drawn = _drawn_severity(disease_rng)  # drawn in any case, so that a given severity changes nothing else
    severity = drawn if severity is None else severity
    finding = draw_disease(disease, severity, chest.lungs, trees, chest.hidden, canvas, disease_rng)
    if effusion > 0:
        side = finding.collapse.side if finding.collapse else (1 if disease_rng.random() < 0.5 else -1)
        finding = add_effusion(finding, effusion, chest.lungs[0 if side < 0 else 1], chest.hidden, canvas)
    if finding.collapse is not None:
        trees = finding.collapse.shrink_one_side(trees)
    markings = draw_vessels(canvas, trees) * np.float32(_BLOOD * prominence * finding.markings)

    attenuation = healthy + _effect(finding, markings, chest.air, hazy)
    grey = expose(attenuation, film, canvas, random_stream(seed, Stream.NOISE, index))
    pixels = stamp(np.clip(np.rint(grey), 0, 255).astype(np.uint8), *mark)
    lung_mask = (chest.lungs[0].inside | chest.lungs[1].inside) & ~chest.hidden
    shift = shift or AcquisitionShift()
    return PhantomImage(
        pixels=shift.apply(pixels, random_stream(seed, Stream.SHIFT, index)),
        lung_mask=shift.apply_to_mask(lung_mask),
        lesion_mask=shift.apply_to_mask(finding.lesion),
        disease=disease,
        severity=0.0 if disease is Disease.NORMAL else severity,
    )


def _effect(finding: Finding, markings: Field, air: Field, hazy: Field) -> Field:
    """Attenuation that markings and disease add to the healthy chest without markings."""
    aerated = air * (1 - hazy)
    visible = smoothstep(air, 0.0, 0.30) * (1 - finding.emptied) * (1 - finding.fill)
    pleural_air = np.float32(_PLEURAL_AIR) * finding.emptied * air
    pleura = finding.line * smoothstep(air, 0.02, 0.15)
    effect: Field = aerated * finding.fill + markings * visible - pleural_air + pleura
    return effect
