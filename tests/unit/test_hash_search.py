"""Finding near hashes: every near pair and no other, for long hashes and for short ones."""

from __future__ import annotations

import numpy as np
import pytest

from data_contracts.near_duplicates import pairs_by_hash


@pytest.mark.parametrize(("width", "distance"), [(4, 48), (2, 20), (1, 8), (1, 11), (1, 20)])
def test_every_near_pair_is_found_and_no_other(width: int, distance: int) -> None:
    rng = np.random.default_rng(width + distance)
    words = rng.integers(0, 2**64, (400, width), dtype=np.uint64)
    for copy, changed in enumerate(range(0, 2 * distance)):
        bits = np.unpackbits(words[copy].view(np.uint8))
        bits[rng.choice(64 * width, changed, replace=False)] ^= 1
        words[200 + copy] = np.packbits(bits).view(np.uint64)
    differing = np.bitwise_count(words[:, None] ^ words).sum(axis=2, dtype=np.int64)
    near = np.argwhere(np.triu(differing <= distance, 1))
    assert len(near) > distance
    assert np.array_equal(np.unique(pairs_by_hash(words, distance), axis=0), near)


@pytest.mark.parametrize("width", [1, 4])
def test_one_hash_or_none_has_no_pair(width: int) -> None:
    for count in (0, 1):
        assert pairs_by_hash(np.zeros((count, width), np.uint64), 8).shape == (0, 2)
