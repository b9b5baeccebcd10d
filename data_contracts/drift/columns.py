"""One column of a window beside the same column of the reference: how surprising it is, and which images make it so.

How surprising is -log10 of a p-value. The p-values assume images that are independent and values that are not tied;
`scale` corrects both with what resampling the reference showed (calibration.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from data_contracts.drift.statistics import (
    Members,
    Numbers,
    chi_square,
    chi_square_limit,
    chi_square_p,
    ks_distance,
    ks_distances,
    ks_limit,
    ks_p,
    more_than_before_p,
    most_without_drift,
    population_stability_index,
    psi_limit,
    surprise,
)

# Cells with fewer expected images follow no chi-square distribution (Cochran 1954).
LEAST_EXPECTED = 5
_FAR = 10.0  # so many interquartile ranges count, further ones no more


@dataclass(frozen=True, slots=True, eq=False)
class ComparedColumn:
    """What one column shows.

    statistic names value. surprise: corrected. limit_at: the value that belongs to a corrected p-value. pulls: (n,)
    how much each image of the window contributes, 0 where it does not. describe: what is unusual about the image at a
    place.
    """

    name: str
    statistic: str
    value: float
    surprise: float
    limit_at: Callable[[float], float]
    note: str
    pulls: Numbers
    describe: Callable[[int], str]


def compare_numbers(
    name: str, window: Numbers, reference: Numbers, scale: float, *, tolerance: float = 0.0
) -> ComparedColumn:
    """A Kolmogorov-Smirnov test. Unknown values (NaN) are left out; some of each side are known."""
    known, before = ~np.isnan(window), reference[~np.isnan(reference)]
    n, m = int(known.sum()), len(before)
    gap, place = ks_distance(window[known], before, tolerance)
    median = float(np.median(before))
    far = np.subtract(*np.quantile(before, [0.75, 0.25])) or before.std() or 1.0
    side = window > place if gap > 0 else window <= place
    pulls = np.where(known & side, 1 + np.minimum(np.abs(window - place) / far, _FAR), 0.0)
    direction = "higher" if gap > 0 else "lower"
    note = _unknown(len(window) - n, len(window))
    if gap:
        now = float(np.median(window[known]))
        note = _joined(f"{direction}: median {now:.4g}, in the reference {median:.4g}", note)
    return ComparedColumn(
        name,
        "Kolmogorov-Smirnov",
        abs(gap),
        float(surprise(ks_p(abs(gap), n, m))) * scale,
        lambda p: min(1.0, ks_limit(p ** (1 / scale), n, m)),
        note,
        pulls,
        lambda i: f"{name} {window[i]:.4g} (reference median {median:.4g})",
    )


def surprises_of_numbers(values: Numbers, members: Members, *, tolerance: float = 0.0) -> Numbers:
    """(b,) uncorrected surprise of many windows drawn from the rows themselves; 0 where a side knows no value."""
    known = ~np.isnan(values)
    drawn = members[known]
    n = drawn.sum(axis=0)
    m = len(drawn) - n
    both = (n > 0) & (m > 0)
    found = np.zeros(members.shape[1])
    if both.any():
        found[both] = surprise(ks_p(ks_distances(values[known], drawn[:, both], tolerance), n[both], m[both]))
    return found


def common_values(reference: NDArray[np.object_], drawn: int) -> list[str]:
    """The values of which a window of so many images should hold enough for a chi-square test, sorted."""
    known = pd.Series(reference[reference != ""], dtype="str")
    shares = known.value_counts(normalize=True)
    return sorted(str(value) for value in shares.index[shares * drawn >= LEAST_EXPECTED])


def compare_texts(
    name: str,
    window: NDArray[np.object_],
    reference: NDArray[np.object_],
    scale: float,
    *,
    common: list[str],
    columns: int,
) -> ComparedColumn:
    """A chi-square test over the common values, and Fisher's exact test of rare and new ones together.

    The more surprising of both counts. Unknown values ("") are left out; some of each side are known. columns: of
    the layer; the exact test's p-value is multiplied by it, because no resampling of the reference shows what it
    never held.
    """
    known = window != ""
    codes, before = _codes(window[known], common), _codes(reference[reference != ""], common)
    n, m, cells = len(codes), len(before), len(common)
    now, then = (np.bincount(some, minlength=cells + 1).astype(np.float64) for some in (codes, before))
    moved = float(chi_square(now[:cells, None], then[:cells, None])[0]) if now[:cells].sum() else 0.0
    of_common = float(surprise(chi_square_p(moved, cells))) * scale
    of_rare = float(_of_rare(now[cells], n, then[cells], m, columns))
    excess = np.append(now / n - then / m, 0.0)  # the last for unknown values
    shares = np.append(now / n, 1.0)
    everywhere = np.full(len(window), cells + 1)
    everywhere[known] = codes
    note = _unknown(len(window) - n, len(window))

    def describe(i: int) -> str:
        cell = everywhere[i]
        what = f"{name} {window[i]}"
        return f"{what} ({now[cell] / n:.0%} of the window, {then[cell] / m:.0%} of the reference)"

    if of_rare > of_common:
        strange = sorted({str(value) for value in window[everywhere == cells]})
        return ComparedColumn(
            name,
            "share of rare or new values",
            float(now[cells] / n),
            of_rare,
            lambda p: most_without_drift(n, int(then[cells]), m, p / columns) / n,
            _joined(f"rare or new: {_listed(strange)}", note),
            (everywhere == cells).astype(np.float64),
            describe,
        )
    if cells > 1:
        index, limit = population_stability_index(now[:cells], then[:cells]), psi_limit(cells, n, m)
        note = _joined(f"PSI {index:.3f}, without drift below {limit:.3f} in 95 % of windows", note)
    if moved:
        most = int(excess[:cells].argmax())
        note = _joined(f"more {common[most]}: {now[most] / n:.0%} instead of {then[most] / m:.0%}", note)
    pulls = np.where(known, np.maximum(excess, 0.0)[everywhere] / np.maximum(shares, 1e-9)[everywhere], 0.0)
    return ComparedColumn(
        name,
        "chi-square",
        moved,
        of_common,
        lambda p: chi_square_limit(p ** (1 / scale), cells),
        note or "one value only",
        pulls,
        describe,
    )


def surprises_of_texts(
    values: NDArray[np.object_], members: Members, *, common: list[str], columns: int
) -> tuple[Numbers, Numbers]:
    """(b,) surprise of the common values, uncorrected, and of the rare ones, in windows drawn from the rows."""
    known = values != ""
    codes, drawn = _codes(values[known], common), members[known]
    cells = len(common)
    now = np.stack([drawn[codes == cell].sum(axis=0) for cell in range(cells + 1)]).astype(np.float64)
    then = np.bincount(codes, minlength=cells + 1)[:, None] - now
    n, m = now.sum(axis=0), then.sum(axis=0)
    of_common = np.zeros(members.shape[1])
    some = (now[:cells].sum(axis=0) > 0) & (then[:cells].sum(axis=0) > 0)
    if cells > 1 and some.any():
        of_common[some] = surprise(chi_square_p(chi_square(now[:cells, some], then[:cells, some]), cells))
    return of_common, _of_rare(now[cells], n, then[cells], m, columns)


def _of_rare(now: ArrayLike, n: ArrayLike, then: ArrayLike, m: ArrayLike, columns: int) -> Numbers:
    return surprise(np.minimum(1.0, more_than_before_p(now, n, then, m) * columns))


def _codes(values: NDArray[np.object_], common: list[str]) -> NDArray[np.int64]:
    """The place of each value among the common ones; their number for all others."""
    found = pd.Index(common, dtype="object").get_indexer(pd.Index(values, dtype="object"))
    return np.where(found < 0, len(common), found).astype(np.int64)


def _unknown(missing: int, of: int) -> str:
    return f"unknown for {missing:,} of {of:,} images" if missing else ""


def _listed(values: list[str], most: int = 3) -> str:
    more = f" and {len(values) - most} more" if len(values) > most else ""
    return ", ".join(values[:most]) + more


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
