"""Which images form each batch, and how they come out of the image store.

There is no DataLoader: rows are read by index from one memory map, and worker processes would cost more in
copying than they save.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from data_contracts.errors import UsageProblem


@dataclass(frozen=True, slots=True, eq=False)
class LabelledRows:
    """Images with their class. rows: (n,) int64 image store rows; labels: (n,) int64 indices of the class."""

    rows: NDArray[np.int64]
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.rows.ndim != 1 or self.rows.shape != self.labels.shape:
            raise UsageProblem(
                f"Rows of shape {self.rows.shape} came with labels of shape {self.labels.shape}.",
                why="Every image needs exactly one label.",
                cure="Pass two one-dimensional arrays of the same length.",
            )

    def __len__(self) -> int:
        return len(self.rows)


def epoch_batches(data: LabelledRows, batch_size: int, *, seed: int, epoch: int) -> list[LabelledRows]:
    """The batches of one training epoch: every image once, in an order that depends on (seed, epoch) alone.

    Within a batch the rows ascend, which reads the memory map forwards. A last batch of one image joins the
    batch before it, because batch normalisation has no variance over one.
    """
    order = np.random.default_rng((seed, epoch)).permutation(len(data))
    starts = list(range(0, len(data), batch_size))
    if len(starts) > 1 and len(data) - starts[-1] == 1:
        starts.pop()
    batches = []
    for start, end in zip(starts, [*starts[1:], len(data)], strict=True):
        members = order[start:end]
        members = members[np.argsort(data.rows[members], kind="stable")]
        batches.append(LabelledRows(data.rows[members], data.labels[members]))
    return batches


def consecutive_batches(rows: NDArray[np.int64], batch_size: int) -> Iterator[NDArray[np.int64]]:
    """The rows in the order given, `batch_size` at a time."""
    for start in range(0, len(rows), batch_size):
        yield rows[start : start + batch_size]


def read_images(images: NDArray[np.uint8], rows: NDArray[np.int64], device: torch.device) -> torch.Tensor:
    """(B, H, W) uint8 images of these store rows on `device`.

    Gathered by numpy: indexing a torch tensor took four times as long.
    """
    return torch.from_numpy(images[rows]).to(device)
