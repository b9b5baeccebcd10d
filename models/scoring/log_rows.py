"""The rows of the prediction log: their columns, what a row must be, and how tables of them become a frame."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_contracts.errors import DataGateError
from data_contracts.expectations.window import DESCRIPTORS, PROBABILITY
from models.scoring.predict import CALL

EMBEDDING = "embedding"
_TEXT, _FLOAT, _INTEGER = "str", "float64", "int64"
_BEFORE_CLASSES = {
    **dict.fromkeys(("image_key", "image_id", "taken_on", "scored_at", "origin", "model", "version"), _TEXT),
    **dict.fromkeys(("bundle", "source", "patient", "view"), _TEXT),
    "age": _FLOAT,
    "sex": _TEXT,
    **dict.fromkeys(("width", "height"), _INTEGER),
    **dict.fromkeys(("mode", "format", "conversion"), _TEXT),
    **dict.fromkeys((*DESCRIPTORS, "chest_likeness"), _FLOAT),
    **dict.fromkeys(("flags", "refused"), _TEXT),
}
_ARROW = {_TEXT: pa.string(), _FLOAT: pa.float64(), _INTEGER: pa.int64(), "object": pa.list_(pa.float32())}

_KEY = re.compile(r"[0-9a-f]{64}")
_PSEUDONYM = re.compile(r"[^:/\\]*:[0-9a-f]{16}|")


def log_columns(class_names: Sequence[str]) -> dict[str, str]:
    """Column -> dtype of the log for a model with these classes, in order; "object" is an array of float32.

    Text is "" where nothing is known, a float NaN, a whole number 0. taken_on: YYYY-MM-DD. scored_at: UTC, ISO 8601
    with milliseconds and Z. The image's own columns are as in the Catalog, the model's as `predict_images` gives them.
    """
    return {
        **_BEFORE_CLASSES,
        **{PROBABILITY + name: _FLOAT for name in class_names},
        "predicted": _TEXT,
        **{CALL + name: _TEXT for name in class_names},
        "abstain": _TEXT,
        EMBEDDING: "object",
    }


def scored(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows whose image was answered, not refused."""
    return frame[frame["refused"] == ""]


def embeddings_of(frame: pd.DataFrame) -> NDArray[np.float32]:
    """(n, d) embeddings of rows that all have one. Raises DataGateError where they differ in length."""
    lengths = {len(embedding) for embedding in frame[EMBEDDING]}
    if len(lengths) > 1:
        raise DataGateError(
            f"The logged embeddings have {sorted(lengths)} numbers.",
            why="Embeddings of different networks, or of refused images, cannot be compared.",
            cure="Take the scored rows of one version.",
        )
    return np.stack(frame[EMBEDDING].tolist()).astype(np.float32) if lengths else np.empty((0, 0), np.float32)


def _classes_in(columns: Sequence[str]) -> list[str]:
    return [name.removeprefix(PROBABILITY) for name in columns if name.startswith(PROBABILITY)]


def check_rows(rows: pd.DataFrame) -> None:
    expected = list(log_columns(_classes_in(list(rows.columns))))
    wrong = sorted(set(rows.columns) ^ set(expected))
    if wrong:
        problem = f"columns missing or unknown: {', '.join(map(str, wrong))}"
    elif not rows["image_key"].map(lambda key: bool(_KEY.fullmatch(key))).all():
        problem = "an image_key is no sha256"
    elif not rows["patient"].map(lambda patient: bool(_PSEUDONYM.fullmatch(patient))).all():
        problem = "a patient is no pseudonym"
    elif pd.to_datetime(rows["scored_at"], format="%Y-%m-%dT%H:%M:%S.%fZ", errors="coerce").isna().any():
        problem = "a scored_at is no UTC time with milliseconds"
    else:
        return
    raise DataGateError(
        f"Rows for the prediction log are not of its form: {problem}.",
        why="Monitoring reads the log and would go wrong in silence; whatever is logged stays.",
        cure="Log what `Scorer.score` gives.",
    )


def table_of(rows: pd.DataFrame) -> pa.Table:
    columns = log_columns(_classes_in(list(rows.columns)))
    return pa.table(
        {name: pa.array(rows[name].tolist(), type=_ARROW[dtype]) for name, dtype in columns.items()},
    )


def frame_of(tables: Sequence[pa.Table]) -> pd.DataFrame:
    tables = sorted(
        tables, key=lambda table: str(pc.min(table["scored_at"]))
    )  # a later model's new classes come last
    classes = list(dict.fromkeys(name for table in tables for name in _classes_in(table.column_names)))
    columns = log_columns(classes)
    table = pa.concat_tables(tables, promote_options="default") if tables else pa.table({})
    found = table.to_pandas()
    frame = pd.DataFrame(
        {name: found[name] if name in found else pd.Series([], dtype=dtype) for name, dtype in columns.items()}
    )
    text = [name for name, dtype in columns.items() if dtype == _TEXT]
    frame = frame.fillna(dict.fromkeys(text, "")).astype(columns)
    return frame.sort_values(["taken_on", "scored_at", "image_key"], kind="stable").reset_index(drop=True)
