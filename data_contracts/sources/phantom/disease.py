"""What the phantom's diseases do to the lungs: fields over the canvas, and the mask of where they did it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from data_contracts.sources.phantom.canvas import Canvas, Field, smoothstep
from data_contracts.sources.phantom.chest import LungField, lateral_wall, medial_wall
from data_contracts.sources.phantom.vessels import Branches, Trees, draw_vessels

# Share of the lung's air that must be lost before a pixel counts as lesion.
_LESION_FILL = 0.07


class Disease(StrEnum):
    """What one phantom suffers from."""

    NORMAL = "normal"
    COVID19 = "covid19"
    BACTERIAL = "bacterial"
    VIRAL = "viral"
    PNEUMOTHORAX = "pneumothorax"
    OPACITY = "opacity"


@dataclass(frozen=True, slots=True)
class Collapse:
    """A lung shrunk towards the foot of its hilum: (a, v) moves to where the chest wall's outline now reaches."""

    side: int
    lateral: float  # share of the width that is lost at the apex
    vertical: float  # share of the height that is lost
    root_a: float
    root_v: float
    apex_v: float

    def unshrunk(self, a: Field, v: Field) -> tuple[Field, Field]:
        """Where a point of the collapsed picture lay before the collapse."""
        before_v = self.root_v + (v - self.root_v) / np.float32(1 - self.vertical)
        before_a = self.root_a + (a - self.root_a) / (1 - self._narrowing(before_v))
        return before_a.astype(np.float32), before_v.astype(np.float32)

    def shrink_one_side(self, trees: Trees) -> Trees:
        """The vessels with those of the collapsed lung drawn together."""
        right, left = trees
        shrunk = [self._shrink(branches) for branches in (right if self.side < 0 else left)]
        return (shrunk, left) if self.side < 0 else (right, shrunk)

    def _shrink(self, branches: Branches) -> Branches:
        a = self.side * branches.u
        narrower = self.root_a + (a - self.root_a) * (1 - self._narrowing(branches.v))
        lower = self.root_v + (branches.v - self.root_v) * (1 - self.vertical)
        return replace(branches, u=self.side * narrower, v=lower)

    def _narrowing(self, before_v: NDArray[np.floating]) -> NDArray[np.floating]:
        height = np.clip((self.root_v - before_v) / (self.root_v - self.apex_v), 0, 1)
        share: NDArray[np.floating] = self.lateral * (0.45 + 0.55 * height)
        return share


@dataclass(frozen=True, slots=True)
class Finding:
    """The effect of a disease. Fields are (size, size).

    fill: share 0 … 1 of the air replaced by fluid. emptied: share 0 … 1 of lung tissue gone, leaving bare air.
    line: attenuation of the visceral pleura. markings: factor on the vessels. lesion: bool mask.
    """

    fill: Field
    emptied: Field
    line: Field
    markings: float
    lesion: NDArray[np.bool_]
    collapse: Collapse | None = None


def draw_disease(
    disease: Disease,
    severity: float,
    lungs: tuple[LungField, LungField],
    trees: Trees,
    hidden: NDArray[np.bool_],
    canvas: Canvas,
    rng: np.random.Generator,
) -> Finding:
    """The finding of this disease at this severity (0 … 1, hardly visible … plain).

    hidden: bool, pixels where heart and mediastinum leave no lung to see.
    """
    one_side = int(rng.random() < 0.45)
    nothing = np.zeros((canvas.size, canvas.size), dtype=np.float32)
    match disease:
        case Disease.NORMAL:
            return Finding(nothing, nothing, nothing, 1.0, nothing > 0)
        case Disease.PNEUMOTHORAX:
            return _pneumothorax(severity, lungs[one_side], hidden, canvas, rng)
        case Disease.COVID19:
            fill, markings = _ground_glass(severity, lungs, canvas, rng), 1.0
        case Disease.BACTERIAL:
            fill, markings = _consolidation(severity, lungs[one_side], trees, canvas, rng), 1.0
        case Disease.VIRAL:
            fill, markings = _reticulation(severity, lungs, canvas, rng), 1.0 + 0.8 * severity
        case Disease.OPACITY:
            fill, markings = _haze(severity, lungs[one_side], canvas, rng), 1.0
    fill = np.clip(fill, 0, 0.97)
    in_lung = (lungs[0].inside | lungs[1].inside) & ~hidden
    # A net has gaps; its lesion is the lung it covers.
    cover = canvas.blur(fill * in_lung, 0.05 if disease is Disease.VIRAL else 0.015)
    lesion = (cover > min(_LESION_FILL, 0.5 * float(cover.max()))) & in_lung
    return Finding(fill, nothing, nothing, markings, lesion)


