"""Intervals of proportions against published cases."""

from __future__ import annotations

import pytest
from statsmodels.stats.proportion import proportion_confint

from models.evaluation.intervals import proportion


# Newcombe 1998, Statistics in Medicine 17:857.
@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (1, 29, 0.0061, 0.1718)],
)
def test_a_proportion_has_the_published_wilson_interval(successes: int, n: int, low: float, high: float) -> None:
    estimate = proportion(successes, n, undefined="")
    assert estimate.method == "wilson"
    assert estimate.n == n
    assert estimate.value == successes / n
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=5e-5)


def test_none_of_twenty_has_the_published_clopper_pearson_interval() -> None:
    estimate = proportion(0, 20, undefined="")
    assert estimate.method == "clopper-pearson"
    assert (estimate.value, estimate.low) == (0, 0)
    assert estimate.high == pytest.approx(0.1684, abs=5e-5)


def test_all_of_twenty_mirrors_none_of_twenty() -> None:
    none, every = proportion(0, 20, undefined=""), proportion(20, 20, undefined="")
    assert (every.low, every.high) == pytest.approx((1 - none.high, 1), abs=1e-12)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2527, 0.3676), (15, 148, 0.0578, 0.1617), (0, 20, 0, 0.1684), (1, 29, 0.0009, 0.1776)],
)
def test_the_library_agrees_with_the_published_clopper_pearson_table(
    successes: int, n: int, low: float, high: float
) -> None:
    assert proportion_confint(successes, n, method="beta") == pytest.approx((low, high), abs=5e-5)


def test_a_share_of_nothing_is_undefined_with_its_reason() -> None:
    estimate = proportion(0, 0, undefined="no image is called positive")
    assert (estimate.value, estimate.low, estimate.high) == (None, None, None)
    assert estimate.undefined == "no image is called positive"
