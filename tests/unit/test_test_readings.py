"""Readings of a locked test set are counted, whoever reads and however a reading ends."""

from __future__ import annotations

import threading
from pathlib import Path

import pandas as pd
import pytest

from data_contracts.errors import EnvironmentProblem
from data_contracts.ontology import task_named
from data_contracts.workspace import Workspace
from models.evaluation.results import UNMEASURED, Evaluation, Evaluations
from models.evaluation.test_readings import READINGS, count_test_reading, hash_of_test_set, readings_of

TASK = task_named("covid-pneumonia-normal")


def _evaluations(test_set: str = "a") -> Evaluations:
    one = Evaluation(
        architecture="tiny",
        split="test",
        n=0,
        n_groups=0,
        without_patient_id=0,
        class_names=[],
        classes=[],
        confusion=[],
        accuracy=UNMEASURED,
        balanced_accuracy=UNMEASURED,
        macro_auc=UNMEASURED,
        primary_metric="macro_auc",
        primary=UNMEASURED,
        notes=["first"],
        test_set=test_set,
    )
    return Evaluations(validation=one, test=one)


def _read(home: Path, test_set: str = "a", noted: int = 20) -> Evaluations:
    return count_test_reading(Workspace(home), _evaluations(test_set), run="r", bundle="b", noted=noted)


def test_each_reading_of_a_test_set_is_counted_and_others_are_not(tmp_path: Path) -> None:
    assert [_read(tmp_path).test.readings, _read(tmp_path).test.readings] == [1, 2]
    assert _read(tmp_path, "another").test.readings == 1
    assert _read(tmp_path).validation.readings is None
    kept = readings_of(Workspace(tmp_path), "a")
    assert [(one.run, one.bundle) for one in kept] == [("r", "b")] * 3
    assert all(one.read_at.endswith("+00:00") for one in kept)


def test_a_note_is_given_from_the_stated_number_on(tmp_path: Path) -> None:
    assert _read(tmp_path, noted=2).test.notes == ["first"]
    notes = _read(tmp_path, noted=2).test.notes
    assert notes[0] == "first"
    assert notes[1].startswith("This test set has now been read 2 times.")


def test_a_line_cut_short_by_a_kill_spoils_neither_count_nor_journal(tmp_path: Path) -> None:
    _read(tmp_path)
    with (tmp_path / READINGS).open("ab") as journal:
        journal.write(b'{"test_set": "a", "ru')
    assert _read(tmp_path).test.readings == 2
    assert _read(tmp_path).test.readings == 3
    assert readings_of(Workspace(tmp_path / "nowhere"), "a") == []


def test_simultaneous_readers_are_all_counted(tmp_path: Path) -> None:
    seen: list[int | None] = []
    readers = [threading.Thread(target=lambda: seen.append(_read(tmp_path).test.readings)) for _ in range(8)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert sorted(seen) == list(range(1, 9))


def test_a_reading_that_cannot_be_counted_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / READINGS).mkdir()
    with pytest.raises(EnvironmentProblem, match="cannot be written"):
        _read(tmp_path)


def test_a_test_set_is_its_images_truths_and_task_in_any_order() -> None:
    frame = pd.DataFrame({"image_id": ["a", "b"], "label": ["covid19", "normal"]})
    same = hash_of_test_set(frame, TASK)
    assert hash_of_test_set(frame.iloc[::-1], TASK) == same
    assert hash_of_test_set(frame.assign(source="x"), TASK) == same
    assert hash_of_test_set(frame.assign(label="normal"), TASK) != same
    assert hash_of_test_set(frame.iloc[:1], TASK) != same
    assert hash_of_test_set(frame, task_named("covid-binary")) != same
    several = frame.assign(unknown_classes="")
    task = task_named("nih-14")
    assert hash_of_test_set(several, task) != hash_of_test_set(several.assign(unknown_classes="edema"), task)
