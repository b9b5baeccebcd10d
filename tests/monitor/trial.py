"""Draws windows from held-out images and asks the monitor about each."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_contracts.drift.judge import Scorer, judge_window
from data_contracts.drift.layers import layer_table
from data_contracts.drift.profile import ReferenceProfile
from data_contracts.drift.settings import MonitorSettings
from data_contracts.drift.verdict import DriftVerdict, Window
from tests.monitor.images import HeldOut, Shown
from tests.monitor.shifts import AS_IT_IS, TRIED

REFUSED = "not scored"
TABLE_LAYERS = ("acquisition", "descriptors", "outputs")


@dataclass
class Tally:
    """How many windows of one kind exceeded a limit, and in which layer.

    evidently: of `asked` windows those in which Evidently's default test flags any column, and in which it flags half
    of them, its default for the whole.
    """

    windows: int = 0
    exceeded: int = 0
    layers: dict[str, int] = field(default_factory=dict)
    asked: int = 0
    any_column: int = 0
    half_of_columns: int = 0

    def add(self, verdict: DriftVerdict) -> None:
        self.windows += 1
        self.exceeded += verdict.outcome == "exceeded"
        for layer in verdict.layers:
            self.layers[layer.layer] = self.layers.get(layer.layer, 0) + (layer.outcome == "exceeded")


@dataclass(frozen=True)
class Dealt:
    """One deal of the groups: a profile of one part, and the rows of the other, from which windows are drawn."""

    profile: ReferenceProfile
    stream: NDArray[np.int64]


def deals(
    held_out: HeldOut, count: int, left_out: str | None = None
) -> Iterator[tuple[Dealt, np.random.Generator]]:
    """Deal the groups into two halves again and again. left_out: a source that is in neither."""
    frame, groups = held_out.frame, held_out.groups
    for number in range(count):
        rng = np.random.default_rng([number, 1])
        first = rng.permutation(groups.max() + 1) % 2 == 0
        kept = (frame["source"] != left_out).to_numpy()
        reference = np.flatnonzero(first[groups] & kept)
        shown = held_out.shown[AS_IT_IS]
        with tempfile.TemporaryDirectory() as folder:
            profile = ReferenceProfile.write(
                Path(folder) / "profile",
                shown.frame.iloc[reference],
                shown.embeddings[reference],
                held_out.class_names,
            )
        yield Dealt(profile, np.flatnonzero(~first[groups] & kept)), rng


def whole_groups(
    rows: NDArray[np.int64], groups: NDArray[np.int64], size: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """`size` of the rows: whole groups in random order, the last one cut."""
    order = rng.permutation(groups.max() + 1)
    return rows[np.argsort(order[groups[rows]], kind="stable")][:size]


def hit(held_out: HeldOut, rows: NDArray[np.int64], shift: str, share: float, rng: np.random.Generator) -> Shown:
    """The rows, a share of them under a shift."""
    plain, shifted = held_out.shown[AS_IT_IS], held_out.shown[shift]
    struck = rng.random(len(rows)) < share if share < 1 else np.ones(len(rows), dtype=bool)
    frame = plain.frame.iloc[rows].reset_index(drop=True)
    frame = frame.where(~pd.Series(struck), shifted.frame.iloc[rows].reset_index(drop=True))
    return Shown(frame, np.where(struck[:, None], shifted.embeddings[rows], plain.embeddings[rows]))


def as_logged(shown: Shown) -> tuple[pd.DataFrame, NDArray[np.float32]]:
    """The window as the prediction log holds it: what carries an input flag was refused and has no answer."""
    refused = (shown.frame["flags"] != "").to_numpy()
    frame = shown.frame.assign(refused=np.where(refused, REFUSED, ""))
    frame.loc[refused, [name for name in frame if name.startswith("p_")]] = np.nan
    return frame, shown.embeddings[~refused]


def asked(dealt: Dealt, shown: Shown, settings: MonitorSettings, cache: Path | None = None) -> DriftVerdict:
    frame, embeddings = as_logged(shown)
    return judge_window(
        dealt.profile,
        frame,
        embeddings,
        scorer=Scorer("test", "1", ""),
        window=Window(id="w", since="2025-01-06", until="2025-01-13", n=len(frame)),
        settings=settings,
        cache=cache,
    )


def ask_evidently(dealt: Dealt, shown: Shown, tally: Tally) -> None:
    """Evidently's drift preset with its defaults, on the same columns, all of them cleaned first."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    frame, _ = as_logged(shown)
    names = dealt.profile.class_names
    now, then = (
        pd.concat([layer_table(table, layer, names) for layer in TABLE_LAYERS], axis=1)
        for table in (frame, dealt.profile.frame)
    )
    known = [
        c for c in now.columns if all((t[c] != "").sum() > 50 and t[c].notna().sum() > 50 for t in (now, then))
    ]
    numbers = [c for c in known if pd.api.types.is_float_dtype(now[c])]
    texts = [c for c in known if c not in numbers]
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=texts)
    datasets = (
        Dataset.from_pandas(t[known].replace("", None).reset_index(drop=True), data_definition=definition)
        for t in (now, then)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it correlates constant columns, too
        snapshot = Report([DataDriftPreset()]).run(*datasets)
    counted = next(m for m in snapshot.dict()["metrics"] if "DriftedColumnsCount" in m["metric_name"])
    tally.asked += 1
    tally.any_column += counted["value"]["count"] > 0
    tally.half_of_columns += counted["value"]["share"] >= 0.5


def without_shift(held_out: HeldOut, windows: int, size: int, settings: MonitorSettings, evidently: int) -> Tally:
    """Windows of images that are like those of the reference; no image is in two windows of a deal."""
    tally = Tally()
    for dealt, rng in deals(held_out, windows):
        left = whole_groups(dealt.stream, held_out.groups, len(dealt.stream), rng)
        with tempfile.TemporaryDirectory() as cache:
            for start in range(0, len(left) - size + 1, size):
                if tally.windows == windows:
                    return tally
                shown = hit(held_out, left[start : start + size], AS_IT_IS, 1.0, rng)
                tally.add(asked(dealt, shown, settings, Path(cache)))
                if tally.asked < evidently:
                    ask_evidently(dealt, shown, tally)
    return tally


def with_shifts(
    held_out: HeldOut, windows: int, size: int, settings: MonitorSettings, evidently: int
) -> dict[str, Tally]:
    """Windows under each shift, each reference asked about every shift a few times."""
    per_deal = 5
    tallies: dict[str, Tally] = {}
    for dealt, rng in deals(held_out, -(-windows // per_deal)):
        with tempfile.TemporaryDirectory() as cache:
            for kind, shown in _shifted(held_out, dealt, per_deal, size, rng):
                tally = tallies.setdefault(kind, Tally())
                tally.add(asked(dealt, shown, settings, Path(cache)))
                if tally.asked < evidently:
                    ask_evidently(dealt, shown, tally)
    return tallies


def new_source(
    held_out: HeldOut,
    source: str,
    share: float,
    windows: int,
    size: int,
    settings: MonitorSettings,
    evidently: int,
) -> Tally:
    """Windows of which a share comes from a source that the reference does not hold, and that is not named."""
    tally, per_deal = Tally(), 5
    strange = np.flatnonzero((held_out.frame["source"] == source).to_numpy())
    for dealt, rng in deals(held_out, -(-windows // per_deal), left_out=source):
        with tempfile.TemporaryDirectory() as cache:
            for _ in range(per_deal):
                swapped = round(share * size)
                rows = np.concatenate(
                    [
                        whole_groups(strange, held_out.groups, swapped, rng),
                        whole_groups(dealt.stream, held_out.groups, size - swapped, rng),
                    ]
                )
                shown = hit(held_out, rows, AS_IT_IS, 1.0, rng)
                shown.frame["source"] = ""
                tally.add(asked(dealt, shown, settings, Path(cache)))
                if tally.asked < evidently:
                    ask_evidently(dealt, shown, tally)
    return tally


def _shifted(
    held_out: HeldOut, dealt: Dealt, count: int, size: int, rng: np.random.Generator
) -> Iterator[tuple[str, Shown]]:
    for _ in range(count):
        rows = whole_groups(dealt.stream, held_out.groups, size, rng)
        for shift, share in TRIED:
            yield f"{shift}, {share:.0%} of the images", hit(held_out, rows, shift, share, rng)
        for name in held_out.class_names:
            doubled = _doubled(held_out, dealt.stream, name, size, rng)
            if doubled is not None:
                yield f"prevalence of {name} doubled", hit(held_out, doubled, AS_IT_IS, 1.0, rng)


def _doubled(
    held_out: HeldOut, stream: NDArray[np.int64], name: str, size: int, rng: np.random.Generator
) -> NDArray[np.int64] | None:
    """Rows with twice the share of a class, the shares of the sources as they were; None where it has no room."""
    frame = held_out.frame.iloc[stream]
    chosen: list[NDArray[np.int64]] = []
    for _, part in frame.groupby("source"):
        of_class = stream[frame.index.get_indexer(part.index[part["label"] == name])]
        others = stream[frame.index.get_indexer(part.index[part["label"] != name])]
        wanted = round(size * len(part) / len(frame))
        more = min(len(of_class), wanted, round(2 * wanted * len(of_class) / len(part)))
        chosen += [rng.permutation(of_class)[:more], rng.permutation(others)[: wanted - more]]
    rows = np.concatenate(chosen)
    before = (frame["label"] == name).mean()
    now = (held_out.frame["label"].iloc[rows] == name).mean()
    return rows if before > 0.02 and now > 1.7 * before and len(rows) >= 0.95 * size else None
