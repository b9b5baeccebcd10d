"""Drift statistics agree with published numbers and with scipy, for one window and for many at once."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from data_contracts.drift.mmd import median_distance, resampled_discrepancies, squared_discrepancy, witness
from data_contracts.drift.statistics import (
    auc_deviation_without_drift,
    auc_limit,
    chi_square,
    chi_square_p,
    held_out_auc,
    holm,
    ks_distance,
    ks_distances,
    ks_limit,
    ks_p,
    more_than_before_p,
    most_without_drift,
    population_stability_index,
    psi_limit,
    psi_mean_without_drift,
)


# n -> power at alpha = .01 / 10 against a reference of 2,000, for shifts of .2, .3 and .5 standard deviations.
@pytest.mark.parametrize(
    ("n", "powers"),
    [(50, (0.02, 0.07, 0.40)), (200, (0.15, 0.58, 0.99)), (500, (0.56, 0.97, 1.0)), (1000, (0.83, 1.0, 1.0))],
)
def test_kolmogorov_smirnov_has_the_published_power(n: int, powers: tuple[float, ...]) -> None:
    rng, tries = np.random.default_rng(0), 120
    for shift, power in zip((0.2, 0.3, 0.5), powers, strict=True):
        found = 0
        for _ in range(tries):
            distance, _ = ks_distance(rng.normal(shift, size=n), rng.normal(size=2_000))
            found += bool(ks_p(abs(distance), n, 2_000) < 0.001)
        assert found / tries == pytest.approx(power, abs=3 * math.sqrt(power * (1 - power) / tries) + 0.03)


def test_psi_without_drift_has_the_published_mean_and_limits() -> None:
    rng, m = np.random.default_rng(0), 2_000
    cells = np.full(10, 0.1)
    # Images, published mean, 95 % point and share above 0.1, as far as there are any.
    for n, mean, tail, above in ((50, 0.20, None, 0.87), (100, None, None, 0.42), (200, None, 0.095, 0.04)):
        drawn = [
            population_stability_index(
                rng.multinomial(n, cells).astype(float), rng.multinomial(m, cells).astype(float)
            )
            for _ in range(1_000)
        ]
        # With few images in a cell the index lies a little above what it comes to in large windows.
        assert np.mean(drawn) == pytest.approx(psi_mean_without_drift(10, n, m), rel=0.05 + 5 / n)
        assert mean is None or np.mean(drawn) == pytest.approx(mean, abs=0.015)
        assert np.mean(np.array(drawn) > 0.1) == pytest.approx(above, abs=0.06)
        if tail is not None:
            assert psi_limit(10, n, m) == pytest.approx(tail, abs=0.0025)
            assert np.quantile(drawn, 0.95) == pytest.approx(tail, rel=0.08)
    assert psi_limit(10, 500, m) == pytest.approx(0.041, abs=0.0015)


@pytest.mark.parametrize(
    ("n", "deviation", "limit"), [(200, 0.0289, 0.567), (500, 0.0183, 0.542), (1000, 0.0129, 0.530)]
)
def test_the_auc_of_a_domain_classifier_has_the_published_spread_without_drift(
    n: int, deviation: float, limit: float
) -> None:
    assert auc_deviation_without_drift(n, n) == pytest.approx(deviation, abs=5e-5)
    assert auc_limit(n, n) == pytest.approx(limit, abs=1e-3)


def test_the_domain_classifier_is_asked_about_rows_it_has_not_seen() -> None:
    """With as many dimensions as rows a classifier that is asked about its own rows knows them all."""
    rng = np.random.default_rng(0)
    areas = [
        held_out_auc(*(rng.normal(size=(100, 90)).astype(np.float32) for _ in range(2)), seed)
        for seed in range(10)
    ]
    assert np.mean(areas) == pytest.approx(0.5, abs=0.05)
    near, far = rng.normal(size=(100, 4)), rng.normal(1, size=(100, 4))
    assert held_out_auc(far.astype(np.float32), near.astype(np.float32), 0) > 0.85


def test_distances_agree_with_scipy_for_one_window_and_for_many_with_ties() -> None:
    rng = np.random.default_rng(1)
    values = rng.integers(0, 12, 300).astype(float)
    members = rng.random((300, 40)) < 0.3
    expected = [stats.ks_2samp(values[inside], values[~inside]).statistic for inside in members.T]
    assert np.allclose(ks_distances(values, members), expected)
    one = [abs(ks_distance(values[inside], values[~inside])[0]) for inside in members.T]
    assert np.allclose(one, expected)


def test_the_sign_of_the_distance_says_where_the_window_lies() -> None:
    low, high = np.arange(10.0), np.arange(5.0, 15.0)
    assert ks_distance(high, low)[0] == 0.5
    assert ks_distance(low, high)[0] == -0.5


def test_a_shift_within_the_tolerance_is_no_distance_and_one_beyond_it_is() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, 400).round(1)
    assert ks_distance(values + 0.3, values, 0.31)[0] == ks_distance(values - 0.3, values, 0.31)[0] == 0.0
    assert ks_distance(values + 0.9, values, 0.3)[0] == pytest.approx(
        ks_distance(values + 0.6, values)[0], abs=0.02
    )
    assert ks_distance(values - 0.9, values, 0.3)[0] < -0.15
    members = rng.random((400, 30)) < 0.3
    expected = [abs(ks_distance(values[inside], values[~inside], 0.15)[0]) for inside in members.T]
    assert np.allclose(ks_distances(values, members, 0.15), expected)


def test_the_limit_of_a_distance_is_where_its_p_value_lies() -> None:
    for p in (0.05, 1e-3, 1e-20):
        assert ks_p(ks_limit(p, 200, 1_000), 200, 1_000) == pytest.approx(p, rel=1e-6)


def test_chi_square_agrees_with_scipy() -> None:
    window, reference = np.array([30.0, 50, 20]), np.array([400.0, 300, 300])
    expected = stats.chi2_contingency(np.stack([window, reference]), correction=False)
    found = chi_square(window[:, None], reference[:, None])
    assert found[0] == pytest.approx(expected.statistic)
    assert chi_square_p(found, 3)[0] == pytest.approx(expected.pvalue)


def test_a_value_the_reference_never_held_gets_fishers_exact_p_value() -> None:
    expected = stats.fisher_exact([[3, 197], [0, 2_000]], alternative="greater").pvalue
    assert more_than_before_p(3, 200, 0, 2_000) == pytest.approx(expected)
    most = most_without_drift(200, 0, 2_000, 0.002)
    assert more_than_before_p(most, 200, 0, 2_000) > 0.002 >= more_than_before_p(most + 1, 200, 0, 2_000)
    assert more_than_before_p(0, 0, 0, 0) == 1.0


def test_holm_agrees_with_statsmodels() -> None:
    from statsmodels.stats.multitest import multipletests

    p = np.array([0.01, 0.04, 0.0001, 0.03, 0.005])
    falls, limits = holm(p, 0.05)
    assert falls.tolist() == multipletests(p, 0.05, "holm")[0].tolist()
    assert limits[2] == pytest.approx(0.01)
    assert limits[1] == pytest.approx(0.05)


def test_discrepancy_is_that_of_the_definition_alone_and_for_many_windows() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 5)).astype(np.float32)
    members = rng.random((60, 8)) < 0.4
    width = median_distance(rows)
    gram = np.exp(-((rows[:, None] - rows[None]) ** 2).sum(-1).astype(float) / (2 * width**2))
    expected = []
    for inside in members.T:
        w, r = gram[np.ix_(inside, inside)], gram[np.ix_(~inside, ~inside)]
        within = [(k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in (w, r)]
        expected.append(sum(within) - 2 * gram[np.ix_(inside, ~inside)].mean())
    assert np.allclose(resampled_discrepancies(rows, members, width), expected, atol=1e-5)
    alone = [squared_discrepancy(rows[inside], rows[~inside], width) for inside in members.T]
    assert np.allclose(alone, expected, atol=1e-5)


def test_the_witness_leans_to_the_rows_that_made_the_discrepancy() -> None:
    rng = np.random.default_rng(0)
    reference, window = rng.normal(size=(200, 3)), rng.normal(size=(50, 3))
    window[:10] += 4
    leaning = witness(*(rows.astype(np.float32) for rows in (window, window, reference)), 2.0)
    assert set(np.argsort(leaning)[-10:]) == set(range(10))
