"""How often a locked test set has been read: every reading is kept, because every reading wears the set out.

Choosing among many models by the same test images fits the choice to those images (Dwork et al. 2015, Science
349:636). Nothing is refused here; what a number is worth after forty readings is said beside it.
"""

from __future__ import annotations

import hashlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from filelock import FileLock
from pydantic import BaseModel, ConfigDict, ValidationError

from data_contracts.errors import EnvironmentProblem
from data_contracts.ontology import Task
from data_contracts.workspace import Workspace
from models.evaluation.results import Evaluations

READINGS = "test_readings.jsonl"


class Reading(BaseModel):
    """One line of the journal. read_at: UTC, ISO 8601."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    test_set: str
    run: str
    bundle: str
    read_at: str


def hash_of_test_set(frame: pd.DataFrame, task: Task) -> str:
    """sha256 of image ids, truths and task: equal exactly for the same images with the same truths.

    frame: image_id, label and, where several classes may be true at once, unknown_classes; in any order.
    """
    unknown = frame["unknown_classes"] if task.multi_label else pd.Series("", index=frame.index)
    rows = sorted(zip(frame["image_id"], frame["label"], unknown, strict=True))
    content = [task.name, task.class_names, task.multi_label, rows]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def count_test_reading(
    workspace: Workspace, evaluations: Evaluations, *, run: str, bundle: str, noted: int
) -> Evaluations:
    """Write down that this test set was read and say how often it has been; a note from `noted` readings on.

    run: name of the pipeline run; bundle: content hash of the model that was measured. Raises EnvironmentProblem
    where the journal cannot be written: a reading that nobody counts must not be shown.
    """
    test = evaluations.test
    reading = Reading(
        test_set=test.test_set, run=run, bundle=bundle, read_at=datetime.now(UTC).isoformat(timespec="seconds")
    )
    path = workspace.home / READINGS
    try:
        readings = _append(path, reading)
    except OSError as error:
        raise EnvironmentProblem(
            f"The journal of test set readings cannot be written: {path} ({error}).",
            why="A test set that is read without being counted wears out unseen.",
            cure="Make room or give the folder the right permissions, then run the command again.",
        ) from error
    notes = test.notes
    if readings >= noted:
        notes = [
            *notes,
            f"This test set has now been read {readings} times. Choices made after seeing it fit it by chance; "
            "confirm what matters on images that no model was measured on.",
        ]
    return evaluations.model_copy(update={"test": test.model_copy(update={"readings": readings, "notes": notes})})


def readings_of(workspace: Workspace, test_set: str) -> list[Reading]:
    """The readings of one test set, first to last. A line that a kill cut short is no reading."""
    path = workspace.home / READINGS
    return _readings(path, test_set) if path.exists() else []


def _append(path: Path, reading: Reading) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")), path.open("ab+") as journal:
        line = reading.model_dump_json().encode() + b"\n"
        if journal.tell() > 0:
            journal.seek(-1, os.SEEK_END)
            if journal.read(1) != b"\n":  # a kill cut the last line short
                line = b"\n" + line
        journal.write(line)
        journal.flush()
        os.fsync(journal.fileno())
        return len(_readings(path, reading.test_set))


def _readings(path: Path, test_set: str) -> list[Reading]:
    found = []
    for line in path.read_bytes().splitlines():
        try:
            reading = Reading.model_validate_json(line)
        except ValidationError:
            continue
        if reading.test_set == test_set:
            found.append(reading)
    return found
