"""Which images moved a verdict most, and what is unusual about each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_contracts.drift.comparison import ComparedLayer
from data_contracts.drift.verdict import Mover

MOST = 10


def movers(
    rows: pd.DataFrame, layers: Sequence[tuple[ComparedLayer, NDArray[np.int64]]], most: int = MOST
) -> tuple[Mover, ...]:
    """The images with the largest share in what moved the verdict, the largest first; ties by image id.

    layers: each with the places in `rows` of the images it compared. The layers that exceeded their limit count;
    where none did, the one that came nearest. Each layer counts equally, and so does each drifted column in it by its
    surprise.
    """
    exceeded = [pair for pair in layers if pair[0].verdict.outcome == "exceeded"]
    counted = (
        exceeded or sorted((pair for pair in layers if _nearness(pair[0])), key=lambda p: -_nearness(p[0]))[:1]
    )
    shares = np.zeros(len(rows))
    for layer, places in counted:
        total = layer.pulls.sum()
        if total:
            shares[places] += layer.pulls / total
    if not shares.any():
        return ()
    shares /= shares.sum()
    names = _names(rows)
    first = sorted(np.flatnonzero(shares), key=lambda place: (-shares[place], names[place]))[:most]
    return tuple(Mover(image_id=names[i], share=float(shares[i]), why=_why(int(i), counted)) for i in first)


def _why(row: int, counted: Sequence[tuple[ComparedLayer, NDArray[np.int64]]]) -> str:
    said = []
    for layer, places in counted:
        place = int(np.searchsorted(places, row))
        if place < len(places) and places[place] == row and layer.pulls.size and layer.pulls[place] > 0:
            said.append(layer.describe(place))
    return "; ".join(filter(None, said))


def _nearness(layer: ComparedLayer) -> float:
    """How near a quiet layer came to its limit; 0 where it was not compared."""
    value, limit = layer.verdict.value, layer.verdict.limit
    return max(0.0, value / limit) if value is not None and limit else 0.0


def _names(rows: pd.DataFrame) -> list[str]:
    """How each image is called: by its key, which also images have that were refused before they were decoded."""
    column = "image_key" if "image_key" in rows else "image_id"
    return [str(name) for name in rows[column]] if column in rows else [str(i) for i in range(len(rows))]
