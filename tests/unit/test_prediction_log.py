"""The prediction log: what is written once, read back by day, version and class, and merged without a change."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_contracts.errors import DataGateError, UsageProblem
from data_contracts.workspace import Workspace
from models.scoring import prediction_log
from models.scoring.log_reading import PLACE, Days
from models.scoring.log_rows import embeddings_of, log_columns, scored
from models.scoring.prediction_log import Appended, PredictionLog

CLASSES = ("covid19", "normal")
BUNDLE = "b" * 64


def rows(
    *numbers: int,
    classes: tuple[str, ...] = CLASSES,
    scored_at: str = "2026-03-01T10:00:00.000Z",
    **columns: object,
) -> pd.DataFrame:
    """A log row per number, which is its image; `columns` are set in all of them."""
    empty = {"str": "", "float64": 0.5, "int64": 64}
    frame = pd.DataFrame(
        {name: [empty.get(dtype)] * len(numbers) for name, dtype in log_columns(classes).items()}, dtype="object"
    )
    frame["image_key"] = frame["image_id"] = [f"{number:064x}" for number in numbers]
    frame["embedding"] = pd.Series([np.full(3, number, np.float32) for number in numbers], dtype="object")
    said = {
        "version": "1",
        "bundle": BUNDLE,
        "taken_on": scored_at[:10],
        "scored_at": scored_at,
        "predicted": "normal",
    }
    return frame.assign(**{**said, **columns}).astype(log_columns(classes))


@pytest.fixture
def log(tmp_path: Path) -> PredictionLog:
    return PredictionLog.of(Workspace(tmp_path), "lungline-small")


def images(frame: pd.DataFrame) -> list[int]:
    return [int(key, 16) for key in frame["image_key"]]


def files(log: PredictionLog) -> list[str]:
    return sorted(path.relative_to(log.folder).as_posix() for path in log.folder.rglob("*") if path.is_file())


# What is written


def test_what_was_appended_is_read_back_as_it_was(log: PredictionLog) -> None:
    given = rows(1, 2, source="hospital-a", patient="hospital-a:0123456789abcdef", age=float("nan"))
    assert log.append(given) == Appended(written=2, known=0)
    found = log.read()
    pd.testing.assert_frame_equal(found.frame, given)
    assert (found.damaged, found.duplicates) == ((), 0)
    np.testing.assert_array_equal(embeddings_of(found.frame), [[1, 1, 1], [2, 2, 2]])


def test_the_columns_are_those_that_monitoring_reads() -> None:
    promised = """
        image_key image_id taken_on scored_at origin model version bundle source patient view age sex
        width height mode format conversion mean std p01 p50 p99 saturated sharpness border_energy chest_likeness
        flags refused p_normal predicted call_normal abstain embedding
    """
    assert list(log_columns(["normal"])) == promised.split()


def test_an_empty_log_is_a_table_without_rows_and_creates_nothing(log: PredictionLog) -> None:
    found = log.read()
    assert list(found.frame.columns) == list(log_columns([]))
    assert found.frame["age"].dtype == np.float64
    assert embeddings_of(found.frame).shape == (0, 0)
    assert log.append(rows()) == Appended(0, 0)
    assert log.known(BUNDLE, ["0" * 64]) == set()
    assert not log.folder.exists()


def test_the_same_rows_have_the_same_bytes_in_every_log(log: PredictionLog, tmp_path: Path) -> None:
    other = PredictionLog.of(Workspace(tmp_path / "elsewhere"), "lungline-small")
    log.append(rows(1, 2))
    other.append(rows(1, 2))
    assert files(log) == files(other)


def test_a_partition_is_the_utc_day_of_scoring_whatever_day_the_image_was_taken(log: PredictionLog) -> None:
    late = rows(1, scored_at="2026-03-02T00:00:00.000Z", taken_on="2026-02-01")
    log.append(pd.concat([late, rows(2, scored_at="2026-03-01T23:59:59.999Z")], ignore_index=True))
    assert [name.split("/")[0] for name in files(log)] == ["day=2026-03-01", "day=2026-03-02"]


# Each image once for each bundle


def test_an_image_is_logged_once_for_a_bundle_by_whichever_process(log: PredictionLog, tmp_path: Path) -> None:
    log.append(rows(1, 2))
    again = PredictionLog.of(Workspace(tmp_path), "lungline-small")
    later = rows(2, 3, scored_at="2026-03-09T10:00:00.000Z")
    assert again.append(later) == Appended(written=1, known=1)
    assert log.append(later) == Appended(written=0, known=2)
    assert images(log.read().frame) == [1, 2, 3]
    assert log.known(BUNDLE, [f"{n:064x}" for n in (2, 3, 4)]) == {f"{n:064x}" for n in (2, 3)}


def test_another_bundle_answers_the_same_image_again(log: PredictionLog) -> None:
    log.append(rows(1))
    assert log.append(rows(1, bundle="c" * 64, version="2")).written == 1
    assert images(log.read(version="2").frame) == [1]
    assert len(log.read().frame) == 2
    assert log.known("d" * 64, [f"{1:064x}"]) == set()


def test_an_image_twice_in_one_batch_is_one_row_and_counted(log: PredictionLog) -> None:
    twice = rows(1, 2, 1).assign(source=["first", "first", "second"])
    assert log.append(twice) == Appended(written=2, known=1)
    assert set(log.read().frame["source"]) == {"first"}


def test_what_could_not_be_read_at_all_has_no_key_and_is_not_logged(log: PredictionLog) -> None:
    assert log.append(rows(1, 2).assign(image_key=["", f"{2:064x}"])) == Appended(written=1, known=0)


# Windows, versions, classes


def test_since_is_within_and_until_is_not(log: PredictionLog) -> None:
    for day in (1, 2, 3):
        log.append(rows(day, scored_at=f"2026-03-0{day}T10:00:00.000Z"))
    read = log.read(since=date(2026, 3, 2), until=date(2026, 3, 3))
    assert images(read.frame) == [2]
    assert images(log.read(since=date(2026, 3, 2)).frame) == [2, 3]
    log.append(rows(9, scored_at="2026-03-02T11:00:00.000Z", version="2", bundle="c" * 64))
    assert images(log.read(version="1", since=date(2026, 3, 2), until=date(2026, 3, 3)).frame) == [2]


def test_where_rows_lie_is_found_without_reading_the_rest_of_them(log: PredictionLog) -> None:
    for day in (1, 2, 3):
        log.append(rows(day, scored_at=f"2026-03-0{day}T10:00:00.000Z", taken_on="2026-02-28"))
    found = log.places(version="1", scored=Days(date(2026, 3, 2)))
    assert list(found.frame.columns) == list(PLACE)
    assert images(found.frame) == [2, 3]
    whole = log.rows(found.frame.iloc[1:]).frame
    pd.testing.assert_frame_equal(whole, rows(3, scored_at="2026-03-03T10:00:00.000Z", taken_on="2026-02-28"))
    assert images(log.places(taken=Days(None, date(2026, 2, 28))).frame) == []


def test_rows_are_sorted_by_day_taken_then_time_scored_then_image(log: PredictionLog) -> None:
    log.append(rows(1, scored_at="2026-03-03T10:00:00.000Z", taken_on="2026-03-01"))
    log.append(rows(3, 2, scored_at="2026-03-02T10:00:00.000Z"))
    log.append(rows(4, scored_at="2026-03-01T11:00:00.000Z"))
    assert images(log.read().frame) == [4, 1, 2, 3]


def test_versions_with_different_classes_are_read_together(log: PredictionLog) -> None:
    log.append(rows(1))
    later = {"scored_at": "2026-03-02T10:00:00.000Z", "bundle": "c" * 64, "version": "2"}
    new = rows(2, classes=("normal", "hernia"), **later)
    new["embedding"] = pd.Series([np.zeros(5, np.float32)], dtype="object")
    log.append(new)
    both = log.read().frame
    assert list(both.columns) == list(log_columns(["covid19", "normal", "hernia"]))
    assert both["p_hernia"].isna().tolist() == [True, False]
    assert both["call_covid19"].tolist() == ["", ""]
    assert list(log.read(version="2").frame.columns) == list(new.columns)
    with pytest.raises(DataGateError, match="numbers"):
        embeddings_of(both)


def test_refused_images_are_told_from_scored_ones(log: PredictionLog) -> None:
    log.append(rows(1, 2).assign(refused=["", "no contrast"]))
    assert images(scored(log.read().frame)) == [1]


# What never enters


@pytest.mark.parametrize(
    "changes",
    [
        {"patient": "Doe^John"},
        {"patient": "hospital-a:12345"},
        {"image_key": "../../etc/passwd"},
        {"scored_at": "2026-03-01 10:00"},
        {"file": "doe_john.png"},
    ],
    ids=["name", "number", "path", "time", "file"],
)
def test_rows_of_another_form_are_refused_and_their_cells_not_repeated(
    log: PredictionLog, changes: dict[str, str]
) -> None:
    with pytest.raises(DataGateError) as refusal:
        log.append(rows(1).assign(**changes))
    assert not any(value in str(refusal.value) for value in changes.values())
    assert not log.folder.exists()


def test_a_log_has_no_name_that_leads_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match="name a model"):
        PredictionLog.of(Workspace(tmp_path), "../elsewhere")


# Merging


def test_many_small_files_of_a_day_become_one_with_the_same_content(
    log: PredictionLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unmerged = PredictionLog.of(Workspace(tmp_path / "elsewhere"), "lungline-small")
    batches = [*(rows(n) for n in range(4)), rows(9, classes=("normal", "hernia"), bundle="c" * 64)]
    for batch in batches:
        unmerged.append(batch)
    monkeypatch.setattr(prediction_log, "_SMALL_FILES", 4)
    for batch in batches:
        log.append(batch)
    assert (len(files(unmerged)), len(files(log))) == (5, 1)
    pd.testing.assert_frame_equal(log.read().frame, unmerged.read().frame)
    assert log.append(rows(2, 5)) == PredictionLog(log.folder).append(rows(3, 6)) == Appended(written=1, known=1)


def test_large_files_are_left_as_they_are(log: PredictionLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction_log, "_SMALL_FILES", 2)
    monkeypatch.setattr(prediction_log, "_SMALL_BYTES", 1)
    for n in range(4):
        log.append(rows(n))
    assert len(files(log)) == 4


def test_reading_the_log_needs_neither_torch_nor_mlflow() -> None:
    code = (
        "import sys; from models.scoring.prediction_log import PredictionLog; "
        "sys.exit(' '.join({'torch', 'mlflow', 'zenml', 'timm'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
