"""The soft parts of a healthy chest: how much tissue and how much air the beam meets at each pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from data_contracts.sources.phantom.anatomy import Anatomy, LungShape
from data_contracts.sources.phantom.canvas import Canvas, Field, smoothstep


@dataclass(frozen=True, slots=True)
class LungField:
    """One lung on the canvas.

    side: −1 left of the picture (patient's right), +1 right of it. inside: projected lung down to the dome of the
    diaphragm, including what lies behind the heart. lateral: 0 at the medial border … 1 at the chest wall.
    """

    shape: LungShape
    side: int
    inside: NDArray[np.bool_]
    lateral: Field


@dataclass(frozen=True, slots=True)
class Chest:
    """Soft parts as fields.

    tissue: attenuation of all but lungs, bones and vessels. air: depth of aerated lung before or behind the heart,
    0 … about 0.6. hidden: pixels where heart and mediastinum leave next to no lung to see.
    """

    tissue: Field
    air: Field
    hidden: NDArray[np.bool_]
    lungs: tuple[LungField, LungField]  # patient's right, patient's left


def lateral_wall(shape: LungShape, v: Field) -> Field:
    """a of the chest wall at height v; meets `medial_wall` at the apex."""
    t = np.clip((shape.base_v - v) / (shape.base_v - shape.apex_v), 0, 1)
    bow: Field = shape.apex_a + (shape.width - shape.apex_a) * np.sqrt(1 - t * t * np.sqrt(t))
    inward: Field = bow - np.float32(0.05) * smoothstep(v, shape.base_v - 0.5, shape.base_v)
    return inward


def medial_wall(shape: LungShape, v: Field) -> Field:
    """a of the border towards the spine at height v, as if the heart were not there."""
    t = np.clip((shape.base_v - v) / (shape.base_v - shape.apex_v), 0, 1)
    wall: Field = shape.apex_a - (shape.apex_a - np.float32(0.085)) * np.sqrt(1 - np.square(t * t))
    return wall


def diaphragm(shape: LungShape, a: Field) -> Field:
    """v of the dome at distance a from the spine."""
    lateral = np.square(np.clip((a - shape.dome_a) / (shape.width - shape.dome_a), 0, 1.2))
    medial = np.square(np.clip((shape.dome_a - a) / shape.dome_a, 0, 1))
    dome: Field = shape.dome_v + (shape.base_v - shape.dome_v) * lateral + np.float32(0.07) * medial
    return dome


def _lung(shape: LungShape, side: int, canvas: Canvas) -> tuple[LungField, Field]:
    """One lung's own coordinates, and the depth of its air without regard to the heart."""
    a, v = side * canvas.u, canvas.v
    wall, inner, dome = lateral_wall(shape, v), medial_wall(shape, v), diaphragm(shape, a)
    in_apex = v > shape.apex_v
    inside = (a > inner) & (a < wall) & (v < dome) & in_apex
    # Depth of the thorax: an ellipse across, rounded at the apex, with a posterior recess behind the dome.
    across = _fourth_root(np.clip(1 - (a / np.maximum(wall, 1e-3)) ** 2, 0, 1))
    height = np.sqrt(np.clip((v - shape.apex_v) / 0.75, 0, 1))
    depth = across * np.sqrt(across) * (0.36 + 0.64 * height) * smoothstep(a - inner, -0.015, 0.11)
    above = dome - v
    edge = 1 / (1 + np.exp(np.clip(-above / np.float32(0.0055), -30, 30)))
    recess = 0.16 * np.exp(np.clip(above, -1, 0) / np.float32(0.07)) * smoothstep(a, 0.15, 0.5)
    depth *= edge * (0.80 + 0.20 * smoothstep(above, 0.0, 0.35)) + (1 - edge) * recess
    air = (0.62 * depth * ((a < wall) & in_apex)).astype(np.float32)
    lateral = np.clip((a - inner) / np.maximum(wall - inner, 0.02), 0, 1)
    return LungField(shape, side, inside, lateral), air


def _fourth_root(field: Field) -> Field:
    """A flat-topped profile from a parabola; two square roots are many times faster than a power."""
    root: Field = np.sqrt(np.sqrt(field))
    return root


def _ball(canvas: Canvas, u: float, v: float, radius_u: float, radius_v: float) -> Field:
    """Depth of an ellipsoid relative to its centre, 0 outside."""
    x, y = (canvas.u - np.float32(u)) / radius_u, (canvas.v - np.float32(v)) / radius_v
    depth: Field = np.sqrt(np.clip(1 - x * x - y * y, 0, 1))
    return depth


def _silhouette(anatomy: Anatomy, v: Field) -> tuple[Field, Field]:
    """u of the right and the left border of heart and mediastinum at height v."""
    top, narrow = -1.1, anatomy.mediastinum
    heart_v, reach, width = anatomy.heart_v, anatomy.heart_reach, anatomy.heart_width
    knob_v = heart_v - 0.52
    right = (
        (top, narrow - 0.04),
        (knob_v - 0.12, narrow - 0.02),
        (heart_v - 0.30, narrow - 0.005),
        (heart_v - 0.16, 0.5 * narrow + 0.5 * width),
        (heart_v + 0.00, width),
        (heart_v + 0.14, width - 0.015),
        (heart_v + 0.30, 0.6 * width),
    )
    left = (
        (top, narrow - 0.05),
        (knob_v - 0.11, narrow - 0.04),
        (knob_v, narrow + 0.9 * anatomy.aorta - 0.05),
        (knob_v + 0.10, narrow - 0.03),
        (knob_v + 0.19, narrow + 0.035),
        (heart_v - 0.22, narrow + 0.28 * (reach - narrow)),
        (heart_v - 0.08, narrow + 0.66 * (reach - narrow)),
        (heart_v + 0.07, reach),
        (heart_v + 0.18, reach - 0.03),
        (heart_v + 0.34, 0.55 * reach),
    )
    borders = []
    for side, points in ((-1, right), (1, left)):
        heights = np.linspace(top, 1.2, 460)
        line = np.interp(heights, [p[0] for p in points], [p[1] for p in points])
        borders.append(side * np.interp(v, heights, ndimage.gaussian_filter1d(line, 7)))
    return borders[0].astype(np.float32), borders[1].astype(np.float32)


def _heart(anatomy: Anatomy, canvas: Canvas) -> Field:
    """Depth of heart, great vessels and mediastinum, 0 … about 0.6."""
    right, left = _silhouette(anatomy, canvas.v)
    across = (canvas.u - (left + right) / 2) / ((left - right) / 2)
    rounded = _fourth_root(np.clip(1 - across * across, 0, 1))
    depth = rounded * (0.44 + 0.14 * smoothstep(canvas.v, anatomy.heart_v - 0.35, anatomy.heart_v))
    return canvas.blur(depth.astype(np.float32), 0.009)


def _body(anatomy: Anatomy, canvas: Canvas) -> Field:
    """Thickness of the whole body relative to the thickest part of the chest."""
    u, v = canvas.u, canvas.v
    width = anatomy.torso_width + 0.06 * smoothstep(v, 0.1, 1.0) + 0.50 * smoothstep(v, -0.20, -0.55)
    torso = _fourth_root(np.clip(1 - (u / width) ** 2, 0, 1))
    # Shoulders slope from the neck to the arms; above them there is air.
    fall = np.clip((np.abs(u) - 0.24) / 0.72, 0, 1.6)
    top = anatomy.shoulder_v - 0.22 + 0.20 * fall + 0.13 * np.square(fall * fall)
    shoulders = 1 - np.exp(np.clip(-(v - top) / 0.19, -20, 0))
    neck = 0.78 * np.sqrt(np.clip(1 - (u / (0.27 + 0.08 * smoothstep(v, -1.05, -0.8))) ** 2, 0, 1))
    trunk = torso * np.maximum(shoulders, 0)
    arm_centre = anatomy.arm_u + 0.10 * (v + 0.4)
    arm = np.sqrt(np.clip(1 - ((np.abs(u) - arm_centre) / 0.20) ** 2, 0, 1)) * smoothstep(v, -0.75, -0.45)
    body: Field = np.maximum(np.maximum(trunk, neck * smoothstep(v, -0.5, -0.75)), 0.55 * arm)
    return body


def _airways(anatomy: Anatomy, canvas: Canvas) -> Field:
    """Depth of the windpipe and its two main bronchi, 0 … 1."""
    fork_v = anatomy.left.hilum_v - 0.10
    below = np.clip(canvas.v - fork_v, 0, 0.16)
    off_centre = np.abs(canvas.u - anatomy.trachea_u) - np.float32(0.85) * below
    half = np.float32(0.042) - np.float32(0.08) * below
    tube = np.sqrt(np.clip(1 - (off_centre / half) ** 2, 0, 1))
    airways: Field = tube * smoothstep(canvas.v, fork_v + 0.13, fork_v + 0.02)
    return airways


def draw_chest(anatomy: Anatomy, canvas: Canvas) -> Chest:
    """The healthy soft tissue of one patient in one pose."""
    v = canvas.v
    tissue = _body(anatomy, canvas) * np.float32(0.95 + 0.25 * anatomy.soft_tissue)
    tissue = tissue + np.float32(0.16) * smoothstep(v, 0.15, 0.95) * smoothstep(tissue, 0.2, 0.6)
    if anatomy.breast:
        for side in (-1, 1):
            radius = 0.24 + 0.6 * anatomy.breast
            fold = _ball(canvas, side * 0.47, 0.22 + 0.7 * anatomy.breast, radius, radius * 1.02)
            tissue = tissue + np.float32(anatomy.breast) * fold * smoothstep(v, -0.25, 0.42)
    if anatomy.bubble > 0.04:
        centre_v = anatomy.left.dome_v + 0.05 + anatomy.bubble
        flat = centre_v + 0.1 * anatomy.bubble  # fluid fills the rest of the stomach up to a level
        gas = _ball(canvas, 0.36, centre_v, 1.5 * anatomy.bubble, anatomy.bubble)
        tissue = tissue - np.float32(0.24) * gas * smoothstep(v, flat + 0.006, flat - 0.006)
    tissue = tissue - np.float32(0.09) * _airways(anatomy, canvas) * smoothstep(tissue, 0.2, 0.5)
    right, right_air = _lung(anatomy.right, -1, canvas)
    left, left_air = _lung(anatomy.left, 1, canvas)
    air, heart = canvas.blur(right_air + left_air, 0.004), _heart(anatomy, canvas)
    return Chest(
        tissue=canvas.blur(tissue, 0.006),
        air=np.maximum(air - heart, 0),
        hidden=(heart > 0.02) & (heart > 0.55 * air),
        lungs=(right, left),
    )
