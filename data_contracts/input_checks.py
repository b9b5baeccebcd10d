"""Doubts about a decoded picture that are flagged and never repaired: is it inverted, is it a frontal chest film.

Both rules compare the picture with what frontal chest films have in common: dark lungs beside a bright middle over a
bright abdomen. They were measured on 2,388 films of the six published datasets, each dataset against a pattern made
from the other five (which share some films with it): 1 film (0.04 %) is wrongly suspected to be inverted and 2,382
(99.7 %) of the same films are found when inverted; 5 (0.2 %) are wrongly called unlike a frontal chest film. Of other
pictures one rule or the other flags 94 % of noise, 97 % of films that lie on their side, 48 % of films upside down
and 80 % of crops of photographs, so a picture without a flag may still be none. Lateral films are recognised by their
DICOM header only: there were no lateral films to measure a rule on.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

InputFlag = Literal["inversion_suspected", "unlike_frontal_chest"]
INPUT_FLAGS: tuple[InputFlag, ...] = get_args(InputFlag)

# Mean over the 2,388 films of the ranks of an 8 × 8 reduction, standardised, in tenths, made symmetric: the left half.
_LEFT_HALF = (
    (-16, -12, -7, 5),
    (-9, -2, -4, 3),
    (-7, 0, -9, 3),
    (-8, -2, -8, 8),
    (-10, -3, -3, 13),
    (-11, -3, 3, 15),
    (-12, 3, 12, 19),
    (-11, 11, 18, 21),
)
_CHEST = np.array([(*half, *reversed(half)) for half in _LEFT_HALF], dtype=np.float64).ravel()
_CHEST = (_CHEST - _CHEST.mean()) / np.linalg.norm(_CHEST - _CHEST.mean())
_LEAST_LIKENESS = 0.2


def input_flags(pixels: NDArray[np.uint8]) -> list[InputFlag]:
    """What is doubtful about a picture; none of it keeps the picture from being used.

    pixels: (H, W) grey levels of a picture with some contrast, at least 8 × 8, whole and upright; any aspect ratio.
    """
    likeness = chest_likeness(pixels)
    if likeness < -_LEAST_LIKENESS:
        return ["inversion_suspected"]
    return ["unlike_frontal_chest"] if likeness < _LEAST_LIKENESS else []


def chest_likeness(pixels: NDArray[np.uint8]) -> float:
    """Rank correlation with the pattern of frontal chest films, in [-1, 1]; 0 for a picture of one grey level.

    About -1 times itself for the inverted picture. Ranks, so that exposure and windowing hardly matter.
    """
    cells = np.asarray(Image.fromarray(pixels).resize((8, 8), Image.Resampling.BOX))
    ranks = np.unique(cells, return_inverse=True)[1].ravel()
    deviations = ranks - ranks.mean()
    length = float(np.linalg.norm(deviations))
    return float(deviations @ _CHEST) / length if length else 0.0


def with_input_flags(said: str, decoded: str) -> str:
    """The cell of the catalog's `flags` from what the source said and what input_flags found, both joined by "|".

    decoded: of its flags only those of this module count, so the cell of an earlier catalog may be given.
    """
    found = [flag for flag in decoded.split("|") if flag in INPUT_FLAGS]
    return "|".join(dict.fromkeys([*filter(None, said.split("|")), *found]))
