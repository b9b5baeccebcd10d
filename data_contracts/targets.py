"""What is true of each image as numbers: the one place where label cells become a table of classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_contracts.errors import DataGateError
from data_contracts.ontology import Task, split_classes

POSITIVE, NEGATIVE, UNKNOWN = 1, 0, -1


def targets(frame: pd.DataFrame, task: Task) -> NDArray[np.int8]:
    """(n, K) in task order: 1 the class is there, 0 it is not, -1 unknown; one-hot for a single-label task.

    frame: the Catalog's columns label and unknown_classes. Raises DataGateError where a label names no class.
    """
    return truth_table(frame["label"], frame["unknown_classes"], task.class_names, multi_label=task.multi_label)


def truth_table(
    labels: pd.Series[str], unknown_classes: pd.Series[str], class_names: Sequence[str], *, multi_label: bool
) -> NDArray[np.int8]:
    """The same from the two columns; each distinct pair of cells is read once, however many images share it."""
    index = {name: k for k, name in enumerate(class_names)}
    cells = pd.MultiIndex.from_arrays([labels, unknown_classes])
    which, distinct = cells.factorize()
    table = np.full((len(distinct), len(class_names)), NEGATIVE, dtype=np.int8)
    for row, (label, unknown) in zip(table, distinct, strict=True):
        positive = split_classes(label) if multi_label else [label]
        hidden = split_classes(unknown)
        if not label or not index.keys() >= {*positive, *hidden} or set(positive) & set(hidden):
            raise DataGateError(
                f"{int(((labels == label) & (unknown_classes == unknown)).sum())} images carry a label the task "
                f"does not know: {label!r}" + (f", unknown {unknown!r}." if unknown else "."),
                why="They can be neither right nor wrong, so every measure would be off.",
                cure=f"Keep only images labelled with {list(class_names)}.",
            )
        row[[index[name] for name in positive]] = POSITIVE
        row[[index[name] for name in hidden]] = UNKNOWN
    found: NDArray[np.int8] = table[which]
    return found
