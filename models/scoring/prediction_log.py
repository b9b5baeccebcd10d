"""The prediction log: every image a model was asked about and what it answered, append-only, one row per image.

Below the workspace's predictions/<model>/ lies a folder per UTC day of scoring with parquet files in it. A file is
complete or absent and never changed; many small files of a day are merged into one. No row holds a path, the name of
a file or an identifier of a patient.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_contracts.disk import is_full, no_room
from data_contracts.errors import DataGateError, EnvironmentProblem
from data_contracts.expectations.window import DESCRIPTORS, PROBABILITY
from data_contracts.locks import only_one
from data_contracts.workspace import Workspace
from models.registry.versions import require_model_name
from models.scoring.partition import (
    PART,
    SUFFIX,
    DamagedPartition,
    read_partition,
    replaced_by,
    write_partition,
)
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

_DAY_FOLDER = "day="
# A service appends often: beyond that many files of at most that size a day's files are merged into one.
_SMALL_FILES, _SMALL_BYTES = 64, 4 << 20
_KEY = re.compile(r"[0-9a-f]{64}")
_PSEUDONYM = re.compile(r"[^:/\\]*:[0-9a-f]{16}|")


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of the rows handed over. written: new in the log. known: there already, or twice among them."""

    written: int
    known: int


@dataclass(frozen=True, slots=True)
class LogReading:
    """What the log holds. frame: see `log_columns`, sorted by (taken_on, scored_at, image_key), each image once for
    each bundle. damaged: files that were passed over, as day folder and name. duplicates: rows of the frame's images
    that were left out because the image had been scored before by the same bundle.
    """

    frame: pd.DataFrame
    damaged: tuple[str, ...]
    duplicates: int


