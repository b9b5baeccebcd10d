"""The same thresholds in subgroups of the images: by age, sex, view, source, format, size and label provenance.

What a subgroup is too small to show is not printed, and what the data do not hold is named as not evaluated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_contracts.errors import DataGateError
from data_contracts.ontology import Task
from models.evaluation.bootstrap import Groups, Statistic, bootstrap, difference, ratio, stack
from models.evaluation.calibration import expected_calibration_error, reliability_curve
from models.evaluation.class_evaluation import area, rates_at
from models.evaluation.intervals import proportion
from models.evaluation.predictions import Predictions
from models.evaluation.results import (
    ClassSubgroups,
    Estimate,
    OperatingPoint,
    SubgroupReading,
    SubgroupTable,
    WorstGroup,
)
from models.evaluation.settings import EvaluationSettings

# A subgroup whose sensitivity may lie further below that of all images is not served as they are.
LARGEST_GAP = 0.10
# The ages at which chest disease and the look of a chest change, in whole years: child, adolescent, adult, old.
AGE_BANDS = {
    "under 5 years": 0,
    "5 to 17 years": 5,
    "18 to 40 years": 18,
    "41 to 60 years": 41,
    "61 to 75 years": 61,
    "over 75 years": 76,
}
# Longer side in pixels; a small picture was made smaller by somebody.
SIZE_BANDS = {
    "under 512 pixels": 1,
    "512 to 1,023 pixels": 512,
    "1,024 to 2,047 pixels": 1024,
    "2,048 pixels and more": 2048,
}


@dataclass(frozen=True, slots=True)
class Property:
    """One way to divide images: the subgroup of each from the catalog's columns, "" where it is not known.

    expected: subgroups that are named as not evaluated where no image is in them.
    """

    by: str
    title: str
    of_image: Callable[[pd.DataFrame], pd.Series[str]]
    expected: tuple[str, ...] = ()


def _bands(values: pd.Series[float], bands: Mapping[str, float]) -> pd.Series[str]:
    """The band of each value by its lower end; "" for what is not known or below the first."""
    names = ["", *bands]
    index = np.searchsorted(list(bands.values()), values.fillna(-1), side="right")
    return pd.Series([names[i] for i in index], index=values.index, dtype="str")


PROPERTIES = (
    Property("age", "Age at examination", lambda frame: _bands(frame["age"], AGE_BANDS), tuple(AGE_BANDS)),
    Property("sex", "Sex", lambda frame: frame["sex"], ("F", "M")),
    Property("view", "View", lambda frame: frame["view"], ("AP", "PA")),
    Property("source", "Source", lambda frame: frame["source"]),
    Property(
        "format",
        "File format and colour mode",
        lambda frame: (frame["format"] + " " + frame["mode"]).where(frame["format"] != "", ""),
    ),
    Property(
        "size",
        "Longer side of the image",
        lambda frame: _bands(frame[["width", "height"]].max(axis=1), SIZE_BANDS),
    ),
    Property("label_method", "Where the label comes from", lambda frame: frame["label_method"]),
)


def subgroups(
    predictions: Predictions,
    catalog: pd.DataFrame,
    *,
    task: Task,
    operating_points: Mapping[str, OperatingPoint],
    split: str = "test",
    settings: EvaluationSettings,
) -> list[SubgroupTable]:
    """One table per property of PROPERTIES for one split of the predictions.

    catalog: the Catalog's kept rows of at least these images, joined by image_id. A subgroup of a class with fewer
    than settings.minimum_positives positives or negatives is named and not measured. Raises DataGateError where an
    image is not in the catalog or is there twice.
    """
    chosen = predictions.of_split(split)
    ids = chosen.frame["image_id"]
    known_images = catalog.set_index("image_id")
    if not known_images.index.is_unique or not ids.isin(known_images.index).all():
        raise DataGateError(
            f"Of {len(ids)} predicted images {int((~ids.isin(known_images.index)).sum())} are not in the catalog, and "
            f"{int(known_images.index.duplicated().sum())} of its images are there twice.",
            why="The tables would speak of other images than the evaluation.",
            cure="Give the kept rows of the catalog that the predictions were made from.",
        )
    read = _Split(
        truth=chosen.truth,
        probabilities=chosen.probabilities,
        groups=Groups.of(chosen.frame["group_id"]),
        thresholds=[
            operating_points[name].threshold if name in operating_points else None for name in task.class_names
        ],
        settings=settings,
    )
    described = known_images.loc[ids].reset_index()
    tables = [_table(read, one, one.of_image(described), task) for one in PROPERTIES]
    return _with_worst_groups(tables, read, [one.of_image(described).to_numpy() for one in PROPERTIES])


@dataclass(frozen=True, slots=True)
class _Split:
    truth: NDArray[np.int8]
    probabilities: NDArray[np.float64]
    groups: Groups
    thresholds: list[float | None]
    settings: EvaluationSettings


def _table(read: _Split, one: Property, of_image: pd.Series[str], task: Task) -> SubgroupTable:
    n = {str(name): int(count) for name, count in of_image[of_image != ""].value_counts().items()}
    found = [name for name in one.expected if name in n] + sorted(set(n) - set(one.expected))
    why_not = ""
    if len(of_image) == 0:
        why_not = "no image in this split"
    elif not found:
        why_not = f"of no image of this split the {one.by.replace('_', ' ')} is known"
    return SubgroupTable(
        by=one.by,
        title=one.title,
        n={name: n[name] for name in found},
        not_evaluated=[name for name in one.expected if name not in n],
        n_unknown=int((of_image == "").sum()),
        classes=[
            ClassSubgroups(
                name=task_class.name,
                title=task_class.title,
                readings=[_reading(read, k, (of_image == name).to_numpy(), name) for name in found],
                worst=None,
            )
            for k, task_class in enumerate(task.classes)
        ],
        why_not=why_not,
    )


def _reading(read: _Split, k: int, inside: NDArray[np.bool_], name: str) -> SubgroupReading:
    known = inside & (read.truth[:, k] >= 0)
    positive, scores = read.truth[known, k] == 1, read.probabilities[known, k]
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    minimum = read.settings.minimum_positives
    sensitivity, specificity, _, _ = rates_at(read.thresholds[k], positive, scores)
    auc = area(positive, scores, read.groups.within(known))
    enough = min(n_positive, n_negative) >= minimum
    if not enough:
        nothing = Estimate(
            value=None,
            n=len(positive),
            undefined=f"{n_positive} positive and {n_negative} negative images; at least {minimum} of each are needed",
        )
        sensitivity = specificity = auc = nothing
    return SubgroupReading(
        group=name,
        n_positive=n_positive,
        n_negative=n_negative,
        prevalence=proportion(n_positive, len(positive), undefined="of no image is it known"),
        roc_auc=auc,
        sensitivity=sensitivity,
        specificity=specificity,
        ece=expected_calibration_error(reliability_curve(positive, scores)) if enough else None,
    )


def _with_worst_groups(
    tables: Sequence[SubgroupTable], read: _Split, of_image: Sequence[NDArray[np.object_]]
) -> list[SubgroupTable]:
    """The tables with the worst subgroup of each class, all gaps from the same resamples."""
    worst: dict[tuple[int, int], SubgroupReading] = {}
    statistics = []
    for t, table in enumerate(tables):
        for k, of_class in enumerate(table.classes):
            found, threshold = _lowest_sensitivity(of_class.readings), read.thresholds[k]
            if found is None or threshold is None:
                continue
            worst[t, k] = found
            readable = {one.group for one in of_class.readings if one.sensitivity.value is not None}
            everywhere = np.isin(of_image[t], sorted(readable))
            statistics.append(_gap(read, k, threshold, everywhere, of_image[t] == found.group))
    if not worst:
        return list(tables)
    gaps = bootstrap(
        stack(*statistics),
        read.groups,
        n=[found.n_positive for found in worst.values()],
        resamples=read.settings.bootstrap_resamples,
        seed=read.settings.seed,
    )
    stated = dict(zip(worst, gaps, strict=True))
    return [
        table.model_copy(
            update={
                "classes": [
                    of_class.model_copy(update={"worst": _worst(worst[t, k].group, stated[t, k])})
                    if (t, k) in worst
                    else of_class
                    for k, of_class in enumerate(table.classes)
                ]
            }
        )
        for t, table in enumerate(tables)
    ]


def _lowest_sensitivity(readings: Sequence[SubgroupReading]) -> SubgroupReading | None:
    """The first of the lowest; None where fewer than two subgroups have a sensitivity."""
    measured = [(one.sensitivity.value, i) for i, one in enumerate(readings) if one.sensitivity.value is not None]
    return readings[min(measured)[1]] if len(measured) > 1 else None


def _gap(
    read: _Split, k: int, threshold: float, readable: NDArray[np.bool_], inside: NDArray[np.bool_]
) -> Statistic:
    """Sensitivity over all readable subgroups minus that of one of them."""
    positive = read.truth[:, k] == 1
    hit = positive & (read.probabilities[:, k] >= threshold)
    everywhere = ratio(hit & readable, positive & readable, read.groups)
    return difference(everywhere, ratio(hit & inside, positive & inside, read.groups))


def _worst(group: str, gap: Estimate) -> WorstGroup:
    # Only an interval that holds 0 excuses a gap; where there is none, nothing does.
    too_wide = gap.value is not None and gap.value > LARGEST_GAP and (gap.low is None or gap.low > 0)
    return WorstGroup(group=group, gap=gap, too_wide=too_wide)
