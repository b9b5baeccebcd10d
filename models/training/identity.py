"""What decides the numbers of a training, as text: a checkpoint goes on only where all of it is the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from importlib.metadata import version

import numpy as np
from pydantic import BaseModel

from models.training.batches import LabelledRows
from models.training.device import Compute

_COMPUTING_LIBRARIES = ("torch", "timm", "numpy")


def training_identity(
    settings: Mapping[str, BaseModel],
    *,
    classes: Sequence[str],
    output: str,
    initial_weights: str,
    train: LabelledRows,
    val: LabelledRows,
    compute: Compute,
) -> dict[str, str]:
    """Name -> value. settings: recipe sections by name. initial_weights: hash of the file they came from, or a word.

    The pixels are named by the image ids, which are their hashes.
    """
    data = hashlib.sha256()
    for rows in (train, val):
        for column in (rows.rows, rows.targets):
            data.update(repr((column.dtype.str, column.shape)).encode() + np.ascontiguousarray(column).tobytes())
        for texts in (rows.image_ids, rows.sources):
            data.update("\x1f".join(texts.tolist()).encode() + b"\x1e")
    return {
        **{name: section.model_dump_json() for name, section in settings.items()},
        "classes": "|".join(classes),
        "output": output,
        "initial weights": initial_weights,
        "data": data.hexdigest(),
        "processor": compute.device.type,
        "precision": compute.precision,
        **{name: version(name) for name in _COMPUTING_LIBRARIES},
    }