class PredictionLog:
    """The log of one registered model. Any number of processes may append and read at once.

    Memory: about 100 bytes per logged image once something was appended.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[str, set[bytes]] = {}  # by bundle
        self._indexed: set[str] = set()  # files whose keys are in _known

    @classmethod
    def of(cls, workspace: Workspace, model_name: str) -> PredictionLog:
        """The log of a model; nothing is created before the first row. Raises UsageProblem for an odd name."""
        require_model_name(model_name)
        return cls(workspace.predictions / model_name)

    def append(self, rows: pd.DataFrame) -> Appended:
        """Add the rows whose image is not logged for the same bundle yet; the first of several is kept.

        rows: the columns of `log_columns`; more classes are no error. Rows without image_key, of which not one byte
        could be read, are not logged and not counted. Killed anywhere it can be repeated. Raises DataGateError for
        rows of another form or a patient that is no pseudonym, EnvironmentProblem where the disk is full or refuses;
        what was logged before stays.
        """
        keyed = rows[rows["image_key"] != ""] if "image_key" in rows else rows
        _check(keyed)
        if keyed.empty:
            return Appended(0, 0)
        with self._alone(int(keyed.memory_usage(deep=True).sum())):
            self._index()
            new = keyed[~self._repeated(keyed)]
            for day, of_day in new.groupby(new["scored_at"].str[:10], sort=True):
                folder = self.folder / f"{_DAY_FOLDER}{day}"
                path = write_partition(folder, _table(of_day))
                self._remember(path, of_day)
                self._merge_small(folder)
        return Appended(len(new), len(keyed) - len(new))

    def known(self, bundle: str, image_keys: Sequence[str]) -> set[str]:
        """Those of the keys that are logged for the bundle already."""
        if not self.folder.is_dir():
            return set()
        with self._alone(0):
            self._index()
        logged = self._known.get(bundle, set())
        return {key for key in image_keys if key and bytes.fromhex(key) in logged}

    def read(
        self, *, version: str | None = None, since: date | None = None, until: date | None = None
    ) -> LogReading:
        """The rows of a version, or of all, whose taken_on lies in [since, until); late ones with their own day.

        Columns of classes that a row's model does not have are NaN or "". A damaged file is passed over and named.
        Raises EnvironmentProblem where the log cannot be read at all.
        """
        with self._file_errors(0):
            while True:
                try:
                    return self._read(version, since, until)
                except FileNotFoundError:  # merged into another file since the folder was listed
                    continue

    def _read(self, version: str | None, since: date | None, until: date | None) -> LogReading:
        damaged: list[str] = []
        replaced: set[str] = set()
        tables: dict[str, pa.Table] = {}
        keys: dict[str, pd.DataFrame] = {}
        for path in self._files():
            try:
                table = read_partition(path)
            except DamagedPartition:
                damaged.append(f"{path.parent.name}/{path.name}")
                continue
            replaced |= replaced_by(table)
            if version is not None:
                table = table.filter(pc.field("version") == version)
            keys[path.name] = table.select(["bundle", "image_key", "scored_at"]).to_pandas()
            # What lies outside the dates is let go at once: a log is longer than a window.
            row = pa.array(np.arange(len(table)))
            tables[path.name] = _between(table.append_column("row", row), since, until)
        names = [name for name in tables if name not in replaced]
        first = _first_rows(keys, names)
        found = [tables[name] for name in names if len(tables[name])]
        kept = [tables[name].filter(pa.array(first[name][tables[name]["row"].to_numpy()])) for name in names]
        frame = _frame([table.drop_columns("row") for table in kept if len(table)])
        duplicates = sum(map(len, found)) - len(frame)
        return LogReading(frame, tuple(damaged), duplicates)

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob(f"{_DAY_FOLDER}*/*{SUFFIX}"))

    def _index(self) -> None:
        """Take note of what other processes, or earlier ones, logged; drop what killed ones left half-written."""
        for left in self.folder.glob(f"{_DAY_FOLDER}*/*{PART}"):
            left.unlink(missing_ok=True)  # whoever holds the lock is not writing
        for path in self._files():
            if path.name not in self._indexed:
                try:
                    self._remember(path, read_partition(path).select(["bundle", "image_key"]).to_pandas())
                except DamagedPartition:
                    self._indexed.add(path.name)  # its images may be scored again

    def _remember(self, path: Path, rows: pd.DataFrame) -> None:
        for bundle, keys in rows.groupby("bundle")["image_key"]:
            self._known.setdefault(str(bundle), set()).update(map(bytes.fromhex, keys))
        self._indexed.add(path.name)

    def _repeated(self, rows: pd.DataFrame) -> NDArray[np.bool_]:
        logged = [
            bytes.fromhex(key) in self._known.get(bundle, ())
            for bundle, key in zip(rows["bundle"], rows["image_key"], strict=True)
        ]
        repeated: NDArray[np.bool_] = (
            np.asarray(logged, dtype=bool) | rows.duplicated(["bundle", "image_key"]).to_numpy()
        )
        return repeated

    def _merge_small(self, folder: Path) -> None:
        """Merge the small files of a day where there are too many; the rows stay the same, killed anywhere."""
        small = [path for path in folder.glob(f"*{SUFFIX}") if path.stat().st_size <= _SMALL_BYTES]
        if len(small) <= _SMALL_FILES:
            return
        tables: dict[Path, pa.Table] = {}
        for path in sorted(small):
            try:
                tables[path] = read_partition(path)
            except DamagedPartition:
                continue  # it stays, for `read` to name
        merged_before = set().union(*map(replaced_by, tables.values()))
        sound = {path: table for path, table in tables.items() if path.name not in merged_before}
        if len(sound) < 2:
            return
        merged = pa.concat_tables(
            [table.replace_schema_metadata(None) for table in sound.values()], promote_options="default"
        )
        path = write_partition(folder, merged, [path.name for path in tables])
        self._indexed.add(path.name)
        for old in tables:
            old.unlink()

    @contextmanager
    def _alone(self, bytes_needed: int) -> Iterator[None]:
        with self._file_errors(bytes_needed):
            self.folder.mkdir(parents=True, exist_ok=True)
            with only_one(self.folder, lambda line: None, "writing the prediction log"):
                yield

    @contextmanager
    def _file_errors(self, bytes_needed: int) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if is_full(error):
                raise no_room(_existing(self.folder), bytes_needed, "The prediction log") from error
            raise EnvironmentProblem(
                f"The prediction log {self.folder} cannot be used: {error.strerror or error}.",
                why="What a model answered must be on record before anybody relies on it.",
                cure="See that the folder may be read and written, then run the same command again.",
            ) from error


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


def _check(rows: pd.DataFrame) -> None:
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


def _table(rows: pd.DataFrame) -> pa.Table:
    columns = log_columns(_classes_in(list(rows.columns)))
    return pa.table(
        {name: pa.array(rows[name].tolist(), type=_ARROW[dtype]) for name, dtype in columns.items()},
    )


def _between(table: pa.Table, since: date | None, until: date | None) -> pa.Table:
    if since is not None:
        table = table.filter(pc.field("taken_on") >= since.isoformat())
    return table if until is None else table.filter(pc.field("taken_on") < until.isoformat())


def _first_rows(keys: dict[str, pd.DataFrame], names: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
    """For each file, which of its rows is the first about its image and bundle."""
    if not names:
        return {}
    together = pd.concat([keys[name] for name in names], ignore_index=True)
    in_time = together.sort_values("scored_at", kind="stable")
    first = np.zeros(len(together), bool)
    first[in_time.index[~in_time.duplicated(["bundle", "image_key"])]] = True
    ends = np.cumsum([len(keys[name]) for name in names])
    return dict(zip(names, np.split(first, ends[:-1]), strict=True))


def _frame(tables: Sequence[pa.Table]) -> pd.DataFrame:
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


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if place.is_dir())
