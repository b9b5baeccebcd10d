"""Which images of a window or of the reference break the contract of what may be scored, and why."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_contracts.drift.layers import refused
from data_contracts.input_checks import INPUT_FLAGS


def is_refused_or_flagged(frame: pd.DataFrame) -> NDArray[np.bool_]:
    """(n,) whether an image was refused, or carries a doubt for which scoring refuses images.

    The reference is made of images that no scoring has refused; its flags say what scoring would have done.
    """
    broken = refused(frame)
    if "flags" in frame:
        said = frame["flags"].astype("str").where(frame["flags"].notna(), "")
        broken = broken | said.str.split("|").map(lambda flags: not set(INPUT_FLAGS).isdisjoint(flags)).astype(
            bool
        )
    return broken.to_numpy(dtype=bool)


def reasons(frame: pd.DataFrame) -> list[str]:
    """Per image why it was refused, else the doubts about it, else ""."""
    why = frame["refused"].tolist() if "refused" in frame else [""] * len(frame)
    flags = frame["flags"].tolist() if "flags" in frame else [""] * len(frame)
    return [
        f"refused: {reason}" if isinstance(reason, str) and reason else str(said).replace("|", ", ")
        for reason, said in zip(why, flags, strict=True)
    ]
