"""Performance of a window without its outcomes: the confusion that the probabilities themselves expect, and ATC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_contracts.drift.performance import ClassFigures, Figure, PerformanceEstimate
from data_contracts.drift.performance_outcome import calls_of, kept_rows, measured_classes
from data_contracts.expectations.window import probability_columns
from data_contracts.targets import truth_table

RESAMPLES = 500
# With fewer expected images of a class its sensitivity is a ratio of two nothings.
LEAST_EXPECTED = 1.0
# Estimate and measurement on the reference farther apart than this are worth a note.
WORTH_A_NOTE = 0.05
NO_IMAGES = "no scored image in the window"

Floats = NDArray[np.float64]
Counts = NDArray[np.uint8]


def estimate_performance(
    reference: pd.DataFrame,
    window: pd.DataFrame,
    class_names: Sequence[str],
    *,
    operating_points: Mapping[str, float] | None = None,
    multi_label: bool = False,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> PerformanceEstimate:
    """Expected sensitivity and specificity per class, and expected accuracy, of the scored images of a window.

    reference: columns p_<class>, label, group_id (and unknown_classes where multi_label); window: p_<class>,
    call_<class> as in the prediction log, patient, image_id, refused. operating_points: class -> threshold, used where
    a frame has no call_<class>; a class with neither is undefined. Refused rows are left out.

    CBPE: of an image with probability p that is called positive, p counts as true and 1 - p as false positive.
    ATC (Garg et al. 2022, "Leveraging unlabeled data to predict out-of-distribution performance", eq. 1-2, with the
    highest probability as score). Intervals: percentiles of `resamples` bootstraps over groups; they hold what the
    choice of patients leaves open, not that probabilities may be wrong. Deterministic for a seed.
    """
    rng = np.random.default_rng(seed)
    window = kept_rows(window, class_names)
    reference = kept_rows(reference, class_names)
    points = operating_points or {}
    p = window[probability_columns(class_names)].to_numpy(np.float64)
    groups = _groups(window)
    counts = _resampled(groups, resamples, rng)
    classes = _expected_classes(p, window, class_names, points, groups, counts)
    estimated, measured, notes = _on_reference(reference, class_names, points, multi_label=multi_label)
    accuracy, atc, threshold = _accuracies(p, groups, counts, reference, class_names, multi_label, rng)
    return PerformanceEstimate(
        n=len(window),
        groups=len(np.unique(groups)),
        accuracy=accuracy,
        atc=atc,
        atc_threshold=threshold,
        classes=classes,
        reference_estimated=estimated,
        reference_measured=measured,
        notes=notes,
    )


def _groups(frame: pd.DataFrame) -> NDArray[np.int64]:
    """(n,) group numbers: the identity group, else the patient, else every image alone."""
    alone = pd.Series([f"image {row}" for row in range(len(frame))], index=frame.index)
    column = next((name for name in ("group_id", "patient") if name in frame), None)
    names = alone if column is None else frame[column].astype(str).where(frame[column].astype(str) != "", alone)
    return np.unique(names.to_numpy(dtype=str), return_inverse=True)[1].astype(np.int64)


def _resampled(groups: NDArray[np.int64], resamples: int, rng: np.random.Generator) -> Counts:
    """(resamples, groups): how often each group was drawn; a byte each, as a window may hold 100,000 images."""
    count = int(groups.max(initial=-1)) + 1
    drawn = np.zeros((resamples, count), dtype=np.uint8)
    for row in drawn:
        row[:] = rng.multinomial(count, np.full(count, 1 / count)) if count else 0
    return drawn


def _expected_classes(
    p: Floats,
    frame: pd.DataFrame,
    class_names: Sequence[str],
    points: Mapping[str, float],
    groups: NDArray[np.int64],
    counts: Counts | None,
) -> tuple[ClassFigures, ...]:
    calls = calls_of(frame, class_names, points)
    figures = []
    for k, name in enumerate(class_names):
        positive, negative = p[:, k], 1 - p[:, k]
        called = calls.get(name)
        if called is None or not len(p):
            reason = "the class has no operating point" if len(p) else NO_IMAGES
            sensitivity = specificity = Figure(value=None, n=0, undefined=reason)
        else:
            sensitivity = _ratio(
                positive * called, positive, groups, counts, "fewer than one image of the class expected"
            )
            specificity = _ratio(
                negative * ~called, negative, groups, counts, "fewer than one image without it expected"
            )
        figures.append(
            ClassFigures(
                name=name,
                positives=float(positive.sum()),
                negatives=float(negative.sum()),
                called=0 if called is None else int(called.sum()),
                sensitivity=sensitivity,
                specificity=specificity,
            )
        )
    return tuple(figures)


def _ratio(
    hits: Floats,
    of: Floats,
    groups: NDArray[np.int64],
    counts: Counts | None,
    undefined: str,
    least: float = LEAST_EXPECTED,
) -> Figure:
    """Sum of hits over sum of `of`, with the percentile interval of the resamples."""
    if of.sum() < least:
        return Figure(value=None, n=0, undefined=undefined)
    value = float(hits.sum() / of.sum())
    if counts is None or counts.shape[1] < 2:
        return Figure(value=value, n=round(of.sum()))
    above, below = (_resampled_sums(per_image, groups, counts) for per_image in (hits, of))
    return _with_interval(value, above[below > 0] / below[below > 0], round(of.sum()))


def _resampled_sums(per_image: Floats, groups: NDArray[np.int64], counts: Counts) -> Floats:
    """(resamples,) the sum over the images of the groups drawn."""
    of_group = np.zeros(counts.shape[1])
    np.add.at(of_group, groups, per_image)
    return np.array([row @ of_group for row in counts])


def _with_interval(value: float, resampled: Floats, n: int) -> Figure:
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Figure(value=value, low=float(low), high=float(high), n=n, method="group-bootstrap")


def _accuracies(
    p: Floats,
    groups: NDArray[np.int64],
    counts: Counts,
    reference: pd.DataFrame,
    class_names: Sequence[str],
    multi_label: bool,
    rng: np.random.Generator,
) -> tuple[Figure, Figure, float | None]:
    """Expected accuracy by CBPE and by ATC, and ATC's threshold."""
    if multi_label or not len(p):
        reason = NO_IMAGES if not multi_label else "several classes may be true at once"
        undefined = Figure(value=None, n=0, undefined=reason)
        return undefined, undefined, None
    confidence = p.max(axis=1)
    accuracy = _ratio(confidence, np.ones(len(p)), groups, counts, NO_IMAGES)
    known = reference[reference["label"].isin(class_names)] if "label" in reference else reference[:0]
    if known.empty:
        return accuracy, Figure(value=None, n=0, undefined="the reference has no labels"), None
    columns = known[probability_columns(class_names)].to_numpy(np.float64)
    right = np.asarray(class_names)[columns.argmax(axis=1)] == known["label"].to_numpy(dtype=str)
    source = _Source.of(columns.max(axis=1), right, _groups(known))
    threshold = source.threshold(None)
    drawn = _resampled(source.groups, len(counts), rng)
    estimates = np.empty(len(counts))
    for row, (of_source, of_window) in enumerate(zip(drawn, counts, strict=True)):
        above = confidence >= source.threshold(of_source)
        weights = of_window[groups]
        estimates[row] = weights[above].sum() / weights.sum()
    value = float((confidence >= threshold).mean())
    atc = _with_interval(value, estimates, len(p)) if counts.shape[1] > 1 else Figure(value=value, n=len(p))
    return accuracy, atc, threshold if np.isfinite(threshold) else None


