"""One day's images: held-back ones, hardly changed so that each day has its own, and what a scanner did to them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from data_contracts.sources.phantom import AcquisitionShift
from tests.month.hospital import Hospital

# So many blocks of an image are made a few grey levels lighter or darker, so that no two days send the same pixels. As
# large and as plain as JPEG's blocks, for single pixels would not survive being compressed.
_BLOCKS, _SIDE, _LEVELS = 3, 8, (3, 6)
NOTHING = AcquisitionShift()


@dataclass(frozen=True)
class Day:
    """What happened on a day. phase: in words. inverted: share of the images that come black for white."""

    day: date
    phase: str
    shift: AcquisitionShift = field(default=NOTHING)
    inverted: float = 0.0


def images_of(hospital: Hospital, day: Day, n: int) -> tuple[list[bytes], pd.DataFrame, datetime]:
    """The files of a day as content, what is known of them, and when they are scored."""
    rng = np.random.default_rng([day.day.toordinal(), 20])
    later = hospital.later
    # Whole rounds first, so that a day is as mixed as the held-back images are.
    chosen = np.concatenate(list(_rounds(len(later), n, rng)))
    inverted = rng.random(n) < day.inverted
    files = [
        _file(hospital.data / later["file"].iloc[row], day.shift, bool(upside), rng)
        for row, upside in zip(chosen, inverted, strict=True)
    ]
    facts = later.iloc[chosen][["source", "view", "sex"]].reset_index(drop=True)
    facts["age"] = ["" if np.isnan(age) else f"{age:.0f}" for age in later["age"].iloc[chosen]]
    facts["taken_on"] = day.day.isoformat()
    return files, facts, datetime.combine(day.day, time(18, 0), UTC)


def _rounds(images: int, n: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    while n > 0:
        yield rng.permutation(images)[:n]
        n -= images


def _file(path: Path, shift: AcquisitionShift, inverted: bool, rng: np.random.Generator) -> bytes:
    """The picture in the format it had, JPEG with the tables it had, so that nothing else is new about it."""
    with Image.open(path) as picture:
        kind, tables, mode = picture.format, getattr(picture, "quantization", None), picture.mode
        pixels = np.array(picture.convert("L"))
    pixels = _shifted(_touched(pixels, rng), shift, rng)
    changed = Image.fromarray(255 - pixels if inverted else pixels).convert(mode)
    content = io.BytesIO()
    if kind == "JPEG" and tables:
        changed.save(content, "JPEG", qtables=tables, subsampling=0)
    else:
        changed.save(content, kind or "PNG")
    return content.getvalue()


def _touched(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    levels = pixels.astype(np.int16)
    for _ in range(_BLOCKS):
        y, x = (rng.integers(0, side // _SIDE) * _SIDE for side in pixels.shape)
        block = levels[y : y + _SIDE, x : x + _SIDE]
        block += rng.integers(*_LEVELS, endpoint=True) * (1 if block.mean() < 128 else -1)
    return np.clip(levels, 0, 255).astype(np.uint8)


def _shifted(pixels: NDArray[np.uint8], shift: AcquisitionShift, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Shifts are of squares: another picture is stretched to one of its longer side and back."""
    if shift == NOTHING:
        return pixels
    height, width = pixels.shape
    side = max(height, width)
    square = np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR))
    return np.asarray(Image.fromarray(shift.apply(square, rng)).resize((width, height), Image.Resampling.BILINEAR))
