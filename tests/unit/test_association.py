"""The association of classes with sources is measured without the bias of small tables, and undefined where it is."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats.contingency import association

from data_contracts.association import class_source_association, corrected_cramers_v


def rows(counts: dict[tuple[str, str], int], split: str = "train") -> pd.DataFrame:
    cells = [(label, source, split) for (label, source), n in counts.items() for _ in range(n)]
    return pd.DataFrame(cells, columns=["label", "source", "split"])


def test_the_correction_follows_bergsma_2013() -> None:
    """By hand for a 2 x 3 table: the raw V is scipy's, and each of the three corrected terms is taken from it."""
    table = np.array([[30, 10, 5], [10, 20, 25]])
    n = table.sum()
    raw = association(table, method="cramer", correction=False)
    phi_squared = raw**2 * 1 - (2 - 1) * (3 - 1) / (n - 1)  # raw V² times min(r, c) - 1 is phi²
    smaller_side = 2 - (2 - 1) ** 2 / (n - 1)
    value, undefined = corrected_cramers_v(pd.DataFrame(table))
    assert undefined == ""
    assert value == pytest.approx(math.sqrt(phi_squared / (smaller_side - 1)))
    assert value < raw


def test_the_correction_vanishes_in_large_tables() -> None:
    table = np.array([[300, 100], [100, 200]])
    raw = association(table * 1000, method="cramer", correction=False)
    assert corrected_cramers_v(pd.DataFrame(table * 1000))[0] == pytest.approx(raw, abs=1e-5)


def test_counts_by_chance_show_no_association_where_the_raw_measure_does() -> None:
    rng = np.random.default_rng(0)
    tables = [rng.multinomial(40, [1 / 12] * 12).reshape(4, 3) for _ in range(200)]
    corrected = [corrected_cramers_v(pd.DataFrame(table))[0] for table in tables]
    raw = [association(table, method="cramer", correction=False) for table in tables]
    assert np.mean(raw) > 0.25
    assert np.mean([value for value in corrected if value is not None]) < 0.1


def test_a_class_for_each_source_is_fully_associated_and_fails() -> None:
    found = class_source_association(rows({("normal", "a"): 50, ("covid19", "b"): 50}))
    assert found.cramers_v == pytest.approx(1)
    assert (found.verdict, found.single_source_classes) == ("fail", ["covid19", "normal"])


@pytest.mark.parametrize(("moved", "verdict"), [(0, "pass"), (15, "warn"), (35, "fail")])
def test_the_verdict_follows_the_strength(moved: int, verdict: str) -> None:
    counts = {("normal", "a"): 50 + moved, ("normal", "b"): 50 - moved}
    counts |= {("covid19", "a"): 50 - moved, ("covid19", "b"): 50 + moved}
    found = class_source_association(rows(counts))
    assert (found.verdict, found.single_source_classes) == (verdict, [])
    assert found.table == {
        "covid19": {"a": 50 - moved, "b": 50 + moved},
        "normal": {"a": 50 + moved, "b": 50 - moved},
    }


@pytest.mark.parametrize(
    ("counts", "reason", "verdict"),
    [
        ({("normal", "a"): 5, ("covid19", "a"): 5}, "only one source", "pass"),
        ({("normal", "a"): 5, ("normal", "b"): 5}, "only one class", "pass"),
        ({("normal", "a"): 1, ("covid19", "b"): 1}, "too few images (2) for 2 classes and 2 sources", "warn"),
        ({}, "no images", "pass"),
    ],
)
def test_what_cannot_be_measured_is_undefined_with_the_reason(
    counts: dict[tuple[str, str], int], reason: str, verdict: str
) -> None:
    found = class_source_association(rows(counts))
    assert (found.cramers_v, found.undefined, found.verdict) == (None, reason, verdict)


def test_one_source_makes_no_class_a_single_source_class() -> None:
    assert class_source_association(rows({("normal", "a"): 5, ("covid19", "a"): 5})).single_source_classes == []


def test_external_and_unused_images_do_not_count() -> None:
    frame = pd.concat(
        [rows({("normal", "a"): 5}), rows({("normal", "b"): 5}, "external"), rows({("", "c"): 5}, "")]
    )
    assert class_source_association(frame).table == {"normal": {"a": 5}}


def test_an_image_of_several_classes_counts_for_each() -> None:
    found = class_source_association(rows({("mass|nodule", "a"): 3, ("nodule", "b"): 2, ("none", "a"): 1}))
    assert found.table == {"mass": {"a": 3, "b": 0}, "nodule": {"a": 3, "b": 2}, "none": {"a": 1, "b": 0}}
    assert (found.images, found.single_source_classes) == (6, ["mass"])