def _spot(canvas: Canvas, lung: LungField, lateral: float, down: float) -> tuple[Field, Field]:
    """Horizontal and vertical distance of every pixel from a place given in the lung's own coordinates."""
    shape = lung.shape
    v = np.array(shape.apex_v + down * (shape.dome_v - shape.apex_v), dtype=np.float32)
    inner, wall = float(medial_wall(shape, v)), float(lateral_wall(shape, v))
    return lung.side * canvas.u - np.float32(inner + lateral * (wall - inner)), canvas.v - v


def _ground_glass(severity: float, lungs: Sequence[LungField], canvas: Canvas, rng: np.random.Generator) -> Field:
    """COVID-19: hazy patches in both lungs, along the chest wall and towards the bases."""
    cover = np.zeros((canvas.size, canvas.size), dtype=np.float32)
    for lung in lungs:
        for _ in range(int(rng.integers(2, 4)) + round(4 * severity)):
            across, below = _spot(canvas, lung, rng.beta(4.5, 1.2), rng.beta(3.4, 1.7))
            wide, tall = rng.uniform(0.07, 0.15), rng.uniform(0.09, 0.20)
            cover += rng.uniform(0.45, 0.9) * np.exp(-((across / wide) ** 2) - (below / tall) ** 2)
    ragged = smoothstep(cover + 0.30 * canvas.mottle(rng, 0.12) + 0.12 * canvas.mottle(rng, 0.05), 0.30, 1.15)
    grain = 0.82 + 0.24 * canvas.mottle(rng, 0.035)
    ground_glass: Field = ragged * grain * np.float32(0.18 + 0.57 * severity)
    return ground_glass


def _consolidation(
    severity: float, lung: LungField, trees: Trees, canvas: Canvas, rng: np.random.Generator
) -> Field:
    """Bacterial pneumonia: one lobe, dense, ragged where no fissure bounds it, with air-filled bronchi."""
    lobe = int(rng.integers(3))  # upper, middle or lingula, lower
    lateral = (rng.uniform(0.35, 0.75), rng.uniform(0.20, 0.45), rng.uniform(0.35, 0.75))[lobe]
    down = (rng.uniform(0.24, 0.38), rng.uniform(0.70, 0.82), rng.uniform(0.74, 0.90))[lobe]
    across, below = _spot(canvas, lung, lateral, down)
    wide, tall = rng.uniform(0.12, 0.17) + 0.17 * severity, rng.uniform(0.10, 0.14) + 0.15 * severity
    core = 1.25 - np.hypot(across / np.float32(wide), below / np.float32(tall))
    ragged = smoothstep(core + 0.34 * canvas.mottle(rng, 0.10) + 0.14 * canvas.mottle(rng, 0.035), 0.0, 0.85)
    if lobe < 2:
        # The fissure is a straight edge below the upper lobe or above the middle one.
        tilt = np.float32(rng.uniform(-0.12, 0.18))
        fissure = below + tilt * across + np.float32((-0.55 if lobe == 0 else 0.75) * tall)
        ragged = ragged * smoothstep(fissure if lobe else -fissure, -0.012, 0.012)
    # The larger airways run beside the vessels and stay open: the air bronchogram.
    bronchi = smoothstep(draw_vessels(canvas, trees, generations=slice(1, 4)), 0.004, 0.020)
    consolidated: Field = ragged * (1 - 0.40 * bronchi) * np.float32(0.40 + 0.57 * severity)
    return consolidated


