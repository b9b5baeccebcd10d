"""One Evidently report per layer: the columns as they are and were, beside the statistics and limits of the verdict."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_contracts.drift.dashboard_numbers import facts_of, tags_of, window_end
from data_contracts.drift.evidently_columns import DrawnColumns, drawn_columns
from data_contracts.drift.layers import TITLES, Layer
from data_contracts.drift.profile import ReferenceProfile
from data_contracts.drift.verdict import DriftVerdict, FeatureDrift, LayerVerdict

if TYPE_CHECKING:
    from evidently.core.report import Snapshot

# Below the folder of a verdict; FOLDER/<layer>.html is for people, FOLDER/<layer>.json what Evidently reads again.
FOLDER = "evidently"


@dataclass(frozen=True, slots=True)
class LayerReport:
    """The files of one layer. left_out: column -> why it is not drawn."""

    layer: Layer
    page: Path
    snapshot: Path
    left_out: dict[str, str]


def layer_reports(
    profile: ReferenceProfile,
    window: pd.DataFrame,
    embeddings: NDArray[np.float32] | None,
    verdict: DriftVerdict,
    folder: Path,
) -> list[LayerReport]:
    """Write folder/evidently/<layer>.html and .json for every layer of the verdict.

    window: rows as in the prediction log; embeddings: as `judge_window` takes them. The page opens without a
    network. A column that cannot be drawn is named on it and changes nothing else; a layer with nothing to draw still
    has its page.
    """
    place = folder / FOLDER
    place.mkdir(parents=True, exist_ok=True)
    written = []
    for layer in verdict.layers:
        drawn = drawn_columns(layer.layer, profile, window, embeddings)
        snapshot = _snapshot(_with_notes(layer, drawn), drawn, verdict)
        page, kept = place / f"{layer.layer}.html", place / f"{layer.layer}.json"
        write_whole(page, snapshot.get_html_str(as_iframe=False))
        write_whole(kept, snapshot.dumps())
        written.append(LayerReport(layer.layer, page, kept, drawn.notes))
    return written


def write_whole(path: Path, text: str) -> None:
    """Write so that a file with its final name is complete."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def _with_notes(layer: LayerVerdict, drawn: DrawnColumns) -> LayerVerdict:
    """The verdict of a layer with a row for every column that is left out, and why."""
    rows = [
        row.model_copy(update={"note": "; ".join(filter(None, (row.note, _not_drawn(drawn.notes.get(row.name)))))})
        for row in layer.features
    ]
    named = {row.name for row in rows}
    rows += [
        FeatureDrift(name=name, note=_not_drawn(why)) for name, why in drawn.notes.items() if name not in named
    ]
    return layer.model_copy(update={"features": tuple(rows)})


def _not_drawn(why: str | None) -> str:
    return f"not drawn: {why}" if why else ""


def _snapshot(layer: LayerVerdict, drawn: DrawnColumns, verdict: DriftVerdict) -> Snapshot:
    from evidently import DataDefinition, Dataset, Report

    from data_contracts.drift.evidently_metrics import VERDICT, ColumnDrift, ColumnShown, LayerDrift, verdict_table

    compared = [row.name for row in layer.features if row.value is not None]
    shown = [name for name in (*drawn.numeric, *drawn.categorical) if name not in compared]
    report = Report(
        [
            LayerDrift(layer=layer.layer),
            *(ColumnDrift(layer=layer.layer, column=name) for name in compared),
            *(ColumnShown(layer=layer.layer, column=name) for name in shown),
        ],
        include_tests=True,
    )
    definition = DataDefinition(numerical_columns=list(drawn.numeric), categorical_columns=list(drawn.categorical))
    return report.run(
        Dataset.from_pandas(drawn.window, data_definition=definition),
        Dataset.from_pandas(drawn.reference, data_definition=definition),
        additional_data={VERDICT: verdict_table(layer)},
        timestamp=window_end(verdict),
        metadata=facts_of(verdict),
        tags=[*tags_of(verdict), f"layer {layer.layer}"],
        name=f"{verdict.window.id}: {layer.layer}, {TITLES[layer.layer]}",
    )
