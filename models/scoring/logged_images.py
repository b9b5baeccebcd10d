"""The images that one bundle has answered, as many as a prediction log holds, at 16 bytes each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_DIGITS = (
    32  # of an image key that tell it from others: of 100 million images, two are alike with a chance of 1e-23
)
_FEW = 1024
_MANY = 65_536


class LoggedImages:
    """Image keys, which are sha256 in hexadecimal; asking is fast whether they came in one by one or by the million."""

    def __init__(self) -> None:
        self._sorted = np.empty(0, "S16")
        self._batches: list[NDArray[np.bytes_]] = []  # to be sorted in when somebody asks
        self._single: set[bytes] = set()

    def add(self, image_keys: Sequence[str]) -> None:
        digests = _digests(image_keys)
        if len(digests) >= _FEW:
            self._batches.append(digests)
            return
        self._single.update(digests.tolist())
        if len(self._single) >= _MANY:
            self._batches.append(np.array(sorted(self._single), "S16"))
            self._single.clear()

    def holds(self, image_keys: Sequence[str]) -> NDArray[np.bool_]:
        """For each key, whether it was added."""
        digests = _digests(image_keys)
        if self._batches:
            self._sorted = np.sort(np.concatenate([self._sorted, *self._batches]))
            self._batches.clear()
        single = np.array([one in self._single for one in digests.tolist()], bool)
        if not len(self._sorted):
            return single
        place = np.searchsorted(self._sorted, digests).clip(max=len(self._sorted) - 1)
        held: NDArray[np.bool_] = single | (self._sorted[place] == digests)
        return held


def _digests(image_keys: Sequence[str]) -> NDArray[np.bytes_]:
    return np.frombuffer(bytes.fromhex("".join(key[-_DIGITS:] for key in image_keys)), "S16")
