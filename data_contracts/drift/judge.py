"""Judges one window of scored images: compares its layers with the reference and says what follows.

Pure: the same profile, window, settings and earlier verdicts give the same verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_contracts.drift.calibration import Calibration, limits_for, too_small
from data_contracts.drift.comparison import (
    ComparedLayer,
    compare_contract,
    compare_embeddings,
    compare_table,
    not_compared,
)
from data_contracts.drift.layers import LAYERS, PREDICTED, TITLES, Layer, layer_table, refused
from data_contracts.drift.movers import movers
from data_contracts.drift.performance import OutcomePerformance, PerformanceEstimate
from data_contracts.drift.persistence import counted_before, windows_between_false_alarms
from data_contracts.drift.profile import ReferenceProfile, few_of_each, groups_of
from data_contracts.drift.settings import MonitorSettings
from data_contracts.drift.verdict import DriftVerdict, Outcome, Severity, Verdict, Window
from data_contracts.errors import UsageProblem

LEAST_COMPARED = 100  # images, after those beyond the first few of each patient were left aside
# Refused images and broken contracts are faults of the way images come in; a person has to look there.
_FOR_A_PERSON: frozenset[Layer] = frozenset({"contract"})


@dataclass(frozen=True, slots=True)
class Scorer:
    """Whose answers are judged: the registered model, its version and the content hash of its bundle."""

    model: str
    version: str
    bundle: str


def judge_window(
    profile: ReferenceProfile,
    rows: pd.DataFrame,
    embeddings: NDArray[np.float32] | None,
    *,
    scorer: Scorer,
    window: Window,
    settings: MonitorSettings,
    earlier: Sequence[DriftVerdict] = (),
    failed_checks: Sequence[str] = (),
    performance: PerformanceEstimate | None = None,
    outcome_performance: OutcomePerformance | None = None,
    cache: Path | None = None,
) -> DriftVerdict:
    """The verdict on the images of one window.

    rows: as the prediction log gives them, refused images included; all of them take part in the layers of acquisition,
    descriptors and contract, the scored ones in those of embedding and outputs. Of a patient (column patient) the
    first few images are compared, as of a group of the reference. Columns may be missing, empty or constant; each one
    that cannot be compared carries a note. embeddings: (scored rows, d) in their order, or None. earlier: verdicts on
    windows before this one, in any order. failed_checks: names of the critical checks of the data contract that the
    window failed. cache: folder for the calibrated limits. Raises UsageProblem where embeddings are not as many as
    scored rows.
    """
    rows = rows.reset_index(drop=True)
    answered = ~refused(rows).to_numpy(dtype=bool)
    if embeddings is not None and len(embeddings) != answered.sum():
        raise UsageProblem(
            f"A window of {answered.sum()} scored images came with {len(embeddings)} embeddings.",
            why="Each would be taken for another image's.",
            cure="Give the embeddings of the scored rows, in their order.",
        )
    few = few_of_each(groups_of(rows, "patient"))
    some = None if embeddings is None else embeddings[few[answered]]
    comparing = _Comparing(profile, settings, tuple(failed_checks), cache)
    compared: list[tuple[ComparedLayer, NDArray[np.int64]]] = []
    for layer in (layer for layer in LAYERS if layer in settings.layers):
        offered = answered if layer in ("embedding", "outputs") else np.ones(len(rows), dtype=bool)
        places = np.flatnonzero(offered & few)
        compared.append((comparing.layer(layer, int(offered.sum()), rows.iloc[places], some), places))
    return _concluded(
        DriftVerdict(
            model=scorer.model,
            version=scorer.version,
            bundle=scorer.bundle,
            profile=profile.content_hash,
            window=window,
            layers=tuple(layer.verdict for layer, _ in compared),
            outcome=_outcome(compared),
            verdict="insufficient",
            severity="log",
            reasons=(),
            confirmations=settings.confirmations,
            windows=settings.windows,
            false_alarm_rate=settings.false_alarm_rate,
            windows_between_false_alarms=windows_between_false_alarms(
                settings.false_alarm_rate, settings.confirmations, settings.windows
            ),
            movers=movers(rows, compared),
            refused=_refused(rows),
            predicted=_predicted(rows[answered], profile),
            performance=performance,
            outcome_performance=outcome_performance,
        ),
        earlier,
    )


@dataclass(frozen=True, slots=True)
class _Comparing:
    """What every layer of a window is compared with."""

    profile: ReferenceProfile
    settings: MonitorSettings
    failed_checks: tuple[str, ...]
    cache: Path | None

    def layer(
        self, layer: Layer, n: int, rows: pd.DataFrame, embeddings: NDArray[np.float32] | None
    ) -> ComparedLayer:
        """n: images of the window, those beyond the first few of a patient included."""
        least, rate = self.settings.least_images, self.settings.layer_rate
        if n < least:
            images = f"{n} {'scored ' if layer in ('embedding', 'outputs') else ''}images"
            return not_compared(layer, f"{images}; at least {least} are needed", too_few=True, n=n)
        if why := too_small(self.profile):
            return not_compared(layer, why, too_few=False, n=n)
        if len(rows) < LEAST_COMPARED:
            few = f"{n} images of too few patients: {len(rows)} can be compared, at least {LEAST_COMPARED} are needed"
            return not_compared(layer, few, too_few=True, n=n)
        calibration = limits_for(self.profile, len(rows), self.settings, self.cache)
        if layer == "contract":
            return compare_contract(rows, self.profile, calibration.layers[layer], rate, self.failed_checks)
        if layer != "embedding":
            return compare_table(layer, rows, self.profile, calibration, rate)
        if why := self._no_embeddings(embeddings, calibration):
            return not_compared(layer, why, too_few=False, n=n)
        assert embeddings is not None  # noqa: S101 - `_no_embeddings` has said so
        finite = int(np.isfinite(embeddings).all(axis=1).sum())
        if finite < LEAST_COMPARED:
            why = f"{finite} finite embeddings; at least {LEAST_COMPARED} are needed"
            return not_compared(layer, why, too_few=True, n=n)
        return compare_embeddings(embeddings, self.profile, calibration.layers[layer], rate, self.settings.seed)

    def _no_embeddings(self, embeddings: NDArray[np.float32] | None, calibration: Calibration) -> str:
        if "embedding" not in calibration.layers:
            return "the reference has no embeddings"
        if embeddings is None:
            return "the window has no embeddings"
        expected = len(self.profile.mean)
        if embeddings.ndim != 2 or embeddings.shape[1] != expected:
            return f"the window's embeddings have the shape {embeddings.shape}, the reference's {expected} numbers"
        return ""


def _outcome(compared: Sequence[tuple[ComparedLayer, NDArray[np.int64]]]) -> Outcome:
    outcomes = {layer.verdict.outcome for layer, _ in compared}
    ranked: tuple[Outcome, ...] = ("exceeded", "quiet", "insufficient", "not evaluated")
    return next(outcome for outcome in ranked if outcome in outcomes)


def _concluded(found: DriftVerdict, earlier: Sequence[DriftVerdict]) -> DriftVerdict:
    """The verdict after persistence."""
    before = counted_before(earlier, found.window, found.profile, found.windows)
    exceeding = [verdict for verdict in (*before, found) if verdict.outcome == "exceeded"]
    over = [layer for layer in found.layers if layer.outcome == "exceeded"]
    reasons = [f"{TITLES[layer.layer]}: {layer.why}" for layer in over]
    verdict: Verdict
    severity: Severity = "log"
    if found.outcome in ("insufficient", "not evaluated"):
        verdict = "insufficient"
        reasons = list(dict.fromkeys(layer.why for layer in found.layers))
    elif len(exceeding) >= found.confirmations and over:
        verdict = "alarm"
        severity = "route to a person" if any(x.layer in _FOR_A_PERSON for x in over) else "hold promotion"
        reasons.append(_persisted(exceeding, found))
    elif over:
        verdict, severity = "watch", "notify"
        reasons.append(_persisted(exceeding, found))
    else:
        verdict = "quiet"
        reasons = ["no layer exceeded its limit"]
    return found.model_copy(update={"verdict": verdict, "severity": severity, "reasons": tuple(reasons)})


def _persisted(exceeding: Sequence[DriftVerdict], found: DriftVerdict) -> str:
    return (
        f"{len(exceeding)} of the last {found.windows} windows exceeded a limit; "
        f"{found.confirmations} make an alarm"
    )


def _refused(rows: pd.DataFrame) -> dict[str, int]:
    if "refused" not in rows:
        return {}
    counts = rows.loc[refused(rows), "refused"].astype("str").value_counts()
    return {str(reason): int(count) for reason, count in sorted(counts.items())}


def _predicted(rows: pd.DataFrame, profile: ReferenceProfile) -> dict[str, int]:
    if not profile.multi_label:
        table = layer_table(rows, "outputs", profile.class_names)
        counts = table[PREDICTED].value_counts() if PREDICTED in table else pd.Series(dtype=int)
        return {name: int(counts.get(name, 0)) for name in profile.class_names}
    called = {name: f"call_{name}" for name in profile.class_names}
    return {name: int((rows[call] == "positive").sum()) for name, call in called.items() if call in rows}
