"""The shifts the monitor is tested with, each applied to a stored picture."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_contracts.sources.phantom.shifts import AcquisitionShift

Pixels = NDArray[np.uint8]
Shift = Callable[[Pixels, np.random.Generator], Pixels]

AS_IT_IS = "as it is"


def _jpeg(quality: int) -> Shift:
    def apply(pixels: Pixels, _: np.random.Generator) -> Pixels:
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
        return np.array(Image.open(stream))

    return apply


def _brighter(percent: float) -> Shift:
    return AcquisitionShift(offset=255 * percent / 100).apply


# What every image is turned into once; windows are then samples of rows.
SHIFTS: Mapping[str, Shift] = {
    AS_IT_IS: AcquisitionShift().apply,
    **{f"brightness {percent:+d} %": _brighter(percent) for percent in (-1, 1, -5, 5, -10, 10, -20, 20)},
    "gamma 0.8": AcquisitionShift(gamma=0.8).apply,
    "gamma 1.25": AcquisitionShift(gamma=1.25).apply,
    "contrast -20 %": AcquisitionShift(gain=0.8).apply,
    "blur, sigma 0.6 % of the side": AcquisitionShift(blur=0.6).apply,
    "JPEG, quality 30": _jpeg(30),
    "noise, sigma 5 %": AcquisitionShift(noise=12.75).apply,
    "inverted": AcquisitionShift(inverted=True).apply,
    "turned by 90 degrees": AcquisitionShift(quarter_turns=1).apply,
    "10 % cut from each edge": AcquisitionShift(crop=0.1).apply,
}

HARMLESS = ("brightness -1 %", "brightness +1 %")

# (shift, share of the window's images that it hits)
TRIED: tuple[tuple[str, float], ...] = tuple(
    (name, share)
    for name in SHIFTS
    if name != AS_IT_IS
    for share in {"inverted": (0.01, 0.05, 0.20, 1.0), "turned by 90 degrees": (0.05,)}.get(name, (1.0,))
)
