"""Linear probes of the audit: what can be told from the border, the metadata or an embedding, on held-out images."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from models.audit.changes import centre_mask
from models.evaluation.baselines import border_ring, thumbnails
from models.evaluation.probe import Features, Targets, fit_probe

FOLDS = 5
_CHOOSING_SHARE = 0.2  # of the training groups, that choose the penalty
_THUMBNAIL = 32

METADATA_KINDS = ("mode", "format", "view", "sex")
METADATA_NUMBERS = ("width", "height", "aspect", "age")


def learned_from_training(
    features: Features, targets: Targets, groups: NDArray[np.str_], asked: Features, *, seed: int
) -> NDArray[np.float64]:
    """(m, K) scores of the asked images (m, F) by a probe of the training images (n, F), (n, K).

    A fifth of the training groups chooses the penalty, so that nothing but the numbers depends on the asked images.
    Features that never vary in training are left out; where none is left every score is the same.
    """
    names = np.unique(groups)
    chosen = np.random.default_rng(seed).permutation(names)[: max(1, round(_CHOOSING_SHARE * len(names)))]
    choosing = np.isin(groups, chosen)
    return _scores(features, targets, ~choosing, choosing, asked, seed)


def out_of_fold(
    features: Features, targets: Targets, groups: NDArray[np.str_], *, seed: int
) -> NDArray[np.float64]:
    """(n, K) scores, each by a probe that saw no image of the same group.

    targets (n, K): classes of which one is true. Five folds of whole groups: three to learn from, one to choose the
    penalty, one to score. Needs at least five groups in the rarest class for every fold to hold it.
    """
    which = targets.argmax(axis=1) if targets.shape[1] > 1 else targets[:, 0]
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    fold = np.empty(len(features), dtype=np.int64)
    for number, (_, members) in enumerate(folds.split(features, which, groups)):
        fold[members] = number
    scores = np.empty(targets.shape, dtype=np.float64)
    for number in range(FOLDS):
        asked, choosing = fold == number, fold == (number + 1) % FOLDS
        scores[asked] = _scores(features, targets, ~(asked | choosing), choosing, features[asked], seed)
    return scores


def _scores(
    features: Features,
    targets: Targets,
    learning: NDArray[np.bool_],
    choosing: NDArray[np.bool_],
    asked: Features,
    seed: int,
) -> NDArray[np.float64]:
    varies = np.ptp(features[learning], axis=0) > 0 if learning.any() else np.zeros(features.shape[1], dtype=bool)
    if not varies.any():
        return np.full((len(asked), targets.shape[1]), 0.5)
    probe = fit_probe(
        features[learning][:, varies],
        targets[learning],
        features[choosing][:, varies],
        targets[choosing],
        multi_label=True,  # each class for itself: only the order of scores counts here
        seed=seed,
    )
    return probe.probabilities(asked[:, varies])


def border(images: NDArray[np.uint8], rows: NDArray[np.int64]) -> Features:
    """(n, F) grey levels of the outer 5 %."""
    return border_ring(images, rows)


def around_centre(images: NDArray[np.uint8], rows: NDArray[np.int64]) -> Features:
    """(n, F) grey levels of a 32 x 32 thumbnail outside its middle, which has 60 % of the area."""
    side = min(_THUMBNAIL, images.shape[1])
    return thumbnails(images, rows, side)[:, ~centre_mask(side).ravel()]


def metadata(frame: pd.DataFrame, training: pd.DataFrame) -> Features:
    """(n, F) what is known of the files besides their pixels, as zeros and ones.

    frame, training: Catalog rows. Kinds (colour mode, format, view, sex) have a column for each value seen in
    training, "" included; numbers (width, height, aspect, age) one for each tenth of the training images and one for
    unknown.
    """
    columns = []
    for name in METADATA_KINDS:
        columns += [frame[name].to_numpy() == value for value in sorted(training[name].unique())]
    for name in METADATA_NUMBERS:
        seen = _number(training, name)
        seen = seen[np.isfinite(seen)]
        edges = np.unique(np.quantile(seen, np.linspace(0.1, 0.9, 9))) if len(seen) else seen
        values = _number(frame, name)
        bins = np.where(np.isfinite(values), np.searchsorted(edges, values, side="right"), -1)
        columns += [bins == place for place in range(-1, len(edges) + 1)]
    return np.stack(columns, axis=1).astype(np.float32)


def _number(frame: pd.DataFrame, name: str) -> NDArray[np.float64]:
    if name == "aspect":
        return _number(frame, "width") / np.maximum(_number(frame, "height"), 1)
    return frame[name].to_numpy(dtype=np.float64)
