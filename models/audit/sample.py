"""The images an audit looks at, and what the network says of them before and after a change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_contracts.catalog import Catalog
from data_contracts.errors import ModelGateError
from data_contracts.ontology import task_named
from data_contracts.targets import targets
from models.audit.changes import Images
from models.audit.settings import AuditSettings
from models.evaluation.bootstrap import Groups, bootstrap, ratio
from models.evaluation.intervals import proportion
from models.evaluation.predictions import PROBABILITY, Predictions, sealed_probabilities
from models.evaluation.results import Estimate

if TYPE_CHECKING:
    from torch import nn

    from models.registry.bundle import BundleSpec

_BATCH = 64

# Images (B, S, S) and their places in the sample -> as many changed ones.
Change = Callable[[Images, NDArray[np.int64]], Images]


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """n images in an order drawn by seed, so that the first of them are a sample too.

    frame: Catalog rows. truth (n, K); probabilities (n, K) of the network on the unchanged images.
    """

    frame: pd.DataFrame
    truth: NDArray[np.int8]
    probabilities: NDArray[np.float64]

    @classmethod
    def of(cls, catalog: Catalog, predictions: Predictions, spec: BundleSpec, settings: AuditSettings) -> Self:
        """At most settings.images of the validation and test images that were predicted.

        Raises ModelGateError where the predictions are over other classes than the model's.
        """
        if predictions.class_names != spec.class_names:
            raise ModelGateError(
                f"The predictions are over {predictions.class_names}, the model's classes are {spec.class_names}.",
                why="Changes of the answer would be counted between different questions.",
                cure="Audit a model with its own predictions.",
            )
        kept = catalog.kept
        columns = [PROBABILITY + name for name in spec.class_names]
        joined = kept[kept["split"].isin(["val", "test"])].merge(
            predictions.frame[["image_id", *columns]], on="image_id", validate="one_to_one"
        )
        order = np.random.default_rng(settings.seed).permutation(len(joined))[: settings.images]
        frame = joined.iloc[order].reset_index(drop=True)
        truth = targets(frame, task_named(spec.task))
        return cls(frame.drop(columns=columns), truth, frame[columns].to_numpy(np.float64))

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def rows(self) -> NDArray[np.int64]:
        """(n,) rows of the image store."""
        return self.frame["row"].to_numpy(np.int64)

    @property
    def groups(self) -> NDArray[np.str_]:
        """(n,) identity groups."""
        return self.frame["group_id"].to_numpy(np.str_)

    def first(self, n: int) -> Sample:
        """The first n images, or all where there are fewer."""
        return Sample(self.frame.iloc[:n], self.truth[:n], self.probabilities[:n])


def answers_to(
    change: Change, model: nn.Module, spec: BundleSpec, images: NDArray[np.uint8], rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(n, K) probabilities of the changed images at `rows`; memory beside the result: one batch."""
    parts = []
    for start in range(0, len(rows), _BATCH):
        places = np.arange(start, min(start + _BATCH, len(rows)))
        changed = change(np.asarray(images[rows[places]]), places)
        every = np.arange(len(places))
        parts.append(sealed_probabilities(model, spec, changed, every))
    return np.concatenate(parts) if parts else np.empty((0, len(spec.class_names)))


def flips(
    before: NDArray[np.float64], after: NDArray[np.float64], thresholds: NDArray[np.float64] | None
) -> NDArray[np.bool_]:
    """(n,) whose answer changes: the most probable class or, where thresholds (K,) are given, any class's call."""
    if thresholds is None:
        return np.asarray(before.argmax(axis=1) != after.argmax(axis=1))
    return np.asarray(((before >= thresholds) != (after >= thresholds)).any(axis=1))


def moves(before: NDArray[np.float64], after: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) how far the probability of the class that was most probable moves, 0 to 1."""
    top = before.argmax(axis=1)[:, None]
    difference = np.take_along_axis(after, top, axis=1) - np.take_along_axis(before, top, axis=1)
    return np.asarray(np.abs(difference[:, 0]))


def mean_of(values: NDArray[np.float64], groups: NDArray[np.str_], settings: AuditSettings) -> Estimate:
    """The mean over images with an interval from resampling identity groups."""
    clusters = Groups.of(groups)
    statistic = ratio(values, np.ones(len(values)), clusters)
    (estimate,) = bootstrap(
        statistic, clusters, n=len(values), resamples=settings.bootstrap_resamples, seed=settings.seed
    )
    return estimate


def share_by_kind(happened: NDArray[np.bool_], kinds: NDArray[np.str_]) -> Mapping[str, Estimate]:
    """The share of images in which it happened, for each kind of change."""
    return {
        f"by kind: {kind}": proportion(
            int(happened[kinds == kind].sum()), int((kinds == kind).sum()), undefined="no image"
        )
        for kind in np.unique(kinds).tolist()
    }
