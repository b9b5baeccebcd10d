"""From attenuation to grey levels: exposure, quantum noise, and things on the skin that are no disease."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from data_contracts.sources.phantom.canvas import Canvas, Field, smoothstep


@dataclass(frozen=True, slots=True)
class FilmCurve:
    """The S-curve of film from attenuation to grey: centre and width in attenuation, air (0) is black."""

    centre: float
    width: float

    def grey(self, attenuation: Field) -> Field:
        """Grey levels 0 … 255."""
        base = 1 / (1 + math.exp(self.centre / self.width))
        curve = 1 / (1 + np.exp((np.float32(self.centre) - attenuation) * np.float32(1 / self.width)))
        levels: Field = np.clip((curve - np.float32(base)) * np.float32(255 / (1 - base)), 0, 255)
        return levels


def choose_exposure(attenuation: Field, rng: np.random.Generator) -> FilmCurve:
    """The film curve that gives the picture a randomly drawn mean and contrast.

    attenuation: of the healthy chest, so that a disease neither sets the exposure nor darkens the rest of the
    picture.
    """
    mean = float(np.clip(rng.normal(132, 19), 88, 178))
    spread = float(np.clip(rng.normal(60, 7), 42, 76))
    sample = attenuation[2::5, 2::5]
    centre, width = 0.70, 0.20
    for _ in range(12):
        grey = FilmCurve(centre, width).grey(sample)
        slope = max(float((grey * (255 - grey)).mean()) / 255 / width, 60.0)
        centre += float(np.clip((grey.mean() - mean) / slope, -0.1, 0.1))
        width = float(np.clip(width * np.clip(grey.std() / spread, 0.8, 1.25), 0.08, 0.50))
    return FilmCurve(centre, width)


def expose(attenuation: Field, film: FilmCurve, canvas: Canvas, rng: np.random.Generator) -> Field:
    """Grey levels 0 … 255 with quantum noise, which grows where little radiation arrives."""
    dose = float(rng.uniform(0.004, 0.013))
    noise = rng.standard_normal(attenuation.shape, dtype=np.float32) * np.exp(np.float32(0.6) * attenuation)
    grain = canvas.blur(noise, 0.5 * canvas.pixel) * np.float32(1.3 * dose)
    return canvas.blur(film.grey(attenuation + grain), float(rng.uniform(0.002, 0.0045)))


def draw_distractors(canvas: Canvas, rng: np.random.Generator) -> tuple[Field, Field]:
    """(fill, attenuation) of what a reader must not mistake for disease; independent of the disease.

    fill: basal haze of poor inspiration and uneven aeration. attenuation: skin folds and electrode leads.
    """
    basal = float(rng.beta(1.2, 4.0)) * 0.30
    uneven = float(rng.beta(1.5, 3.5)) * 0.10
    grain = float(rng.uniform(0.008, 0.03))
    fill = (
        np.float32(basal) * smoothstep(canvas.v, -0.25, 0.55)
        + np.float32(uneven) * np.clip(canvas.mottle(rng, 0.35), 0, 3)
        + np.float32(grain) * canvas.mottle(rng, 0.028)
    )
    surface = np.float32(rng.uniform(0.008, 0.03)) * canvas.mottle(rng, 0.5)
    if rng.random() < 0.16:
        surface = surface + _skin_fold(canvas, rng)
    if rng.random() < 0.08:
        surface = surface + _leads(canvas, rng)
    return fill.astype(np.float32), surface.astype(np.float32)


def _skin_fold(canvas: Canvas, rng: np.random.Generator) -> Field:
    """A step in density along a nearly vertical curve: the classic mimic of a pleural line."""
    side = -1 if rng.random() < 0.5 else 1
    edge = side * canvas.u - np.float32(rng.uniform(0.32, 0.55)) + np.float32(rng.uniform(-0.2, 0.3)) * canvas.v**2
    fade = smoothstep(canvas.v, -0.55, -0.35) * smoothstep(canvas.v, 0.5, 0.2)
    return np.float32(0.055) * np.exp(-np.clip(-edge, 0, 5) / 0.07) * smoothstep(edge, 0.004, -0.004) * fade


def _leads(canvas: Canvas, rng: np.random.Generator) -> Field:
    """Electrode wires with their discs, lying on the skin."""
    along = np.linspace(0, 1, max(200, int(2.5 / canvas.pixel)))
    total = np.zeros((canvas.size, canvas.size), dtype=np.float32)
    for _ in range(int(rng.integers(1, 4))):
        start, end = rng.uniform(-0.6, 0.6, 2), np.array([rng.uniform(-1.1, 1.1), rng.choice([-1.1, 1.1])])
        bow = rng.normal(0, 0.18, 2)
        path = start + np.outer(along, end - start) + np.outer(np.sin(np.pi * along), bow)
        length = float(np.hypot(*(end - start))) * 1.1
        total += canvas.deposit([(path[:, 0], path[:, 1], np.full(along.size, 0.0022 * length / along.size))])
        disc = np.hypot(canvas.u - np.float32(start[0]), canvas.v - np.float32(start[1]))
        total += np.float32(0.16) * smoothstep(disc, 0.034, 0.026) * (1 - 0.5 * smoothstep(disc, 0.018, 0.010))
    return canvas.blur(total, 0.0035)
