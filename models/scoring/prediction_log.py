"""The prediction log: every image a model was asked about and what it answered, append-only, one row per image.

Below the workspace's predictions/<model>/ lies a folder per UTC day of scoring with parquet files in it. A file is
complete or absent and never changed; many small files of a day are merged into one. No row holds a path, the name of
a file or an identifier of a patient.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from itertools import compress
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from data_contracts.disk import is_full, no_room
from data_contracts.errors import EnvironmentProblem
from data_contracts.locks import only_one
from data_contracts.workspace import Workspace
from models.registry.versions import require_model_name
from models.scoring.log_reading import ALWAYS, DAY_FOLDER, Days, LogReading, day_folder, read_places, read_rows
from models.scoring.log_rows import check_rows, table_of
from models.scoring.logged_images import LoggedImages
from models.scoring.partition import (
    PART,
    SUFFIX,
    DamagedPartition,
    read_columns,
    read_partition,
    replaced_by,
    write_partition,
)

# A service appends often: beyond that many files of at most that size a day's files are merged into one.
_SMALL_FILES, _SMALL_BYTES = 64, 4 << 20


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of the rows handed over. written: new in the log. known: there already, or twice among them."""

    written: int
    known: int


class PredictionLog:
    """The log of one registered model. Any number of processes may append and read at once.

    Memory: about 16 bytes per logged image once something was appended.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: defaultdict[str, LoggedImages] = defaultdict(LoggedImages)  # by bundle
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
        check_rows(keyed)
        if keyed.empty:
            return Appended(0, 0)
        with self._alone(int(keyed.memory_usage(deep=True).sum())):
            self._index()
            new = keyed[~self._repeated(keyed)]
            for day, of_day in new.groupby(new["scored_at"].str[:10], sort=True):
                folder = day_folder(self.folder, str(day))
                path = write_partition(folder, table_of(of_day))
                self._remember(path, of_day)
                self._merge_small(folder)
        return Appended(len(new), len(keyed) - len(new))

    def known(self, bundle: str, image_keys: Sequence[str]) -> set[str]:
        """Those of the keys that are logged for the bundle already."""
        if not self.folder.is_dir():
            return set()
        keyed = [key for key in image_keys if key]
        with self._alone(0):
            self._index()
            return set(compress(keyed, self._known[bundle].holds(keyed)))

    def read(
        self, *, version: str | None = None, since: date | None = None, until: date | None = None
    ) -> LogReading:
        """The rows of a version, or of all, whose taken_on lies in [since, until); late ones with their own day.

        Columns of classes that a row's model does not have are NaN or "". A damaged file is passed over and named.
        Raises EnvironmentProblem where the log cannot be read at all.
        """
        places = self.places(version=version, taken=Days(since, until))
        whole = self.rows(places.frame)
        damaged = tuple(sorted({*places.damaged, *whole.damaged}))
        return LogReading(whole.frame, damaged, places.duplicates)

    def places(self, *, version: str | None = None, taken: Days = ALWAYS, scored: Days = ALWAYS) -> LogReading:
        """Where the rows lie that were taken and scored on these days: the columns PLACE, at a fraction of the price.

        What was scored on other days is not looked at. A damaged file is named where these columns of it are damaged.
        """
        return self._settled(lambda: read_places(self.folder, version, taken, scored))

    def rows(self, places: pd.DataFrame) -> LogReading:
        """The whole rows of those that `places` found. Files are read only where they hold one of them."""
        return self._settled(lambda: read_rows(self.folder, places))

    def _settled(self, read: Callable[[], LogReading]) -> LogReading:
        with self._file_errors(0):
            while True:
                try:
                    return read()
                except FileNotFoundError:  # merged into another file since the folder was listed
                    continue

    def _index(self) -> None:
        """Take note of what other processes, or earlier ones, logged; drop what killed ones left half-written."""
        for left in self.folder.glob(f"{DAY_FOLDER}*/*{PART}"):
            left.unlink(missing_ok=True)  # whoever holds the lock is not writing
        for path in sorted(self.folder.glob(f"{DAY_FOLDER}*/*{SUFFIX}")):
            if path.name not in self._indexed:
                try:
                    self._remember(path, read_columns(path, ["bundle", "image_key"]).to_pandas())
                except DamagedPartition:
                    self._indexed.add(path.name)  # its images may be scored again

    def _remember(self, path: Path, rows: pd.DataFrame) -> None:
        for bundle, keys in rows.groupby("bundle")["image_key"]:
            self._known[str(bundle)].add(keys.tolist())
        self._indexed.add(path.name)

    def _repeated(self, rows: pd.DataFrame) -> NDArray[np.bool_]:
        repeated = rows.duplicated(["bundle", "image_key"]).to_numpy(copy=True)
        for bundle, places in rows.groupby("bundle").indices.items():
            repeated[places] |= self._known[str(bundle)].holds(rows["image_key"].iloc[places].tolist())
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


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if place.is_dir())
