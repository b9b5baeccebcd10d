"""Keeps on disk what a training reports to MLflow until MLflow has it, and brings it there after an outage.

Each training has a journal: a line of JSON per event. It is removed when MLflow took every event, and replayed
otherwise. Events keep the time they happened at, so that MLflow recognises what it already has and a journal may be
replayed any number of times.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from models.registry.tracking import Outcome, TrackedRun, TrackingStore

JOURNAL_TAG = "lungline.journal"
_log = logging.getLogger("lungline.tracking")


class Journal:
    """The events of one training as they happen; its lock is held for as long as the training lives.

    A disk that refuses costs the journal, never the training.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = _lock_of(path)

    @classmethod
    def begin(cls, folder: Path, header: Mapping[str, Any]) -> Self:
        """A new journal in the folder. header: experiment, pipeline_run, shared, name, settings, tags; all JSON."""
        journal = cls(folder / f"{header['pipeline_run']}-{secrets.token_hex(4)}.jsonl")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            journal._lock.acquire(timeout=0)
        except (OSError, Timeout) as error:
            _log.warning("what an MLflow outage would lose is not kept: %s", error)
        journal.add("begin", **header)
        return journal

    @property
    def name(self) -> str:
        return self._path.stem

    def add(self, event: str, **content: Any) -> None:
        """One event; what it needs to happen again, as JSON."""
        if not self._lock.is_locked:
            return
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"event": event, **content}) + "\n")
        except OSError as error:
            _log.warning("%s is not kept for MLflow: %s", event, error.strerror)

    def end(self, *, delivered: bool) -> None:
        """Let go of the journal; remove it where MLflow has it all."""
        if delivered:
            self._path.unlink(missing_ok=True)
        self._lock.release()


def replay_journals(store: TrackingStore, folder: Path) -> None:
    """Bring to MLflow what earlier trainings could not.

    Journals of trainings that still run are left alone; one that MLflow refuses although it answers is set aside.
    Nothing here raises because MLflow fails.
    """
    for path in sorted(folder.glob("*.jsonl")):
        lock = _lock_of(path)
        try:
            lock.acquire(timeout=0)
        except (OSError, Timeout):
            continue
        try:
            events = _read(path)
            if not events or _replay(store, path.stem, events):
                path.unlink(missing_ok=True)
            elif not store.answers():
                return  # the others would wait for it in vain
            else:
                _log.warning("MLflow refuses what was kept in %s", path.name)
                path.replace(path.with_suffix(".refused"))
        except OSError as error:
            _log.warning("what was kept in %s for MLflow cannot be read: %s", path.name, error.strerror)
        finally:
            lock.release()


def _replay(store: TrackingStore, name: str, events: list[dict[str, Any]]) -> bool:
    """Whether MLflow took all of it."""
    header = events[0]
    outcome: Outcome = "KILLED"  # where no end was noted
    parent = store.parent_run(header["experiment"], header["pipeline_run"], header["tags"], header["shared"])
    known = next((event["run_id"] for event in events if event["event"] == "run" and event["run_id"]), "")
    run_id = known or (store.run_tagged(header["experiment"], JOURNAL_TAG, name) if parent else "")
    if run_id:
        run = store.attach(run_id)
    else:
        run = store.child_run(parent, header["name"], header["settings"], {**header["tags"], JOURNAL_TAG: name})
    for event in events[1:]:
        outcome = _repeat(run, event) or outcome
    run.finish(outcome)
    return run.lost == 0 and bool(run.run_id)


def _repeat(run: TrackedRun, event: dict[str, Any]) -> Outcome | None:
    if event["event"] == "metrics":
        run.log_metrics(event["metrics"], step=event["step"], at=event["at"])
    elif event["event"] == "bundle":
        run.name_bundle_hash(event["content_hash"])
    elif event["event"] == "finish":
        outcome: Outcome = event["outcome"]
        return outcome
    return None


def _read(path: Path) -> list[dict[str, Any]]:
    """The events up to the first line that a kill left unfinished; none where even the first is."""
    events = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            events.append(json.loads(line))
        except ValueError:
            break
    return events


def _lock_of(path: Path) -> FileLock:
    return FileLock(path.with_suffix(".lock"))


def now_ms() -> int:
    """Milliseconds since 1970, as MLflow counts time."""
    return int(time.time() * 1000)
