"""Finding near perceptual hashes against comparing all pairs in a loop, and whether every near pair is found.

The usual way compares Python integers, two at a time; it is measured on the first rows and extrapolated to all.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from numpy.typing import NDArray

from data_contracts.near_duplicates import pairs_by_hash
from tests.bench.comparison import Comparison, Limit, judge, judge_limits
from tests.bench.timing import cpu_seconds

HASHES, PLANTED = 20_000, 500
DISTANCE = 48  # of 256 bits, as the recipes have it
SHORT_HASHES, SHORT_DISTANCE = 150_000, 8  # of 64 bits
LOOPED = 100  # rows of the usual way


def main() -> int:
    """Measure, print the table, and return the exit status."""
    words, planted = make_hashes(HASHES, 4, DISTANCE)
    found = {(first, second) for first, second in pairs_by_hash(words, DISTANCE).tolist()}
    assert planted <= found, f"{len(planted - found)} planted pairs were not found"
    for width, distance in ((4, DISTANCE), (1, SHORT_DISTANCE)):
        sample, _ = make_hashes(3_000, width, distance)
        near = np.unique(pairs_by_hash(sample, distance), axis=0)
        assert np.array_equal(near, every_pair(sample, distance))

    numbers = [int.from_bytes(row.tobytes()) for row in words]

    def usual() -> None:
        for first in range(LOOPED):
            for second in range(first + 1, HASHES):
                if (numbers[first] ^ numbers[second]).bit_count() <= DISTANCE:
                    found.add((first, second))

    looped = LOOPED * HASHES - LOOPED * (LOOPED + 1) / 2
    share = HASHES * (HASHES - 1) / 2 / looped
    ours = cpu_seconds(lambda: pairs_by_hash(words, DISTANCE))
    against_loop = judge(
        [Comparison(f"near pairs of {HASHES:,} hashes", cpu_seconds(usual) * share / HASHES, ours / HASHES, 30)]
    )
    short, planted = make_hashes(SHORT_HASHES, 1, SHORT_DISTANCE)
    started = time.process_time()
    found = {(first, second) for first, second in pairs_by_hash(short, SHORT_DISTANCE).tolist()}
    seconds = time.process_time() - started
    assert planted <= found, f"{len(planted - found)} planted pairs were not found"
    name = f"{SHORT_HASHES:,} hashes of 64 bits within {SHORT_DISTANCE}"
    return max(against_loop, judge_limits([Limit(name, seconds, 10, "CPU seconds")]))


def make_hashes(count: int, width: int, distance: int) -> tuple[NDArray[np.uint64], set[tuple[int, int]]]:
    """Random hashes (count, width), and the pairs of which one is the other with up to `distance` bits changed."""
    rng = np.random.default_rng(count)
    words = rng.integers(0, 2**64, (count, width), dtype=np.uint64)
    first = rng.choice(count // 2, PLANTED, replace=False)
    second = count // 2 + rng.choice(count // 2, PLANTED, replace=False)
    for original, copy in zip(first, second, strict=True):
        bits = np.unpackbits(words[original].view(np.uint8))
        bits[rng.choice(64 * width, rng.integers(0, distance + 1), replace=False)] ^= 1
        words[copy] = np.packbits(bits).view(np.uint64)
    return words, set(zip(first.tolist(), second.tolist(), strict=True))


def every_pair(words: NDArray[np.uint64], distance: int) -> NDArray[np.int64]:
    """The near pairs, by comparing all of them at once."""
    differing = np.bitwise_count(words[:, None] ^ words).sum(axis=2, dtype=np.int64)
    return np.argwhere(np.triu(differing <= distance, 1))


if __name__ == "__main__":
    sys.exit(main())
