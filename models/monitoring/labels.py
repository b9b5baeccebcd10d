"""Labels that arrive after scoring: a person's table of image ids, joined with those of earlier issues of a window."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd

from data_contracts.errors import UsageProblem

COLUMNS = ["image_id", "label"]
LABELS = "labels.csv"  # beside the verdict that rests on them


def no_labels() -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series([], dtype="str") for name in COLUMNS})


def read_labels(path: Path) -> pd.DataFrame:
    """image_id and label of a CSV file, as text. Raises UsageProblem where it cannot be read or lacks a column."""
    try:
        table = pd.read_csv(path, dtype="str", keep_default_na=False)
        problem = (
            "" if set(COLUMNS) <= set(table.columns) else f"its columns are {', '.join(map(str, table.columns))}"
        )
    except (OSError, ValueError) as error:  # pandas' parser errors are ValueErrors
        table, problem = no_labels(), str(error).splitlines()[0]
    if problem:
        raise UsageProblem(
            f"The labels {path} cannot be used: {problem}.",
            why="Without image ids and labels no performance can be counted.",
            cure=f"Give a CSV file with the columns {','.join(COLUMNS)}; more columns do no harm.",
        )
    return table[COLUMNS]


def joined(known: pd.DataFrame, given: pd.DataFrame) -> pd.DataFrame:
    """All labels; an image that is in both has those given now."""
    return pd.concat([known[~known["image_id"].isin(given["image_id"])], given], ignore_index=True)


def labels_hash(labels: pd.DataFrame, rows: pd.DataFrame) -> str:
    """sha256 of the labels of these rows' images, in no order; "" where none has one."""
    of_rows = labels[labels["image_id"].isin(rows.loc[rows["image_id"] != "", "image_id"])]
    if of_rows.empty:
        return ""
    lines = sorted(of_rows["image_id"] + "\t" + of_rows["label"])
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
