"""Which images form each batch, and how they come out of the image store.

There is no DataLoader: rows are read by index from one memory map, and worker processes would cost more in
copying than they save. So there is no worker to die and no shared memory to run out of.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from data_contracts.errors import UsageProblem
from models.training.settings import Sampling


@dataclass(frozen=True, slots=True, eq=False)
class LabelledRows:
    """Images with what is true of them.

    rows: (n,) int64 image store rows; targets: (n, K) int8, 1 true, 0 false, -1 unknown, one-hot where exactly one
    class is true; image_ids, sources: (n,) str, empty where not known.
    """

    rows: NDArray[np.int64]
    targets: NDArray[np.int8]
    image_ids: NDArray[np.str_] = field(default_factory=lambda: np.empty(0, dtype=np.str_))
    sources: NDArray[np.str_] = field(default_factory=lambda: np.empty(0, dtype=np.str_))

    def __post_init__(self) -> None:
        for name in ("image_ids", "sources"):
            if len(getattr(self, name)) == 0:
                object.__setattr__(self, name, np.zeros(len(self.rows), dtype=np.str_))
        lengths = {len(self.rows), len(self.targets), len(self.image_ids), len(self.sources)}
        if self.rows.ndim != 1 or self.targets.ndim != 2 or len(lengths) != 1:
            raise UsageProblem(
                f"Rows of shape {self.rows.shape} came with targets of shape {self.targets.shape}.",
                why="Every image needs exactly one label or row of targets.",
                cure="Pass rows (n,), targets (n, K), and ids and sources of the same length.",
            )

    @classmethod
    def of_labels(cls, rows: NDArray[np.int64], labels: NDArray[np.int64], classes: int) -> Self:
        """Images of which exactly one class is true. labels: (n,) class indices below `classes`."""
        if rows.shape != labels.shape or (labels.size and not 0 <= labels.min() <= labels.max() < classes):
            raise UsageProblem(
                f"Rows of shape {rows.shape} came with labels of shape {labels.shape} for {classes} classes.",
                why="Every image needs exactly one label, and one that the task has.",
                cure="Take rows and labels from the catalog that belongs to this image store.",
            )
        return cls(rows, np.eye(classes, dtype=np.int8)[labels])

    @property
    def labels(self) -> NDArray[np.int64]:
        """(n,) class indices, where exactly one class is true."""
        labels: NDArray[np.int64] = self.targets.argmax(axis=1).astype(np.int64)
        return labels

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """One optimiser step's images. rows: (B,) store rows, ascending; targets: (B, K); image_ids: (B,).

    repeats: (B,) int64, how often the epoch drew the image before; 0 unless sampling repeats images.
    """

    rows: NDArray[np.int64]
    targets: NDArray[np.int8]
    image_ids: NDArray[np.str_]
    repeats: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)


def epoch_batches(
    data: LabelledRows, batch_size: int, *, seed: int, epoch: int, sampling: Sampling = "natural"
) -> list[Batch]:
    """The batches of one training epoch, in an order that depends on (seed, epoch) alone.

    natural: every image once. class_balanced and source_balanced: as many draws, the same number from each class
    (source); within one, every image as often as the others, to one. Within a batch the rows ascend, which reads the
    memory map forwards. A last batch of one image joins the batch before it, because batch normalisation has no
    variance over one.
    """
    generator = np.random.default_rng((seed, epoch))
    if sampling == "natural":
        order = generator.permutation(len(data))
    else:
        order = _balanced_order(_groups(data, sampling), len(data), generator)
    repeats = _earlier_occurrences(order)
    starts = list(range(0, len(order), batch_size))
    if len(starts) > 1 and len(order) - starts[-1] == 1:
        starts.pop()
    batches = []
    for start, end in zip(starts, [*starts[1:], len(order)], strict=True):
        places = start + np.argsort(data.rows[order[start:end]], kind="stable")
        members = order[places]
        batches.append(Batch(data.rows[members], data.targets[members], data.image_ids[members], repeats[places]))
    return batches


def draw_shares(data: LabelledRows, sampling: Sampling) -> NDArray[np.float64]:
    """(n,) how large a part of an epoch's draws each image has; they sum to 1."""
    if sampling == "natural":
        return np.full(len(data), 1 / max(len(data), 1))
    groups = _groups(data, sampling)
    shares = np.zeros(len(data))
    for group in groups:
        shares[group] += 1 / (len(groups) * len(group))
    return shares


def _groups(data: LabelledRows, sampling: Sampling) -> list[NDArray[np.int64]]:
    """The images of each source; or of each class, where an image may be in several, and of no class."""
    if sampling == "source_balanced":
        groups = [np.flatnonzero(data.sources == source) for source in np.unique(data.sources)]
    else:
        groups = [np.flatnonzero(column) for column in (data.targets == 1).T]
        groups.append(np.flatnonzero(~(data.targets == 1).any(axis=1)))
    return [group for group in groups if len(group)]


def _balanced_order(
    groups: list[NDArray[np.int64]], draws: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """`draws` images, equally many of each group: whole rounds through a group, then a part of one."""
    counts = np.full(len(groups), draws // max(len(groups), 1))
    counts[generator.permutation(len(groups))[: draws - counts.sum()]] += 1
    chosen = []
    for group, count in zip(groups, counts, strict=True):
        rounds = [generator.permutation(group) for _ in range(-(-count // len(group)))]
        chosen.append(np.concatenate([*rounds, group[:0]])[:count])
    return generator.permutation(np.concatenate([*chosen, np.empty(0, dtype=np.int64)]))


def _earlier_occurrences(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,) for each place, how many earlier places hold the same image."""
    by_image = np.argsort(order, kind="stable")
    ordered = order[by_image]
    new = np.r_[True, ordered[1:] != ordered[:-1]][: len(order)]
    first = np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))
    earlier = np.empty(len(order), dtype=np.int64)
    earlier[by_image] = np.arange(len(order)) - first
    return earlier


def consecutive_batches(rows: NDArray[np.int64], batch_size: int) -> Iterator[NDArray[np.int64]]:
    """The rows in the order given, `batch_size` at a time."""
    for start in range(0, len(rows), batch_size):
        yield rows[start : start + batch_size]


def read_images(images: NDArray[np.uint8], rows: NDArray[np.int64], device: torch.device) -> torch.Tensor:
    """(B, H, W) uint8 images of these store rows on `device`.

    Gathered by numpy: indexing a torch tensor took four times as long.
    """
    return torch.from_numpy(images[rows]).to(device)
