"""The work-list of contradicting labels: what a person decides on, one line per image of a contested picture."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from data_contracts.catalog import Catalog
from data_contracts.identity import find_conflicts
from data_contracts.spreadsheet import to_spreadsheet

EXCLUDE = "exclude"
# What a person fills in; overlay.py reads it back.
DECISION_COLUMNS = ("decision", "who", "why", "date")
WORKLIST_COLUMNS = (
    *("conflict", "image_id", "source", "file", "raw_label", "nodes", "other_side", "suggestion"),
    *DECISION_COLUMNS,
)


def conflict_worklist(catalog: Catalog) -> pd.DataFrame:
    """WORKLIST_COLUMNS as text, one row per image whose label is contested, sorted by conflict, source and file.

    conflict: the identity group. other_side: the copies it contradicts, as "source: nodes (file)". suggestion: the
    nodes that more than half of the contested images of the group carry, else "exclude"; it is a count, not a
    diagnosis. The columns of the decision are empty.
    """
    contested = catalog.frame[catalog.frame["label_conflict"]]
    others: dict[tuple[str, str], list[str]] = {}
    for pair in find_conflicts(catalog).to_dict("records"):
        for this, that in (("a", "b"), ("b", "a")):
            side = f"{pair[f'source_{that}']}: {pair[f'nodes_{that}']} ({pair[f'file_{that}']})"
            others.setdefault((pair[f"source_{this}"], pair[f"file_{this}"]), []).append(side)
    keys = zip(contested["source"], contested["file"], strict=True)
    suggestions = contested.groupby("group_id")["nodes"].agg(lambda cells: _suggested(cells.tolist()))
    lines = contested.assign(
        conflict=contested["group_id"],
        other_side=["; ".join(others.get(key, [])) for key in keys],
        suggestion=contested["group_id"].map(suggestions),
        **dict.fromkeys(DECISION_COLUMNS, ""),
    )
    columns = list(WORKLIST_COLUMNS)
    return lines[columns].astype("str").sort_values(["conflict", "source", "file"], ignore_index=True)


def write_worklist(worklist: pd.DataFrame, path: Path) -> None:
    """Write the work-list as CSV; the final name appears only when the file is complete."""
    part = path.with_name(path.name + ".part")
    # utf-8-sig: without the mark spreadsheet programs read another encoding.
    part.write_text(to_spreadsheet(worklist), encoding="utf-8-sig", newline="")
    os.replace(part, path)


def _suggested(nodes: Sequence[str]) -> str:
    most, times = Counter(nodes).most_common(1)[0]
    return most if most and 2 * times > len(nodes) else EXCLUDE
