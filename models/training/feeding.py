"""Brings the images of a training to the device: all at once where they fit, else each batch while the last is used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from models.training.batches import read_images

# The rest of the GPU's memory is for weights and activations.
RESIDENT_SHARE = 0.5
_COPIED_AT_ONCE = 4096


def fits_resident(images: NDArray[np.uint8], free_bytes: int) -> bool:
    """Whether the whole image store may lie in a GPU's memory of which so many bytes are free."""
    return images.nbytes <= RESIDENT_SHARE * free_bytes


class Feed:
    """Reads images by store row. resident: whether all of them lie in the device's memory.

    On a CPU the memory map is read directly: 40 microseconds an image, too little to be worth a thread.
    """

    def __init__(self, images: NDArray[np.uint8], device: torch.device) -> None:
        self._images = images
        self._device = device
        self._resident: torch.Tensor | None = None
        if device.type == "cuda" and fits_resident(images, torch.cuda.mem_get_info(device)[0]):
            self._resident = resident_copy(images, device)

    @property
    def resident(self) -> bool:
        return self._resident is not None

    def read(self, rows: NDArray[np.int64]) -> torch.Tensor:
        """(B, H, W) uint8 images of these rows on the device."""
        if self._resident is not None:
            return self._resident[torch.from_numpy(rows).to(self._device)]
        return read_images(self._images, rows, self._device)

    def stream(self, batches: Iterable[NDArray[np.int64]]) -> Iterator[torch.Tensor]:
        """The images of one batch of rows after another."""
        if self._device.type == "cpu" or self.resident:
            yield from map(self.read, batches)
        else:
            yield from self._read_ahead(batches)

    def _read_ahead(self, batches: Iterable[NDArray[np.int64]]) -> Iterator[torch.Tensor]:
        # Pinned memory is copied while the GPU computes; torch reuses it only when the copy is done.
        def gather(rows: NDArray[np.int64]) -> torch.Tensor:
            return torch.from_numpy(self._images[rows]).pin_memory()

        with ThreadPoolExecutor(max_workers=1) as reader:
            coming = None
            for rows in batches:
                waiting, coming = coming, reader.submit(gather, rows)
                if waiting is not None:
                    yield waiting.result().to(self._device, non_blocking=True)
            if coming is not None:
                yield coming.result().to(self._device, non_blocking=True)


def resident_copy(images: NDArray[np.uint8], device: torch.device) -> torch.Tensor:
    """(N, H, W) uint8 on the device, copied in pieces so that the memory map never lies in main memory whole."""
    copy = torch.empty(images.shape, dtype=torch.uint8, device=device)
    for start in range(0, len(images), _COPIED_AT_ONCE):
        piece = np.array(images[start : start + _COPIED_AT_ONCE])
        copy[start : start + len(piece)] = torch.from_numpy(piece).to(device)
    return copy
