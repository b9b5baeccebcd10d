"""What a frozen trunk says of each image, computed once, so that training the head alone reads no image.

It holds only as long as the trunk is frozen and in eval mode, its batch normalisation with fixed statistics. So it
serves the phase that trains the head, and no other. View 0 of an image is the image itself; view v is what
augmentation makes of it in epoch v.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.architectures.trunk import trunk_and_head
from models.preprocessing import Preprocessing
from models.training.augmentation import augment
from models.training.batches import Batch, LabelledRows, consecutive_batches
from models.training.device import Compute
from models.training.epoch import TrainingData
from models.training.feature_cache import FeatureCache

_BATCH = 64
_FORMAT_VERSION = 1
_COMPUTING_LIBRARIES = ("torch", "timm", "numpy")
# What timm's networks note about themselves that concerns the head, or training alone.
_NOT_THE_TRUNKS = ("training", "num_classes", "drop_rate")


@dataclass(frozen=True, slots=True, eq=False)
class FrozenFeatures:
    """Features of the images of `rows`, to be read in place of them.

    stored: (n,) their store rows, ascending; views: one (n, …) float32 array of features per view.
    """

    rows: LabelledRows
    stored: NDArray[np.int64]
    views: list[NDArray[np.float32]]
    device: torch.device

    def inputs(self, batches: Sequence[Batch], *, seed: int, epoch: int) -> Iterator[torch.Tensor]:
        """What the head reads in training: (B, …) float32 per batch.

        An image goes through its views from epoch to epoch, and images stand at different views in one epoch.
        """
        for batch in batches:
            yield self._read(batch.rows, (epoch - 1 + batch.repeats + batch.rows) % len(self.views))

    def stream(self, batches: Iterable[NDArray[np.int64]]) -> Iterator[torch.Tensor]:
        """View 0 of one batch of store rows after another, as `Feed` streams images."""
        for rows in batches:
            yield self._read(rows, np.zeros_like(rows))

    def _read(self, rows: NDArray[np.int64], views: NDArray[np.int64]) -> torch.Tensor:
        places = np.searchsorted(self.stored, rows)
        features = np.empty((len(rows), *self.views[0].shape[1:]), dtype=np.float32)
        for number, view in enumerate(self.views):
            shown = views == number
            features[shown] = view[places[shown]]
        return torch.from_numpy(features).to(self.device)


def frozen_features(
    model: nn.Module,
    data: TrainingData,
    val: LabelledRows,
    preprocessing: Preprocessing,
    compute: Compute,
    *,
    views: int,
    seed: int,
    cache: FeatureCache | None = None,
    say: Callable[[str], None] | None = None,
) -> tuple[FrozenFeatures, FrozenFeatures]:
    """Features of the training images in so many views, and of the validation images in view 0.

    model: its trunk is read as it is, in eval mode and in the precision of training; its head does not matter, so
    networks that differ in their head share features. preprocessing: of whole images. cache: None keeps features in
    memory. Raises UsageProblem as `trunk_and_head` does, EnvironmentProblem as the cache does.
    """
    trunk = trunk_and_head(model)[0].eval()
    identity = _identity(trunk, compute)

    def read(rows: LabelledRows, view: int) -> NDArray[np.float32]:
        stored = np.unique(rows.rows)
        made_from = {
            **identity,
            "rows": hashlib.sha256(stored.tobytes()).hexdigest(),
            "preprocessing": (data.preprocessing if view else preprocessing).model_dump(),
            "view": view,
            "augmentation": {"seed": seed, **data.augmentation.model_dump()} if view else None,
        }

        def computed() -> Iterator[NDArray[np.float32]]:
            if say is not None:
                say(f"the frozen trunk reads {len(stored):,} images once, view {view}")
            for some in consecutive_batches(stored, _BATCH):
                yield _features(trunk, _shown(data, preprocessing, some, view, seed), compute)

        if cache is None:
            return np.concatenate(list(computed()))
        return cache.get(made_from, len(stored), computed)

    def kept(rows: LabelledRows, count: int) -> FrozenFeatures:
        seen = [read(rows, view) for view in range(count)]
        return FrozenFeatures(rows, np.unique(rows.rows), seen, compute.device)

    return kept(data.rows, views), kept(val, 1)


def _shown(
    data: TrainingData, preprocessing: Preprocessing, rows: NDArray[np.int64], view: int, seed: int
) -> torch.Tensor:
    pixels = data.feed.read(rows)
    if view == 0:
        return preprocessing.apply(pixels)
    return data.preprocessing.apply(augment(pixels, rows, data.augmentation, seed=seed, epoch=view))


@torch.inference_mode()
def _features(trunk: nn.Module, inputs: torch.Tensor, compute: Compute) -> NDArray[np.float32]:
    # In float32 whatever the trunk computes in: half the bytes would round what training over images does not.
    with compute.autocast():
        features: NDArray[np.float32] = trunk(inputs).float().cpu().numpy()
    return features


def _identity(trunk: nn.Module, compute: Compute) -> dict[str, object]:
    """What decides the features besides the images: the trunk's layers and weights, and what computes them."""
    weights = hashlib.sha256(_layers(trunk).encode())
    for name, value in sorted(trunk.state_dict().items()):
        weights.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        weights.update(value.detach().cpu().contiguous().numpy().tobytes())
    return {
        "format_version": _FORMAT_VERSION,
        "trunk": weights.hexdigest(),
        "precision": compute.precision,
        "processor": compute.device.type,
        **{name: version(name) for name in _COMPUTING_LIBRARIES},
    }


def _layers(trunk: nn.Module) -> str:
    """The layers and their settings; not all settings that change what a network computes are in its `repr`."""
    settings = {
        name: {
            key: value
            for key, value in vars(module).items()
            if isinstance(value, bool | int | float | str) and key not in _NOT_THE_TRUNKS
        }
        for name, module in trunk.named_modules()
    }
    return f"{trunk!r} {sorted(settings.items())}"
