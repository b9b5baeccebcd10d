"""Subgroups: the bands, what is too small to show, what is not there, and how far the worst lies below."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from data_contracts.catalog import Catalog
from data_contracts.errors import DataGateError
from data_contracts.ontology import Task, TaskClass
from models.evaluation.intervals import proportion
from models.evaluation.predictions import Predictions
from models.evaluation.results import ClassSubgroups, OperatingPoint, SubgroupTable
from models.evaluation.settings import EvaluationSettings
from models.evaluation.subgroups import subgroups

TASK = Task("t", "t", (TaskClass("ill", "Ill", ("a",)), TaskClass("well", "Well", ("b",))))
QUICK = EvaluationSettings(bootstrap_resamples=300)
N = 400


def _point(threshold: float) -> OperatingPoint:
    found = proportion(96, 100, undefined="")
    return OperatingPoint(
        threshold=threshold, target_sensitivity=0.95, sensitivity=found, specificity=found, assured=True
    )


def _catalog(n: int = N, **columns: object) -> pd.DataFrame:
    """Half of the images ill, in turn."""
    return Catalog.of(
        pd.DataFrame(
            {
                "file": [f"{i:04d}.png" for i in range(n)],
                "image_id": [f"i{i:04d}" for i in range(n)],
                "group_id": [f"g{i // 2:04d}" for i in range(n)],
                "source": "here",
                "row": np.arange(n),
                "label": np.where(np.arange(n) % 2, "well", "ill"),
                "split": "test",
            }
        ).assign(**columns)
    ).frame


def _predictions(catalog: pd.DataFrame, p_ill: np.ndarray | None = None) -> Predictions:
    if p_ill is None:
        p_ill = np.clip(0.25 + 0.5 * (catalog["label"] == "ill") + np.linspace(-0.3, 0.3, len(catalog)), 0, 1)
    return Predictions.of(catalog, np.stack([p_ill, 1 - p_ill], axis=1), TASK.class_names)


def _tables(catalog: pd.DataFrame, p_ill: np.ndarray | None = None, **changes: object) -> dict[str, SubgroupTable]:
    arguments = {
        "task": TASK,
        "operating_points": {"ill": _point(0.5), "well": _point(0.5)},
        "settings": QUICK,
    } | changes
    return {one.by: one for one in subgroups(_predictions(catalog, p_ill), catalog, **arguments)}


def _ill(table: SubgroupTable) -> ClassSubgroups:
    return table.classes[0]


@pytest.mark.parametrize(
    ("age", "band"),
    [
        (0.0, "under 5 years"),
        (4.9, "under 5 years"),
        (5, "5 to 17 years"),
        (17.9, "5 to 17 years"),
        (18, "18 to 40 years"),
        (40.9, "18 to 40 years"),
        (41, "41 to 60 years"),
        (61, "61 to 75 years"),
        (75.9, "61 to 75 years"),
        (76, "over 75 years"),
        (99, "over 75 years"),
    ],
)
def test_an_age_belongs_to_one_band(age: float, band: str) -> None:
    table = _tables(_catalog(age=age))["age"]
    assert table.n == {band: N}
    assert len(table.not_evaluated) == 5
    assert band not in table.not_evaluated


def test_each_subgroup_is_measured_on_its_own_images() -> None:
    view = np.where(np.arange(N) % 4 < 2, "AP", "PA")
    catalog = _catalog(view=view)
    table = _tables(catalog)["view"]
    assert table.n == {"AP": 200, "PA": 200}
    probabilities = _predictions(catalog).probabilities[:, 0]
    for reading in _ill(table).readings:
        inside = view == reading.group
        ill = (catalog["label"] == "ill").to_numpy()[inside]
        assert (reading.n_positive, reading.n_negative) == (100, 100)
        assert reading.prevalence.value == 0.5
        assert reading.roc_auc.value == pytest.approx(roc_auc_score(ill, probabilities[inside]))
        assert reading.roc_auc.method.startswith("obuchowski")  # two images to a group
        assert reading.sensitivity.value == pytest.approx((probabilities[inside][ill] >= 0.5).mean())
        assert 0 <= reading.ece <= 1


def test_a_small_subgroup_is_named_and_not_printed() -> None:
    sex = np.where(np.arange(N) < 38, "F", "M")  # 19 of each class
    few, many = _ill(_tables(_catalog(sex=sex))["sex"]).readings
    assert (few.group, few.n_positive, few.n_negative) == ("F", 19, 19)
    assert few.sensitivity.undefined == "19 positive and 19 negative images; at least 20 of each are needed"
    assert (few.roc_auc.value, few.specificity.value, few.ece) == (None, None, None)
    assert many.sensitivity.value is not None


def test_what_the_data_do_not_hold_is_not_evaluated() -> None:
    tables = _tables(_catalog(sex=["F"] * 300 + [""] * 100))
    assert (tables["sex"].n, tables["sex"].not_evaluated, tables["sex"].n_unknown) == ({"F": 300}, ["M"], 100)
    assert _ill(tables["sex"]).worst is None
    assert tables["view"].why_not == "of no image of this split the view is known"
    assert tables["view"].not_evaluated == ["AP", "PA"]
    assert tables["label_method"].why_not == "of no image of this split the label method is known"
    assert len(tables["age"].not_evaluated) == 6


def test_formats_and_sizes_are_told_apart() -> None:
    first = np.arange(N) < 200
    tables = _tables(
        _catalog(
            format=np.where(first, "PNG", "JPEG"),
            mode=np.where(first, "L", "RGB"),
            width=np.where(first, 1024, 299),
            height=np.where(first, 511, 299),
        )
    )
    assert tables["format"].n == {"JPEG RGB": 200, "PNG L": 200}
    assert tables["size"].n == {"1,024 to 2,047 pixels": 200, "under 512 pixels": 200}


def test_the_worst_subgroup_lies_as_far_below_all_as_it_does() -> None:
    source = np.where(np.arange(N) < 100, "elsewhere", "here")
    ill = np.arange(N) % 2 == 0
    missed = ill & (source == "elsewhere") & (np.arange(N) % 4 == 0)
    worst = _ill(_tables(_catalog(source=source), np.where(ill & ~missed, 0.9, 0.2))["source"]).worst
    assert worst.group == "elsewhere"
    assert worst.gap.value == pytest.approx(175 / 200 - 0.5)
    assert worst.gap.low < worst.gap.value < worst.gap.high
    assert worst.too_wide


def test_a_gap_that_may_be_chance_is_not_too_wide() -> None:
    source = np.where(np.arange(N) < 44, "elsewhere", "here")  # 22 ill images
    ill = np.arange(N) % 2 == 0
    missed = ill & (np.arange(N) < 6)  # 3 of them, all from 3 groups
    chance = _ill(_tables(_catalog(source=source), np.where(ill & ~missed, 0.9, 0.2))["source"]).worst
    assert 0.10 < chance.gap.value < 0.15
    assert not chance.too_wide


def test_a_gap_without_an_interval_is_not_excused_by_one() -> None:
    source = np.where(np.arange(N) < 48, "elsewhere", "here")
    ill = np.arange(N) % 2 == 0
    two_children = np.where(ill & (np.arange(N) < 48), np.arange(N) // 24, np.arange(N) + 10)
    missed = ill & (np.arange(N) < 40)  # 20 of their 24 images
    catalog = _catalog(source=source, group_id=[f"g{group:04d}" for group in two_children])
    worst = _ill(_tables(catalog, np.where(ill & ~missed, 0.9, 0.2))["source"]).worst
    assert worst.group == "elsewhere"
    assert worst.gap.value > 0.7
    assert worst.gap.low is None
    assert worst.gap.method.endswith("resamples lack a class")
    assert worst.too_wide


def test_equal_subgroups_leave_no_gap() -> None:
    catalog = _catalog(view=np.where(np.arange(N) % 4 < 2, "AP", "PA"))
    ill = (catalog["label"] == "ill").to_numpy()
    worst = _ill(_tables(catalog, np.where(ill, 0.9, 0.2))["view"]).worst
    assert (worst.gap.value, worst.too_wide) == (0, False)


def test_a_class_without_operating_point_keeps_its_area_and_has_no_worst_subgroup() -> None:
    catalog = _catalog(view=np.where(np.arange(N) % 4 < 2, "AP", "PA"))
    ill = _ill(_tables(catalog, operating_points={"well": _point(0.5)})["view"])
    assert ill.readings[0].roc_auc.value is not None
    assert ill.readings[0].sensitivity.undefined.startswith("no operating point")
    assert ill.worst is None


def test_an_empty_split_evaluates_no_subgroup() -> None:
    tables = _tables(_catalog(sex="F"), split="external")
    assert {one.why_not for one in tables.values()} == {"no image in this split"}


def test_images_that_the_catalog_lacks_or_repeats_are_refused() -> None:
    catalog = _catalog()
    predictions = _predictions(catalog)
    arguments = {"task": TASK, "operating_points": {}, "settings": QUICK}
    with pytest.raises(DataGateError, match="5 are not in the catalog"):
        subgroups(predictions, catalog.iloc[5:], **arguments)
    with pytest.raises(DataGateError, match="1 of its images are there twice"):
        subgroups(predictions, pd.concat([catalog, catalog.iloc[:1]]), **arguments)
