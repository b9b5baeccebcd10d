"""Fault F47: a prediction log that is cut off, filled up, killed, written twice or read late."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from data_contracts.errors import EnvironmentProblem
from models.scoring import partition, prediction_log
from models.scoring.log_reading import PLACE
from models.scoring.prediction_log import Appended, PredictionLog
from tests.unit.test_prediction_log import images, rows

ROOT = str(Path(__file__).parents[2])
FIRST, SECOND = "2026-03-01T10:00:00.000Z", "2026-03-02T10:00:00.000Z"


@pytest.fixture
def log(tmp_path: Path) -> PredictionLog:
    """Two days of two images each."""
    log = PredictionLog(tmp_path / "predictions" / "chest")
    log.append(rows(1, 2, scored_at=FIRST))
    log.append(rows(3, 4, scored_at=SECOND))
    return log


def partitions(log: PredictionLog) -> list[Path]:
    return sorted(log.folder.rglob("*.parquet"))


def leftovers(log: PredictionLog) -> list[Path]:
    return [path for path in log.folder.rglob("*") if path.is_file() and path.suffix != ".parquet"]


# Half a file


@pytest.mark.parametrize("kept", [0, 7, 0.5, -1])
def test_f47_a_truncated_file_is_passed_over_named_and_its_images_can_be_scored_again(
    log: PredictionLog, kept: float
) -> None:
    path = partitions(log)[0]
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept) if isinstance(kept, float) else kept])
    found = log.read()
    assert images(found.frame) == [3, 4]
    assert found.damaged == (f"day=2026-03-01/{path.name}",)
    fresh = PredictionLog(log.folder)
    assert fresh.append(rows(1, 2, 3, scored_at="2026-03-03T10:00:00.000Z")) == Appended(written=2, known=1)
    assert images(fresh.read().frame) == [3, 4, 1, 2]


def test_f47_one_changed_bit_anywhere_is_seen(log: PredictionLog) -> None:
    path = partitions(log)[0]
    data = path.read_bytes()
    for position in range(0, len(data), 101):
        changed = bytearray(data)
        changed[position] ^= 1
        path.write_bytes(changed)
        assert len(log.read().damaged) == 1
    path.write_bytes(data)
    assert log.read().damaged == ()


@pytest.mark.parametrize("column", PLACE)
def test_f47_a_changed_bit_in_what_says_where_rows_lie_is_seen_without_reading_the_rest(
    log: PredictionLog, column: str
) -> None:
    path = partitions(log)[0]
    change_one_bit(path, column)
    found = log.places()
    assert (images(found.frame), found.damaged) == ([3, 4], (f"day=2026-03-01/{path.name}",))


def test_f47_an_image_whose_key_is_damaged_can_be_scored_again(log: PredictionLog) -> None:
    change_one_bit(partitions(log)[0], "image_key")
    assert PredictionLog(log.folder).known("b" * 64, [f"{number:064x}" for number in (1, 3)]) == {f"{3:064x}"}


def test_f47_damage_in_the_rest_of_a_row_is_seen_by_who_reads_the_row(log: PredictionLog) -> None:
    path = partitions(log)[0]
    change_one_bit(path, "embedding")
    found = log.places()
    assert (images(found.frame), found.damaged) == ([1, 2, 3, 4], ())
    read = log.rows(found.frame)
    assert (images(read.frame), read.damaged) == ([3, 4], (f"day=2026-03-01/{path.name}",))
    assert log.read().damaged == read.damaged


def change_one_bit(path: Path, column: str) -> None:
    """In the last page of a column."""
    chunks = pq.ParquetFile(path).metadata.row_group(0)
    (chunk,) = [
        chunk
        for chunk in map(chunks.column, range(chunks.num_columns))
        if chunk.path_in_schema.split(".")[0] == column
    ]
    begin = chunk.dictionary_page_offset or chunk.data_page_offset
    data = bytearray(path.read_bytes())
    data[begin + chunk.total_compressed_size - 1] ^= 1
    path.write_bytes(data)


def test_f47_a_file_that_is_no_partition_is_named_and_harms_nothing(log: PredictionLog) -> None:
    (log.folder / "day=2026-03-01" / "copied.parquet").write_bytes(b"PAR1")
    (log.folder / "notes.txt").write_text("not of the log")
    found = log.read()
    assert found.damaged == ("day=2026-03-01/copied.parquet",)
    assert images(found.frame) == [1, 2, 3, 4]


def test_f47_a_damaged_file_survives_merging_for_somebody_to_look_at(
    log: PredictionLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = partitions(log)[0]
    path.write_bytes(path.read_bytes()[:100])
    monkeypatch.setattr(prediction_log, "_SMALL_FILES", 2)
    for number in (5, 6):
        log.append(rows(number, scored_at=FIRST))
    assert len(partitions(log)) == 3
    found = log.read()
    assert (images(found.frame), len(found.damaged)) == ([5, 6, 3, 4], 1)


# A full disk


@pytest.mark.parametrize("place", ["os.fsync", "os.replace", "pq.write_table"])
def test_f47_a_full_disk_loses_nothing_and_the_same_rows_can_be_appended_later(
    log: PredictionLog, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    before = log.read().frame

    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    module, name = place.split(".")
    with monkeypatch.context() as patch:
        patch.setattr(getattr(partition, module), name, full)
        with pytest.raises(EnvironmentProblem, match="The prediction log needs"):
            log.append(rows(5, scored_at=SECOND))
    pd.testing.assert_frame_equal(log.read().frame, before)
    assert leftovers(log) == []
    assert log.append(rows(5, scored_at=SECOND)).written == 1


def test_f47_a_folder_that_may_not_be_written_is_an_environment_problem(tmp_path: Path) -> None:
    (tmp_path / "predictions").write_text("a file where the folder should be")
    with pytest.raises(EnvironmentProblem, match="cannot be used"):
        PredictionLog(tmp_path / "predictions" / "chest").append(rows(1))


# A kill

KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from models.scoring import partition, prediction_log
from models.scoring.log_reading import PLACE
from tests.unit.test_prediction_log import rows
import pandas as pd
calls, does = [], {place}
def killing(*arguments, **options):
    calls.append(1)
    if len(calls) < {call}:
        return does(*arguments, **options)
    if {after}:
        does(*arguments, **options)
    os.kill(os.getpid(), signal.SIGKILL)
{place} = killing
prediction_log._SMALL_FILES = 2
log = prediction_log.PredictionLog(Path({folder!r}))
batch = pd.concat([rows(5, 6, scored_at={first!r}), rows(3, 7, scored_at={second!r})], ignore_index=True)
log.append(batch)
log.append(rows(8, scored_at={second!r}))
"""