class _Source:
    """The labelled images ATC learns its threshold from, sorted by confidence once for all resamples."""

    def __init__(self, confidence: Floats, right: NDArray[np.bool_], groups: NDArray[np.int64]) -> None:
        self.confidence, self.right, self.groups = confidence, right, groups

    @classmethod
    def of(cls, confidence: Floats, right: NDArray[np.bool_], groups: NDArray[np.int64]) -> _Source:
        order = np.argsort(confidence, kind="stable")
        return cls(confidence[order], right[order], groups[order])

    def threshold(self, counts: Counts | None) -> float:
        """The confidence below which as large a share lies as was wrong; infinite where all were wrong."""
        weight = np.ones(len(self.right)) if counts is None else counts[self.groups].astype(np.float64)
        below = np.cumsum(weight)
        wrong = weight[~self.right].sum()
        first = int(np.searchsorted(below, wrong + 1e-9, side="left"))
        return float(self.confidence[first]) if first < len(below) else float("inf")


def _on_reference(
    reference: pd.DataFrame, class_names: Sequence[str], points: Mapping[str, float], *, multi_label: bool
) -> tuple[tuple[ClassFigures, ...], tuple[ClassFigures, ...], tuple[str, ...]]:
    """The estimate on the reference, what its labels say, and a note where the two are far apart."""
    if reference.empty or "label" not in reference or not calls_of(reference, class_names, points):
        return (), (), ("The estimate was not checked on the reference: it has no labels or no operating points.",)
    p = reference[probability_columns(class_names)].to_numpy(np.float64)
    unknown = reference.get("unknown_classes", pd.Series("", index=reference.index))
    truth = truth_table(reference["label"], unknown, class_names, multi_label=multi_label)
    estimated = _expected_classes(p, reference, class_names, points, _groups(reference), None)
    measured = measured_classes(truth, calls_of(reference, class_names, points), class_names)
    notes = []
    for expected, found in zip(estimated, measured, strict=True):
        for what in ("sensitivity", "specificity"):
            one, other = getattr(expected, what).value, getattr(found, what).value
            if one is not None and other is not None and abs(one - other) > WORTH_A_NOTE:
                notes.append(
                    f"On the reference the {what} for {expected.name} was estimated as {one:.2f} and measured as "
                    f"{other:.2f}: expect an error of this size here."
                )
    return estimated, measured, tuple(notes)
