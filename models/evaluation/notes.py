"""The sentences of an evaluation that a reviewer must read beside the numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.evaluation.results import ClassEvaluation, OverallCalibration


def reviewer_notes(
    frame: pd.DataFrame,
    truth: NDArray[np.int8],
    classes: Sequence[ClassEvaluation],
    split: str,
    *,
    multi_label: bool = False,
) -> list[str]:
    """What limits the reading of one split, most general first.

    frame: predictions of that split (group_id, patient, source). truth (n, K): 1, 0, -1 unknown, in the order of
    classes, which are their evaluation.
    """
    if frame.empty:
        return [f"Split {split} holds no image; nothing could be measured."]
    return [
        *_notes_on_all_images(frame),
        *(_notes_on_the_mean(classes) if multi_label else []),
        *(note for one in classes for note in _notes_on_class(one, split)),
        *_notes_on_sources(frame["source"], truth, classes),
    ]


def temperature_notes(temperature: float, calibrated: Sequence[OverallCalibration]) -> list[str]:
    """What a temperature changed. calibrated: with it and, where it is not 1, without it."""
    losses = [one.log_loss.value for one in calibrated]
    if len(losses) < 2 or losses[0] is None:
        return []
    return [
        f"Probabilities are those of logits divided by {temperature:.3g}, a temperature fitted on validation; the log "
        f"loss here is {losses[0]:.4f} with it and {losses[1]:.4f} without."
    ]


def _notes_on_all_images(frame: pd.DataFrame) -> list[str]:
    n, n_groups = len(frame), frame["group_id"].nunique()
    consequence = "" if n_groups == n else ", so these intervals are too narrow; those of the AUC resample groups"
    notes = [
        f"Intervals of sensitivity, specificity, PPV, NPV and accuracy treat the {n} images as independent; "
        f"they form {n_groups} identity groups{consequence}.",
        "PPV and NPV hold for the class shares of this split, not for those of a clinic.",
    ]
    nameless = int((frame["patient"] == "").sum())
    if nameless:
        notes.append(
            f"{nameless} of {n} images ({nameless / n:.0%}) carry no patient id; for them grouping rests on "
            "the picture alone, and two examinations of one patient may count as independent."
        )
    return notes


def _notes_on_the_mean(classes: Sequence[ClassEvaluation]) -> list[str]:
    """A mean over fewer classes is another number than the mean over all of them."""
    without = [one.title for one in classes if one.roc_auc.value is None]
    if not without:
        return []
    measured = len(classes) - len(without)
    return [f"The macro AUC is the mean over {measured} of {len(classes)} classes, without {', '.join(without)}."]


def _notes_on_class(one: ClassEvaluation, split: str) -> list[str]:
    notes = []
    if one.n_unknown:
        n = one.n_positive + one.n_negative + one.n_unknown
        notes.append(
            f"{one.title}: of {one.n_unknown} of {n} images it is not known whether they show it; they count "
            "neither way."
        )
    if one.n_positive == 0:
        notes.append(f"{one.title}: split {split} holds no image of it, so it was not evaluated.")
    elif one.judgement == "too few to judge" and one.operating_point is not None:
        notes.append(
            f"{one.title}: {one.n_positive} positive images from {one.positive_groups} identity groups and "
            f"{one.n_negative} negatives are too few to judge; read its numbers as anecdotes."
        )
    point = one.operating_point
    if point is None:
        notes.append(f"{one.title}: validation holds no image of it, so it has no operating point.")
    elif not point.assured:
        notes.append(f"{one.title}: the operating point is not assured. {point.note}")
    if one.roc_auc.method.startswith("no interval"):
        notes.append(f"{one.title}: its AUC has {one.roc_auc.method}.")
    return notes


def _notes_on_sources(
    sources: pd.Series[str], truth: NDArray[np.int8], classes: Sequence[ClassEvaluation]
) -> list[str]:
    """A class that only one of several sources holds may be recognised by that source's look."""
    if len(set(sources)) == 1:
        return [
            f"All images come from one source ({sources.iloc[0]}); nothing here shows how the model "
            "does on pictures from elsewhere."
        ]
    notes = []
    for k, one in enumerate(classes):
        holding = sources[truth[:, k] == 1].unique()
        if len(holding) != 1:
            continue
        (source,) = holding
        if (truth[sources == source, k] == 0).any():
            notes.append(
                f"{one.title}: all its images come from {source}; nothing here shows that it would be "
                "recognised in pictures from elsewhere."
            )
        else:
            notes.append(
                f"{one.title}: all its images come from {source}, which holds none without it; it cannot be "
                "told apart from its source."
            )
    return notes