@pytest.mark.parametrize(
    ("place", "call", "after"),
    [
        ("partition.os.fsync", 1, False),  # the first day's rows written, not on the disk
        ("partition.os.replace", 1, False),  # on the disk without a name
        ("partition.os.replace", 1, True),  # the first day done, the second not begun
        ("partition.os.replace", 2, True),
        ("partition.os.replace", 4, False),  # the merged file without a name
        ("partition.os.replace", 4, True),  # merged, and the small ones still there
        ("Path.unlink", 2, True),  # one of them removed
    ],
)
def test_f47_killed_anywhere_the_log_is_whole_and_the_same_rows_can_be_appended_again(
    log: PredictionLog, place: str, call: int, after: bool
) -> None:
    script = KILLED.format(
        root=ROOT, place=place, call=call, after=after, folder=str(log.folder), first=FIRST, second=SECOND
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    found = log.read()
    assert (found.damaged, found.duplicates) == ((), 0)
    assert set(images(found.frame)) >= {1, 2, 3, 4}
    batch = pd.concat([rows(5, 6, scored_at=FIRST), rows(3, 7, 8, scored_at=SECOND)], ignore_index=True)
    again = log.append(batch)
    assert again.written + again.known == 5
    assert images(log.read().frame) == [1, 2, 5, 6, 3, 4, 7, 8]
    assert log.read().duplicates == 0
    assert leftovers(log) == []


# Duplicates and late data


def test_f47_rows_that_were_logged_twice_all_the_same_count_once_and_the_first_answer_stays(
    log: PredictionLog, tmp_path: Path
) -> None:
    elsewhere = PredictionLog(tmp_path / "elsewhere")  # a second machine, whose log is copied here
    elsewhere.append(rows(2, 9, scored_at="2026-03-05T10:00:00.000Z", predicted="covid19"))
    (copied,) = partitions(elsewhere)
    target = log.folder / copied.parent.name
    target.mkdir()
    (target / copied.name).write_bytes(copied.read_bytes())
    found = log.read()
    assert images(found.frame) == [1, 2, 3, 4, 9]
    assert found.duplicates == 1
    assert found.frame["predicted"].tolist() == [*["normal"] * 4, "covid19"]
    assert log.read(since=date(2026, 3, 5)).duplicates == 1
    assert images(log.read(since=date(2026, 3, 5)).frame) == [9]


def test_f47_what_is_scored_late_is_read_with_the_day_it_was_taken_on(log: PredictionLog) -> None:
    log.append(rows(5, scored_at="2026-04-20T10:00:00.000Z", taken_on="2026-03-01"))
    assert images(log.read(since=date(2026, 3, 1), until=date(2026, 3, 2)).frame) == [1, 2, 5]
    assert images(log.read(since=date(2026, 4, 1)).frame) == []


def test_f47_many_writers_and_a_reader_at_once_lose_and_repeat_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_log, "_SMALL_FILES", 3)
    folder = tmp_path / "chest"

    def write(start: int) -> int:
        mine = PredictionLog(folder)  # as another process has it
        return sum(mine.append(rows(number, number + 1)).written for number in range(start, start + 8))

    def read(_: int) -> tuple[int, ...]:
        found = PredictionLog(folder).read()
        return len(found.damaged), found.duplicates

    with ThreadPoolExecutor(5) as pool:
        written = pool.map(write, (0, 4, 8))
        seen = list(pool.map(read, range(10)))
        assert sum(written) == 17
    assert set(seen) == {(0, 0)}
    assert images(PredictionLog(folder).read().frame) == list(range(17))