def _reticulation(severity: float, lungs: Sequence[LungField], canvas: Canvas, rng: np.random.Generator) -> Field:
    """Viral pneumonia: a net of thickened septa in both lungs, densest around the hila."""
    net = np.exp(-((canvas.mottle(rng, 0.055) / np.float32(0.30)) ** 2))
    coarse = np.exp(-((canvas.mottle(rng, 0.11) / np.float32(0.30)) ** 2))
    central = np.zeros((canvas.size, canvas.size), dtype=np.float32)
    for lung in lungs:
        across, below = _spot(canvas, lung, 0.15, 0.5)
        central += np.exp(-((across / np.float32(0.30)) ** 2) - (below / np.float32(0.42)) ** 2)
    uneven = 0.75 + 0.2 * canvas.mottle(rng, 0.3)
    strength = np.float32(0.08 + 0.42 * severity) * (0.35 + 0.65 * np.clip(central, 0, 1)) * uneven
    reticulation: Field = strength * (0.55 * net + 0.45 * coarse + 0.12)
    return reticulation


def _haze(severity: float, lung: LungField, canvas: Canvas, rng: np.random.Generator) -> Field:
    """An unspecific opacity: one soft cloud anywhere in one lung."""
    across, below = _spot(canvas, lung, rng.uniform(0.2, 0.85), rng.uniform(0.2, 0.92))
    wide, tall = rng.uniform(0.09, 0.20), rng.uniform(0.09, 0.20)
    cloud = np.exp(-((across / wide) ** 2) - (below / tall) ** 2) * (1 + 0.25 * canvas.mottle(rng, 0.10))
    haze: Field = cloud * np.float32(0.14 + 0.42 * severity)
    return haze


def _pneumothorax(
    severity: float, lung: LungField, hidden: NDArray[np.bool_], canvas: Canvas, rng: np.random.Generator
) -> Finding:
    """Air around one collapsing lung: beyond the thin pleural line there are no markings."""
    shape = lung.shape
    collapse = Collapse(
        side=lung.side,
        lateral=float(0.07 + rng.uniform(0.30, 0.52) * severity),
        vertical=float(0.05 + rng.uniform(0.16, 0.30) * severity),
        root_a=0.085,
        root_v=shape.dome_v + 0.10,
        apex_v=shape.apex_v,
    )
    a = lung.side * canvas.u
    before_a, before_v = collapse.unshrunk(a, canvas.v)
    outside = before_a - lateral_wall(shape, before_v)
    # The apex of the outline is a point of infinite slope: measure the distance along the gradient.
    slope_v, slope_u = np.gradient(outside, np.float32(canvas.pixel))
    distance = outside / np.maximum(np.hypot(slope_u, slope_v), 1)
    above_apex = before_v < shape.apex_v
    beyond = np.where(above_apex, 1.0, smoothstep(distance, -0.004, 0.004)).astype(np.float32)
    medial = smoothstep(a - medial_wall(shape, canvas.v), -0.01, 0.02)
    emptied = beyond * medial
    line = np.exp(-((distance / np.float32(0.0075)) ** 2)) * ~above_apex * lung.inside * medial
    fill = (1 - beyond) * np.float32(0.34 * collapse.lateral) * (a > 0)
    lesion = (emptied > 0.5) & lung.inside & ~hidden & (a > 0)
    return Finding(
        fill=fill.astype(np.float32),
        emptied=emptied * (a > 0),
        line=(line * np.float32(0.075)).astype(np.float32),
        markings=1.0,
        lesion=lesion,
        collapse=collapse,
    )


def add_effusion(
    finding: Finding, amount: float, lung: LungField, hidden: NDArray[np.bool_], canvas: Canvas
) -> Finding:
    """The finding with fluid in the costophrenic angle of one lung; amount 0 … 1 raises the level."""
    level = lung.shape.base_v - (0.10 + 0.32 * amount)
    # Free fluid climbs along the wall; next to pleural air its surface is flat.
    meniscus = 0.0 if finding.collapse is not None else 0.14
    surface = level - meniscus * lung.lateral**5
    fluid = smoothstep(canvas.v - surface, -0.012, 0.02) * (lung.side * canvas.u > 0.05)
    return replace(
        finding,
        fill=np.maximum(finding.fill, 0.95 * fluid).astype(np.float32),
        lesion=finding.lesion | ((fluid > 0.5) & lung.inside & ~hidden),
    )
