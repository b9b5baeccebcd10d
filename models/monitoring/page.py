"""Puts together what the page of a window shows: its verdict beside the reference, and the images that moved it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from data_contracts.drift.verdict import DriftVerdict
from data_contracts.expectations.report import ValidationReport
from data_contracts.expectations.window import probability_columns
from models.monitoring.pictures import pictures_of
from models.monitoring.scored_window import ScoredWindow
from models.monitoring.watched import WatchedVersion
from models.reports.formatting import counted
from models.reports.monitoring_page import MixRow, MovedPicture, WindowPage, render_window_page

_DESCRIBED = ("source", "view", "format", "predicted")


def window_page(
    watched: WatchedVersion,
    window: ScoredWindow,
    verdict: DriftVerdict,
    *,
    earlier: Sequence[DriftVerdict],
    contract: ValidationReport | None,
    reports: Mapping[str, str],
    alarms: Sequence[str],
    stores: Path,
) -> str:
    """The page as HTML. stores: where pictures are looked for. The rest as in `WindowPage`."""
    return render_window_page(
        WindowPage(
            verdict=verdict,
            class_titles=watched.class_titles,
            earlier=earlier,
            contract=contract,
            movers=_movers(verdict, window.rows, stores),
            mix=_mix(watched, verdict),
            reports=reports,
            alarms=alarms,
            left_out=_left_out(window),
        )
    )


def _movers(verdict: DriftVerdict, rows: pd.DataFrame, stores: Path) -> list[MovedPicture]:
    pictures = pictures_of([one.image_id for one in verdict.movers], stores)
    known = rows.drop_duplicates("image_id").set_index("image_id")
    shown = []
    for one in verdict.movers:
        words: list[str] = []
        if one.image_id in known.index:
            row = known.loc[one.image_id]
            words = [f"{row['width']} × {row['height']} pixels", *(str(row[name]) for name in _DESCRIBED)]
        described = ", ".join(word for word in words if word)
        shown.append(MovedPicture(one.image_id, one.share, one.why, described, pictures.get(one.image_id, "")))
    return shown


def _mix(watched: WatchedVersion, verdict: DriftVerdict) -> list[MixRow]:
    """Shares of the classes among the answers. Of a reference where several classes may be called, none is shown:
    its calls are not kept.
    """
    answered = sum(verdict.predicted.values())
    if not answered:
        return []
    reference: dict[str, float] = {}
    if watched.profile is not None and not watched.multi_label:
        p = watched.profile.frame[probability_columns(watched.class_names)].to_numpy(np.float64)
        counts = np.bincount(p.argmax(axis=1), minlength=len(watched.class_names))
        reference = dict(zip(watched.class_names, (counts / max(len(p), 1)).tolist(), strict=True))
    return [
        MixRow(
            watched.class_titles.get(name, name),
            verdict.predicted.get(name, 0),
            verdict.predicted.get(name, 0) / answered,
            reference.get(name),
        )
        for name in watched.class_names
    ]


def _left_out(window: ScoredWindow) -> list[str]:
    said = []
    if window.looked_at.duplicates:
        said.append(
            f"{counted(window.looked_at.duplicates, 'row')} of the log were left out: their image had been scored "
            "before by the same version."
        )
    if window.looked_at.damaged:
        files = ", ".join(window.looked_at.damaged)
        said.append(f"These files of the log are damaged and were passed over: {files}.")
    return said
