"""A linear probe: how much of a task a logistic regression can read off a few numbers per image.

What a probe finds in 32 x 32 pixels, in the border or in an embedding is there for every network to find.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

COMPONENTS = 64
# Strengths of regularisation that validation chooses from.
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
# More images than this change a linear probe's AUC by less than its interval, and cost minutes.
LARGEST_TRAINING_SET = 20_000

Features = NDArray[np.float32]
Targets = NDArray[np.int8]  # (n, K): 1 positive, 0 negative, -1 unknown


@dataclass(frozen=True, slots=True)
class Probe:
    """One fitted regression per class, or a constant where training shows only one side of it."""

    classes: tuple[Pipeline | float, ...]
    multi_label: bool

    def probabilities(self, features: Features) -> NDArray[np.float64]:
        """(n, K) probabilities; for a single-label task each row sums to 1."""
        columns = [
            np.full(len(features), model) if isinstance(model, float) else model.predict_proba(features)[:, 1]
            for model in self.classes
        ]
        found = np.stack(columns, axis=1).astype(np.float64)
        if self.multi_label:
            return found
        total = found.sum(axis=1, keepdims=True)
        return np.where(total > 0, found / np.where(total > 0, total, 1), 1 / found.shape[1])


def fit_probe(
    features: Features,
    targets: Targets,
    val_features: Features,
    val_targets: Targets,
    *,
    multi_label: bool = False,
    seed: int = 0,
) -> Probe:
    """Fit one class against the rest each: standardised features, their leading components, logistic regression.

    features (n, F), targets (n, K). The penalty with the highest mean AUC on validation is kept, the strongest one
    where validation cannot tell. At most 20,000 training images, drawn by `seed`, are used.
    """
    if len(features) > LARGEST_TRAINING_SET:
        chosen = np.sort(np.random.default_rng(seed).choice(len(features), LARGEST_TRAINING_SET, replace=False))
        features, targets = features[chosen], targets[chosen]
    reduce = make_pipeline(
        StandardScaler(), PCA(min(COMPONENTS, *features.shape), svd_solver="randomized", random_state=seed)
    )
    # Components of unlike size would be penalised unlike.
    scale = StandardScaler()
    # On matrices this small more threads only wait for one another, at three times the CPU time; and with one the
    # result does not depend on their number.
    with threadpool_limits(limits=1, user_api="blas"):
        reduced, val_reduced = reduce.fit_transform(features), reduce.transform(val_features)
        reduced, val_reduced = scale.fit_transform(reduced), scale.transform(val_reduced)
        classes = tuple(
            _fit_class(reduce, scale, reduced, targets[:, k], val_reduced, val_targets[:, k])
            for k in range(targets.shape[1])
        )
    return Probe(classes, multi_label)


def _fit_class(
    reduce: Pipeline,
    scale: StandardScaler,
    features: Features,
    target: NDArray[np.int8],
    val_features: Features,
    val_target: NDArray[np.int8],
) -> Pipeline | float:
    known = target >= 0
    positive = target[known] == 1
    if positive.all() or not positive.any():
        return float(positive.mean()) if len(positive) else 0.5
    val_known = val_target >= 0
    val_positive = val_target[val_known] == 1
    both_sides = bool(val_positive.any()) and not val_positive.all()
    best, best_auc = None, -1.0
    for penalty in PENALTIES:
        model = LogisticRegression(C=penalty, class_weight="balanced", max_iter=500)
        model.fit(features[known], positive)
        if not both_sides:
            best = model
            break
        auc = float(roc_auc_score(val_positive, model.decision_function(val_features[val_known])))
        if auc > best_auc:
            best, best_auc = model, auc
    return Pipeline([("reduce", reduce), ("scale", scale), ("regression", best)])
