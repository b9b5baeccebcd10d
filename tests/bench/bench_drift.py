"""The monitor on a large window: CPU time, calibration included, and the memory it takes.

5,000 images with 30 columns and embeddings of 512 numbers against as many in the reference. Run with
`python -m tests.bench.bench_drift`.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_contracts.drift.judge import Scorer, judge_window
from data_contracts.drift.profile import ReferenceProfile
from data_contracts.drift.settings import MonitorSettings
from data_contracts.drift.verdict import Window
from tests.bench.comparison import Limit, judge_limits
from tests.scored_images import CLASSES, scored_images

IMAGES, DIMENSIONS = 5_000, 512
MORE_CLASSES = tuple(f"finding_{number}" for number in range(8))


def main() -> int:
    """Measure, print the table, and return the exit status."""
    # A process of its own, for the largest memory of a process never falls.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        profile_seconds, first, again, mebibytes, columns = pool.apply(measure)
    return judge_limits(
        [
            Limit(f"reference profile of {IMAGES:,} images", profile_seconds, None, "s of CPU"),
            Limit(f"verdict on {IMAGES:,} images, {columns} columns, calibrating", first, 60, "s of CPU"),
            Limit("the next verdict", again, None, "s of CPU"),
            Limit("memory of the process", mebibytes, 2_048, "MiB"),
        ]
    )


def measure() -> tuple[float, float, float, float, int]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        started = time.process_time()
        profile = ReferenceProfile.write(folder / "profile", *images(0), (*CLASSES, *MORE_CLASSES))
        profile_seconds = time.process_time() - started
        first, columns = verdict(profile, 1, folder)
        again, _ = verdict(profile, 2, folder)
    # The same in KiB on Linux and in bytes on macOS.
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return profile_seconds, first, again, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, columns


def images(seed: int) -> tuple[pd.DataFrame, NDArray[np.float32]]:
    frame, embeddings = scored_images(IMAGES, seed, dimensions=DIMENSIONS)
    names = [f"p_{name}" for name in (*CLASSES, *MORE_CLASSES)]
    frame[names] = np.random.default_rng(seed).dirichlet(np.ones(len(names)), IMAGES)
    return frame, embeddings


def verdict(profile: ReferenceProfile, seed: int, cache: Path) -> tuple[float, int]:
    frame, embeddings = images(seed)
    started = time.process_time()
    found = judge_window(
        profile,
        frame,
        embeddings,
        scorer=Scorer("model", "1", ""),
        window=Window(id="w", since="2025-01-06", until="2025-01-13", n=IMAGES),
        settings=MonitorSettings(),
        cache=cache,
    )
    seconds = time.process_time() - started
    compared = [
        one for layer in found.layers for one in layer.features if layer.layer not in ("embedding", "contract")
    ]
    assert len(compared) >= 30, len(compared)
    return seconds, len(compared)


if __name__ == "__main__":
    sys.exit(main())
