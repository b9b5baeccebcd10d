"""Puts every answer and every refusal into the prediction log, in the background and in batches.

A caller is answered first, and the rows are on the disk within about a second. A process that is killed in between
loses the record of at most that second; waiting for the disk instead would make every answer as slow as the slowest
disk. In turn nothing is answered for long that cannot be recorded: while writing fails the service is not ready, the
rows are kept and written again each second, and beyond BACKLOG rows predictions are refused.
"""

from __future__ import annotations

import logging
import threading
import time

import pandas as pd

from data_contracts.errors import LunglineError
from deploy.serving.metrics import Metrics
from deploy.serving.refusals import Refused
from models.scoring.prediction_log import PredictionLog

BATCH = 64  # rows
FLUSH_SECONDS = 1.0
BACKLOG = 5_000  # rows; an embedding of 2048 numbers makes that about 60 MB

_log = logging.getLogger("lungline.serving")


class Recorder:
    """A thread that owns the log. Rows may be added from any thread."""

    def __init__(self, log: PredictionLog, metrics: Metrics, flush_seconds: float = FLUSH_SECONDS) -> None:
        self._prediction_log = log
        self._metrics = metrics
        self._flush_seconds = flush_seconds
        self._lock = threading.Lock()
        self._frames: list[pd.DataFrame] = []
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._trouble = ""
        self._thread = threading.Thread(target=self._work, name="prediction-log", daemon=True)

    @property
    def waiting(self) -> int:
        """Rows that are not on the disk yet."""
        with self._lock:
            return sum(map(len, self._frames))

    @property
    def trouble(self) -> str:
        """Why the last write failed; "" where it did not."""
        return self._trouble

    def start(self) -> None:
        self._thread.start()

    def require_room(self) -> None:
        """Raise Refused (503) where so much waits for the disk that no more may be answered."""
        if self.waiting >= BACKLOG:
            raise Refused(
                503,
                "not_recorded",
                "Predictions cannot be recorded at present.",
                why="What a model answered must be on record; nothing is answered that cannot be.",
                cure="Ask the operator to look at /ready; send the request again later.",
                retry_after=10,
            )

    def add(self, rows: pd.DataFrame) -> None:
        """Have rows written soon."""
        with self._lock:
            self._frames.append(rows)
            full = sum(map(len, self._frames)) >= BATCH
        self._metrics.log_waiting.inc(len(rows))
        if full and not self._trouble:
            self._wake.set()

    def stop(self, seconds: float) -> None:
        """Write what waits and end, within so many seconds."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(seconds)
        lost = self.waiting
        if lost:
            _log.error("%d predictions were not recorded: %s", lost, self._trouble or "the disk is too slow")

    def _work(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(self._flush_seconds)
            self._wake.clear()
            self._flush()
        self._flush()

    def _flush(self) -> None:
        with self._lock:
            frames = list(self._frames)
        while frames:
            # Versions may differ in their classes, so each is written by itself.
            columns = list(frames[0].columns)
            alike = next((i for i, frame in enumerate(frames) if list(frame.columns) != columns), len(frames))
            if not self._write(pd.concat(frames[:alike], ignore_index=True)):
                return
            with self._lock:
                del self._frames[:alike]
            frames = frames[alike:]

    def _write(self, rows: pd.DataFrame) -> bool:
        try:
            self._prediction_log.append(rows)
        except LunglineError as error:
            self._failed(error.what)
            return False
        except Exception as error:  # a defect must not end the thread: the rows are kept, and /ready says so
            _log.exception("writing the prediction log failed")
            self._failed(type(error).__name__)
            return False
        if self._trouble:
            _log.warning("the prediction log is written again")
        self._trouble = ""
        self._metrics.logged.inc(len(rows))
        self._metrics.log_waiting.dec(len(rows))
        return True

    def _failed(self, what: str) -> None:
        if what != self._trouble:
            _log.error("predictions cannot be recorded: %s", what)
        self._trouble = what
        self._metrics.log_failures.inc()
        if not self._stopping.is_set():
            time.sleep(self._flush_seconds)
