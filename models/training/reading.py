"""What the epochs of a phase read, and which part of the network reads it: images, or features of a frozen trunk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Self

from torch import nn

from models.architectures.trunk import trunk_and_head
from models.preprocessing import Preprocessing
from models.training.batches import LabelledRows
from models.training.device import Compute
from models.training.epoch import Inputs, TrainingData
from models.training.feature_cache import FeatureCache
from models.training.frozen_features import FrozenFeatures, frozen_features
from models.training.phases import Phase
from models.training.settings import TrainingSettings
from models.training.state import TrainingState
from models.training.validation import Reader


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """network learns from `train`, judged is validated on what `val` gives; preprocessing: None where that is input."""

    network: nn.Module
    train: Inputs
    judged: nn.Module
    val: Reader
    preprocessing: Preprocessing | None


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """What each phase reads. network: the whole network as it is to be called; frozen: its trunk's features, or None.

    frozen gives (training, validation) and computes them when it is called for the first time.
    """

    network: nn.Module
    data: TrainingData
    preprocessing: Preprocessing
    frozen: Callable[[], tuple[FrozenFeatures, FrozenFeatures]] | None

    @classmethod
    def of(
        cls,
        model: nn.Module,
        network: nn.Module,
        data: TrainingData,
        val: LabelledRows,
        preprocessing: Preprocessing,
        settings: TrainingSettings,
        compute: Compute,
        *,
        features: FeatureCache | None,
        say: Callable[[str], None] | None,
    ) -> Self:
        """network: `model`, compiled perhaps. features: where the trunk's features are kept, None for memory."""

        @cache
        def frozen() -> tuple[FrozenFeatures, FrozenFeatures]:
            return frozen_features(
                model,
                data,
                val,
                preprocessing,
                compute,
                views=settings.feature_views,
                seed=settings.seed,
                cache=features,
                say=say,
            )

        return cls(network, data, preprocessing, frozen if settings.feature_views else None)

    def during(self, phase: Phase, state: TrainingState) -> Reading:
        """In the phase that trains the head, head and features; else the whole network and images."""
        if phase.trains != "head" or self.frozen is None:
            return Reading(self.network, self.data, state.judged, self.data.feed, self.preprocessing)
        train, val = self.frozen()
        head, judged = (trunk_and_head(model)[1] for model in (state.model, state.judged))
        return Reading(head, train, judged, val, None)


def feature_notes(phases: list[Phase], settings: TrainingSettings) -> list[str]:
    """What a person should know of a head that was trained on features."""
    if not settings.feature_views or all(phase.trains != "head" for phase in phases):
        return []
    seen = (
        "every image as it is, without augmentation"
        if settings.feature_views == 1
        else f"every image as it is and changed by augmentation in {settings.feature_views - 1} ways"
    )
    return [f"while the trunk was frozen its features were computed once: the head learned from {seen}"]
