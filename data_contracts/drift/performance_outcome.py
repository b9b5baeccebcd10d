"""Performance of a window where labels have arrived: counted at the frozen operating points, with Wilson intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_contracts.drift.performance import ClassFigures, Figure, OutcomePerformance
from data_contracts.errors import UsageProblem
from data_contracts.expectations.window import PROBABILITY, probability_columns
from data_contracts.ontology import NO_CLASS, join_classes, split_classes
from data_contracts.targets import NEGATIVE, POSITIVE, truth_table

CALL = "call_"  # + class name: "positive", "negative", or "" where the class has no operating point
CALLED = "positive"
LABEL_COLUMNS = ("image_id", "label")
_NAMED = 5

Calls = dict[str, NDArray[np.bool_]]


def measure_performance(
    window: pd.DataFrame,
    labels: pd.DataFrame,
    class_names: Sequence[str],
    *,
    operating_points: Mapping[str, float] | None = None,
    multi_label: bool = False,
) -> OutcomePerformance:
    """Sensitivity and specificity per class of the labelled images of a window, and accuracy of `predicted`.

    window: as in the prediction log; refused rows are left out. labels: image_id, label; label is a class name, or
    with several classes at once names joined by "|" or on several rows, or "none". Labels that name no class of the
    task, or name two of a single-label task, are left out and noted. Raises UsageProblem where columns are missing.
    """
    missing = [name for name in LABEL_COLUMNS if name not in labels]
    if missing:
        raise UsageProblem(
            f"The table of labels has no column {', '.join(missing)}.",
            why="Without it no label can be put to an image.",
            cure=f"Give a CSV file with the columns {','.join(LABEL_COLUMNS)}; more columns do no harm.",
        )
    window = kept_rows(window, class_names).drop_duplicates("image_id")
    truths, notes = _one_per_image(labels, class_names, multi_label=multi_label)
    labelled = window[window["image_id"].isin(truths.index)]
    cells = truths.reindex(labelled["image_id"])
    truth = truth_table(cells, pd.Series("", index=cells.index), class_names, multi_label=multi_label)
    calls = calls_of(labelled, class_names, operating_points or {})
    return OutcomePerformance(
        n=len(labelled),
        awaiting=len(window) - len(labelled),
        elsewhere=len(truths) - len(labelled),
        accuracy=_accuracy(labelled, cells, class_names, multi_label=multi_label),
        classes=measured_classes(truth, calls, class_names),
        notes=(*notes, *_selection_note(len(labelled), len(window))),
    )


def kept_rows(frame: pd.DataFrame, class_names: Sequence[str]) -> pd.DataFrame:
    """Rows with a probability for every class, which leaves the refused ones out."""
    columns = probability_columns(class_names)
    if any(name not in frame for name in columns):
        return frame[:0].reindex(columns=[*frame.columns, *(name for name in columns if name not in frame)])
    answered = np.isfinite(frame[columns].to_numpy(np.float64)).all(axis=1)
    kept: pd.DataFrame = frame.loc[answered]
    return kept


def calls_of(frame: pd.DataFrame, class_names: Sequence[str], operating_points: Mapping[str, float]) -> Calls:
    """Class -> (n,) called positive, for the classes that have an operating point."""
    calls: Calls = {}
    for name in class_names:
        if CALL + name in frame:
            said = frame[CALL + name].astype(str).to_numpy(dtype=str)
            if len(said) and (said != "").all():
                calls[name] = said == CALLED
        elif name in operating_points:
            calls[name] = frame[PROBABILITY + name].to_numpy(np.float64) >= operating_points[name]
    return calls


def measured_classes(
    truth: NDArray[np.int8], calls: Calls, class_names: Sequence[str]
) -> tuple[ClassFigures, ...]:
    """Sensitivity and specificity of each class, from (n, K) truths as `truth_table` gives them; an unknown cell counts
    on neither side."""
    figures = []
    for k, name in enumerate(class_names):
        has, has_not = truth[:, k] == POSITIVE, truth[:, k] == NEGATIVE
        called = calls.get(name)
        if called is None:
            sensitivity = specificity = Figure(value=None, n=0, undefined="the class has no operating point")
        else:
            sensitivity = proportion(int((has & called).sum()), int(has.sum()), "no labelled image has the class")
            specificity = proportion(
                int((has_not & ~called).sum()), int(has_not.sum()), "no labelled image is without the class"
            )
        figures.append(
            ClassFigures(
                name=name,
                positives=int(has.sum()),
                negatives=int(has_not.sum()),
                called=0 if called is None else int(called.sum()),
                sensitivity=sensitivity,
                specificity=specificity,
            )
        )
    return tuple(figures)


def proportion(successes: int, n: int, undefined: str) -> Figure:
    """Share of successes with its Wilson interval, or Clopper-Pearson where none or all of the n succeed."""
    from statsmodels.stats.proportion import proportion_confint

    if n == 0:
        return Figure(value=None, n=0, undefined=undefined)
    method = ("beta", "clopper-pearson") if successes in (0, n) else ("wilson", "wilson")
    low, high = proportion_confint(successes, n, alpha=0.05, method=method[0])
    return Figure(value=successes / n, low=float(low), high=float(high), n=n, method=method[1])


def _one_per_image(
    labels: pd.DataFrame, class_names: Sequence[str], *, multi_label: bool
) -> tuple[pd.Series[str], list[str]]:
    """Label cells by image_id, as the Catalog writes them, and notes about labels left out."""
    known = {*class_names, NO_CLASS} if multi_label else set(class_names)
    rows = labels.loc[labels["label"].notna(), list(LABEL_COLUMNS)].astype(str)
    named = rows.assign(label=rows["label"].str.split("|")).explode("label")
    named["label"] = named["label"].str.strip()
    named = named[named["label"] != ""].drop_duplicates()
    strange = named[~named["label"].isin(known)]
    named = named[~named["image_id"].isin(strange["image_id"])]
    cells = named.groupby("image_id")["label"].agg(
        lambda given: join_classes([c for c in class_names if c in set(given)])
    )
    notes = []
    if len(strange):
        names = ", ".join(repr(name[:40]) for name in sorted(strange["label"].unique())[:_NAMED])
        notes.append(f"{strange['image_id'].nunique()} labels were left out: {names} is no class of the model.")
    if not multi_label:
        several = cells[cells.map(lambda cell: len(split_classes(cell)) > 1)]
        cells = cells.drop(several.index)
        if len(several):
            notes.append(f"{len(several)} images were left out: they were given two different labels.")
    return cells.astype(str), notes


def _accuracy(
    labelled: pd.DataFrame, cells: pd.Series[str], class_names: Sequence[str], *, multi_label: bool
) -> Figure:
    if multi_label:
        return Figure(value=None, n=0, undefined="several classes may be true at once")
    best = labelled[probability_columns(class_names)].to_numpy(np.float64)
    predicted = np.asarray(class_names)[best.argmax(axis=1)] if len(best) else np.asarray([], dtype=str)
    right = int((predicted == cells.to_numpy(dtype=str)).sum())
    return proportion(right, len(labelled), "no image of the window has a label yet")


def _selection_note(labelled: int, scored: int) -> list[str]:
    if not 0 < labelled < scored:
        return []
    return [
        f"{labelled} of {scored} scored images have a label. Where only suspicious images get one, these figures are "
        "not those of the whole window."
    ]
