"""One random stream per purpose and key, so that no drawing depends on what was drawn before it."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What a stream of random numbers is for; the values are part of the phantom's bytes."""

    ANATOMY = 1  # key: patient
    VESSELS = 2  # key: patient
    POSE = 3  # key: image
    DISEASE = 4  # key: image
    EXPOSURE = 5  # key: image
    NOISE = 6  # key: image
    PLAN = 7  # key: 0, one per data set
    SHIFT = 8  # key: image


def random_stream(seed: int, stream: Stream, key: int) -> np.random.Generator:
    """The generator for one purpose of one patient or image; seed and key ≥ 0."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, int(stream), key])))
