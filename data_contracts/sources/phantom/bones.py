"""The skeleton over the chest: ribs, spine, clavicles, shoulder blades and upper arms, as attenuation to add."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data_contracts.sources.phantom.anatomy import Anatomy
from data_contracts.sources.phantom.canvas import Canvas, Field, Stroke, smoothstep
from data_contracts.sources.phantom.chest import lateral_wall

Curve = NDArray[np.float64]


def _band(
    canvas: Canvas, u: Curve, v: Curve, depth: Curve, height: Curve | float, weight: Curve | float, cortex: float
) -> Stroke:
    """A band of bone along the 3-D curve (u, v, depth), `height` tall in v, with denser rims.

    Mass goes by 3-D arc length, so a band that runs along the beam, as ribs do at the lateral wall, gets brighter.
    """
    step = np.sqrt(np.gradient(u) ** 2 + np.gradient(v) ** 2 + np.gradient(depth) ** 2)
    tall = height * np.ones_like(u)
    count = max(5, int(np.ceil(float(tall.max()) / canvas.pixel * 1.15)))
    offset = (np.arange(count) + 0.5) / count * 2 - 1
    rim = 1 - cortex + 2.2 * cortex * np.exp(-(((np.abs(offset) - 0.86) / 0.16) ** 2))
    mass = np.multiply.outer(step * weight * tall, rim) / count
    return np.broadcast_to(u[:, None], mass.shape), v[:, None] + 0.5 * np.multiply.outer(tall, offset), mass


def _samples(canvas: Canvas, length: float) -> int:
    return max(100, int(length / canvas.pixel))


def _ribs(anatomy: Anatomy, canvas: Canvas) -> list[Stroke]:
    turn = np.linspace(0.0, 0.80 * np.pi, _samples(canvas, 2.0))  # 0 at the spine, π at the sternum
    front = (turn / np.pi) ** 1.3
    # In front bone turns into cartilage, which does not show; behind, the rib goes into the spine.
    fade = np.clip((turn[-1] - turn) / 0.35, 0, 1) * np.clip(0.3 + turn / 0.15, 0, 1)
    strokes = []
    for shape, side in ((anatomy.right, -1), (anatomy.left, 1)):
        for number in range(10):
            start = shape.apex_v + 0.015 + anatomy.rib_spacing * (number + 0.25 * min(number, 2) - 0.5)
            drop = anatomy.rib_drop * (0.50 + 0.50 * min(1.0, number / 4))
            v = start + drop * (1 - np.cos(turn)) / 2 - 0.035 * np.sin(2 * turn)
            middle = np.array(max(start + 0.5 * drop, shape.apex_v + 0.10 + 0.03 * number), dtype=np.float32)
            reach = (float(lateral_wall(shape, middle)) + 0.018) * (1 - 0.03 * max(0, number - 8))
            a = 0.07 + (reach - 0.07) * np.sin(turn) ** 0.85
            depth = 0.34 * np.cos(turn) * min(1.0, 0.45 + 0.1 * number)
            weight = fade * (0.095 - 0.058 * front) * (1 - 0.45 * np.sin(turn) ** 6)
            weight = weight * anatomy.rib_density * (0.6 if number > 8 else 1.0)
            strokes.append(_band(canvas, side * a, v, depth, 0.050 + 0.012 * front, weight, 0.42))
    return strokes


def _girdle(anatomy: Anatomy, canvas: Canvas) -> list[Stroke]:
    """Collar bones and shoulder blades; of the blades only the outer border and the ridge show."""
    along = np.linspace(0, 1, _samples(canvas, 1.0))
    joint_a, joint_v = anatomy.torso_width + 0.05, anatomy.shoulder_v + 0.16
    strokes = []
    for side in (-1, 1):
        rise = 1 - (1 - along) ** 1.7 + 0.05 * np.sin(3 * np.pi * along)
        taper = 0.135 * np.clip((1 - along) / 0.12, 0, 1)
        height = 0.054 + 0.026 * (2 * along - 1) ** 2
        clavicle_a, clavicle_v = 0.085 + 0.68 * along, anatomy.clavicle_v + anatomy.clavicle_tilt * rise
        strokes.append(_band(canvas, side * clavicle_a, clavicle_v, 0.2 * along, height, taper, 0.30))
        border = joint_a - 0.24 + 0.08 * along + 0.10 * np.sin(np.pi * along)
        strokes.append(_band(canvas, side * border, joint_v - 0.02 + 0.52 * along, 0.1 * along, 0.03, 0.045, 0.0))
        ridge = joint_a - 0.42 + 0.40 * along
        strokes.append(_band(canvas, side * ridge, joint_v + 0.06 - 0.17 * along, 0.1 * along, 0.03, 0.075, 0.4))
    return strokes


def _upper_arms(anatomy: Anatomy, canvas: Canvas) -> Field:
    a, v = np.abs(canvas.u), canvas.v
    joint_a, joint_v = anatomy.torso_width + 0.05, anatomy.shoulder_v + 0.16
    head = np.clip(1 - ((a - joint_a - 0.07) / 0.105) ** 2 - ((v - joint_v - 0.02) / 0.115) ** 2, 0, 1)
    off_axis = a - (joint_a + 0.10 + 0.16 * (v - joint_v))
    shaft = np.clip(1 - (off_axis / 0.055) ** 2, 0, 1) * smoothstep(v, joint_v - 0.02, joint_v + 0.08)
    hollow = np.clip(1 - (off_axis / 0.030) ** 2, 0, 1) * smoothstep(v, joint_v + 0.1, joint_v + 0.2)
    arms: Field = 0.16 * np.sqrt(np.maximum(head, shaft)) - 0.05 * np.sqrt(hollow)
    return arms


def _spine(anatomy: Anatomy, canvas: Canvas) -> Field:
    """Vertebral bodies with disc spaces, pedicles and spinous processes, in step with the ribs."""
    u, v = canvas.u, canvas.v
    phase = (v - anatomy.right.apex_v) / np.float32(anatomy.rib_spacing)
    within = phase - np.floor(phase)  # 0 … 1 from one disc to the next
    half = 0.066 + 0.020 * smoothstep(v, -0.6, 1.0)
    body = smoothstep(np.abs(u) - half, 0.010, -0.012)
    rim = np.exp(-(((np.abs(u) - half + 0.008) / np.float32(0.010)) ** 2))
    disc = np.exp(-((np.minimum(within, 1 - within) / np.float32(0.10)) ** 2))
    bone = 0.085 * body * (1 - 0.5 * disc) + 0.03 * rim * (1 - disc)
    pedicle_v, process_v = (within - 0.38) / 0.17, (within - 0.72) / 0.20
    ring = np.sqrt(((np.abs(u) - 0.044) / 0.018) ** 2 + pedicle_v**2)
    bone = bone + 0.035 * np.exp(-(((ring - 0.8) / np.float32(0.35)) ** 2))
    bone = bone + 0.055 * np.exp(-((u / np.float32(0.015)) ** 2) - process_v**2)
    spine: Field = bone
    return spine


def draw_bones(anatomy: Anatomy, canvas: Canvas) -> Field:
    """Attenuation of the whole skeleton."""
    bands = canvas.deposit(_ribs(anatomy, canvas) + _girdle(anatomy, canvas))
    return canvas.blur(bands + _upper_arms(anatomy, canvas) + _spine(anatomy, canvas), 0.006)
