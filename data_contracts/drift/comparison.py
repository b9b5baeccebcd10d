"""One layer of a window beside the reference and its calibrated limit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_contracts.drift.calibration import LARGEST_KERNEL, Calibration, LayerNull
from data_contracts.drift.columns import ComparedColumn, common_values, compare_numbers, compare_texts
from data_contracts.drift.contract import is_refused_or_flagged, reasons
from data_contracts.drift.layers import TOLERANCES, Layer, columns_of, layer_table
from data_contracts.drift.mmd import squared_discrepancy, witness
from data_contracts.drift.profile import ReferenceProfile
from data_contracts.drift.statistics import (
    Numbers,
    auc_limit,
    held_out_auc,
    holm,
    more_than_before_p,
    most_without_drift,
    surprise,
)
from data_contracts.drift.verdict import FeatureDrift, LayerVerdict

# With fewer known values on a side a column is not compared.
LEAST_KNOWN = 50
TABLE_STATISTIC = "largest -log10 p of a column"
EMBEDDING_STATISTIC = "squared maximum mean discrepancy"
CONTRACT_STATISTIC = "share of images refused or flagged"


@dataclass(frozen=True, slots=True, eq=False)
class ComparedLayer:
    """A layer's verdict, how much each image of its rows pulled at it, and what is unusual about the image at a place.

    pulls: (n,) not negative, in the order of the rows that were given; empty where nothing was compared.
    """

    verdict: LayerVerdict
    pulls: Numbers
    describe: Callable[[int], str]


def not_compared(layer: Layer, why: str, *, too_few: bool, n: int = 0) -> ComparedLayer:
    """A layer of which nothing can be said."""
    verdict = LayerVerdict(layer=layer, n=n, outcome="insufficient" if too_few else "not evaluated", why=why)
    return ComparedLayer(verdict, np.zeros(0), lambda _: "")


def compare_table(
    layer: Layer, rows: pd.DataFrame, profile: ReferenceProfile, calibration: Calibration, rate: float
) -> ComparedLayer:
    """Each column of the layer that both sides know, and the most surprising of them against the layer's limit.

    The limit is calibrated on the largest of all columns, and is never below what one column alone would need: what
    the reference never varies in cannot be resampled.
    """
    null = calibration.layers[layer]
    order = columns_of(layer, profile.class_names, multi_label=profile.multi_label).names
    window, reference = (
        layer_table(frame, layer, profile.class_names, multi_label=profile.multi_label)
        for frame in (rows, profile.frame[profile.compared])
    )
    compared, features = _columns(layer, window, reference, profile, null, calibration.drawn)
    if not compared:
        return ComparedLayer(
            LayerVerdict(
                layer=layer,
                n=len(rows),
                outcome="not evaluated",
                why="no column is known both in the window and in the reference",
                features=tuple(features),
            ),
            np.zeros(0),
            lambda _: "",
        )
    p = 10 ** -np.array([column.surprise for column in compared])
    falls, limits = holm(p, rate)
    features += [
        FeatureDrift(
            name=column.name,
            statistic=column.statistic,
            value=column.value,
            limit=column.limit_at(float(limit)),
            p_value=float(p_value),
            drifted=bool(drifted),
            note=column.note,
        )
        for column, p_value, limit, drifted in zip(compared, p, limits, falls, strict=True)
    ]
    most = max(compared, key=lambda column: column.surprise)
    limit = max(null.limit(rate), float(surprise(rate)))
    exceeded = most.surprise > limit
    drifted = [column for column, fell in zip(compared, falls, strict=True) if fell] or [most]
    verdict = LayerVerdict(
        layer=layer,
        statistic=TABLE_STATISTIC,
        value=most.surprise,
        limit=limit,
        p_value=null.p_value(most.surprise),
        n=len(rows),
        outcome="exceeded" if exceeded else "quiet",
        why=_of_columns(drifted) if exceeded else f"most in {most.name}, within what windows without drift show",
        features=tuple(sorted(features, key=lambda feature: order.index(feature.name))),
    )
    pulls = sum((_shares(column.pulls) * column.surprise for column in drifted), np.zeros(len(rows)))

    def describe(i: int) -> str:
        unusual = sorted((column for column in drifted if column.pulls[i] > 0), key=lambda c: -c.pulls[i])
        return ", ".join(column.describe(i) for column in unusual[:2])

    return ComparedLayer(verdict, pulls, describe)


def compare_embeddings(
    embeddings: NDArray[np.float32], profile: ReferenceProfile, null: LayerNull, rate: float, seed: int
) -> ComparedLayer:
    """MMD² of the projected embeddings. embeddings: (n, d), d as in the profile; rows that are not finite are left out.

    At most LARGEST_KERNEL images of a side are compared, evenly taken from all. The held-out AUC of a linear
    classifier is reported beside it: it says how far apart the two lie, which a discrepancy does not.
    """
    projected = profile.project(embeddings)
    known = np.flatnonzero(np.isfinite(projected).all(axis=1))
    before = np.flatnonzero(np.isfinite(profile.projected).all(axis=1) & ~profile.fitted & profile.compared)
    taken, compared = _evenly(known, LARGEST_KERNEL), _evenly(before, LARGEST_KERNEL)
    window, reference = projected[taken], profile.projected[compared]
    value = squared_discrepancy(window, reference, profile.bandwidth)
    spread = 1 / len(window) + 1 / len(reference)
    limit = null.limit(rate) * spread
    exceeded = value > limit
    area, area_limit = held_out_auc(window, reference, seed), auc_limit(len(window), len(reference), rate)
    missing = len(embeddings) - len(known)
    verdict = LayerVerdict(
        layer="embedding",
        statistic=EMBEDDING_STATISTIC,
        value=value,
        limit=limit,
        p_value=null.p_value(value / spread),
        n=len(known),
        outcome="exceeded" if exceeded else "quiet",
        why=f"a linear classifier tells window and reference apart with an AUC of {area:.2f}"
        if exceeded
        else "within what windows without drift show",
        features=(
            FeatureDrift(
                name="linear classifier",
                statistic="held-out AUC",
                value=area,
                limit=area_limit,
                drifted=area > area_limit,
                note=f"{missing:,} images have no finite embedding" if missing else "",
            ),
        ),
    )
    leaning = witness(projected[known], window, reference, profile.bandwidth)
    pulls = np.zeros(len(embeddings))
    pulls[known] = np.maximum(leaning - np.median(leaning), 0.0)
    far = np.linalg.norm(projected, axis=1)
    usual = float(np.median(np.linalg.norm(reference, axis=1))) or 1.0
    return ComparedLayer(
        verdict,
        pulls,
        lambda i: f"its embedding lies {far[i] / usual:.1f} times as far from the reference's centre as is usual",
    )


def compare_contract(
    rows: pd.DataFrame, profile: ReferenceProfile, null: LayerNull, rate: float, failed_checks: Sequence[str]
) -> ComparedLayer:
    """The share of images refused or flagged against that of the reference (Fisher's exact test, one-sided).

    A failed critical check of the window's data contract exceeds the limit by itself: without a fault none fails.
    """
    broken, flagged = is_refused_or_flagged(rows), is_refused_or_flagged(profile.frame[profile.compared])
    before, n, m, count = int(flagged.sum()), len(rows), len(flagged), int(broken.sum())
    found = float(surprise(more_than_before_p(count, n, before, m)))
    limit = max(null.limit(rate), float(surprise(rate)))
    most = most_without_drift(n, before, m, 10**-limit)
    share = FeatureDrift(
        name="refused or flagged",
        statistic="share",
        value=count / n,
        limit=most / n,
        p_value=10**-found,
        drifted=count > most,
        note=f"{count:,} of {n:,} images, in the reference {before:,} of {m:,}",
    )
    checks = tuple(
        FeatureDrift(name=name, statistic="failed check", value=1.0, limit=0.0, drifted=True)
        for name in failed_checks
    )
    # The checks stand for the layer only where the images alone would leave it quiet.
    by_checks = bool(checks) and not share.drifted
    said = [] if by_checks else [share.note]
    said += [f"failed critical checks: {', '.join(failed_checks)}"] if checks else []
    verdict = LayerVerdict(
        layer="contract",
        statistic="failed critical checks" if by_checks else CONTRACT_STATISTIC,
        value=len(checks) if by_checks else count / n,
        limit=0.0 if by_checks else most / n,
        p_value=null.p_value(found),
        n=n,
        outcome="exceeded" if share.drifted or checks else "quiet",
        why="; ".join(said),
        features=(share, *checks),
    )
    reason = reasons(rows)
    return ComparedLayer(verdict, broken.astype(np.float64), lambda i: reason[i])


def _columns(
    layer: Layer,
    window: pd.DataFrame,
    reference: pd.DataFrame,
    profile: ReferenceProfile,
    null: LayerNull,
    drawn: int,
) -> tuple[list[ComparedColumn], list[FeatureDrift]]:
    """The columns that can be compared, and those that cannot with the reason."""
    compared, left_out = [], []
    columns = columns_of(layer, profile.class_names, multi_label=profile.multi_label)
    for name in columns.names:
        why = _why_not(name, window, reference, text=name in columns.categorical)
        if why:
            left_out.append(FeatureDrift(name=name, note=why))
        elif name in columns.categorical:
            before = reference[name].to_numpy(dtype=object)
            compared.append(
                compare_texts(
                    name,
                    window[name].to_numpy(dtype=object),
                    before,
                    null.scales[name],
                    common=common_values(before, drawn),
                    columns=len(reference.columns),
                )
            )
        else:
            now, then = (table[name].to_numpy(np.float64) for table in (window, reference))
            compared.append(
                compare_numbers(name, now, then, null.scales[name], tolerance=TOLERANCES.get(name, 0.0))
            )
    return compared, left_out


def _why_not(name: str, window: pd.DataFrame, reference: pd.DataFrame, *, text: bool) -> str:
    """Why a column cannot be compared, or ""."""
    if name not in reference:
        return "not in the reference"
    if name not in window:
        return "not in the window"
    for table, where in ((reference, "reference"), (window, "window")):
        known = int((table[name] != "").sum() if text else table[name].notna().sum())
        if known < LEAST_KNOWN:
            return f"known for {known or 'no'} image{'' if known == 1 else 's'} of the {where}"
    # A hospital that none of the public collections is would otherwise be an alarm every day from the first.
    if name == "source" and not (set(window[name]) & set(reference[name])) - {""}:
        return "none of the window's sources is in the reference; their images are judged by the other columns"
    return ""


def _of_columns(drifted: Sequence[ComparedColumn]) -> str:
    most = sorted(drifted, key=lambda column: -column.surprise)
    listed = "; ".join(f"{column.name} {column.note}" for column in most[:2])
    return listed + (f"; and {len(most) - 2} more columns" if len(most) > 2 else "")


def _evenly(rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    return rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64)]


def _shares(pulls: Numbers) -> Numbers:
    total = pulls.sum()
    return pulls / total if total else pulls
