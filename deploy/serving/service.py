"""One served model: what a request goes through between its bytes and its answer, and whether the service is ready."""

from __future__ import annotations

import base64
import math
import threading
from asyncio import Timeout
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pandas as pd

from data_contracts.picture import DecodeLimits
from data_contracts.workspace import Workspace
from deploy.serving.answers import Explanation, Health, PictureAnswer, Predictions, Readiness, picture_answer
from deploy.serving.champion import Champion, Served
from deploy.serving.limits import SharedMemory
from deploy.serving.metrics import Metrics
from deploy.serving.recorder import Recorder
from deploy.serving.refusals import NOT_HELD, Refused, all_refused, kind_of_refusal
from deploy.serving.settings import MEGAPIXEL, ServeSettings
from deploy.serving.workers import Workers
from models.evaluation.predictions import PROBABILITY
from models.explanation.results import LEGEND, NOT_A_LOCALISATION
from models.scoring.prediction_log import PredictionLog
from models.scoring.scorer import ReadImage

PREDICTED = "predicted"  # in place of a class name: the most probable one
_FLUSH_SECONDS = 5.0  # for what the log still waits for at the end


class GaveUp(Exception):
    """Nobody waits for the answer any more."""


class Service:
    """Everything requests share. `begin` and `end` are called once each."""

    def __init__(self, workspace: Workspace, settings: ServeSettings) -> None:
        self.settings = settings
        self._decode_limits = DecodeLimits(max_megapixels=math.ceil(settings.max_pixels / MEGAPIXEL))
        self.metrics = Metrics()
        self.memory = SharedMemory(settings.buffered_bytes)
        self.workers = Workers(settings.concurrency, settings.queue)
        self.champion = Champion(workspace, settings.model, settings.reload_seconds, self.metrics)
        self.recorder = Recorder(PredictionLog.of(workspace, settings.model), self.metrics)
        self.draining = False
        self._open: set[Timeout] = set()
        self.metrics.in_flight.set_function(lambda: self.in_flight)
        self.metrics.pending.set_function(lambda: self.workers.pending)
        self.metrics.ready.set_function(lambda: not self.reasons())

    def begin(self) -> None:
        """Start what works in the background."""
        self.recorder.start()
        self.champion.start()

    def end(self) -> None:
        """Stop it, and write what is to be logged."""
        self.champion.stop()
        self.workers.close()
        self.recorder.stop(_FLUSH_SECONDS)

    @property
    def in_flight(self) -> int:
        """Predictions that were asked for and are not answered."""
        return len(self._open)

    @contextmanager
    def answering(self, limit: Timeout) -> Iterator[None]:
        """A prediction is being answered while the block runs; `cut_off` ends it through its limit."""
        self._open.add(limit)
        try:
            yield
        finally:
            self._open.discard(limit)

    def cut_off(self, at: float) -> None:
        """Let every open request end at that time of the event loop, as if its own time were over."""
        for limit in self._open:
            if not limit.expired():
                limit.reschedule(at)

    def reasons(self) -> list[str]:
        """Why no prediction is answered now; empty where they are."""
        reasons = ["the service is stopping"] if self.draining else []
        if self.champion.served is None:
            reasons.append(f"no verified champion of {self.champion.model_name}: {self.champion.trouble}")
        if self.recorder.trouble:
            reasons.append(f"predictions cannot be recorded: {self.recorder.trouble}")
        return reasons

    def detail(self) -> list[str]:
        """What is wrong without keeping predictions from being answered."""
        served = self.champion.served
        if served is None or not self.champion.trouble:
            return []
        version = served.scorer.version
        return [f"version {version} goes on answering; another champion cannot be served: {self.champion.trouble}"]

    def health(self) -> Health:
        return Health(detail=self.detail())

    def readiness(self) -> Readiness:
        served, reasons = self.champion.served, self.reasons()
        return Readiness(
            ready=not reasons,
            model=self.champion.model_name,
            version=served.scorer.version if served else "",
            reasons=reasons,
            detail=self.detail(),
        )

    def require_ready(self) -> Served:
        """What answers now. Raises Refused (503) where nothing does, 429 where the queue is full already."""
        served = self.champion.served
        if self.draining or served is None:
            raise Refused(
                503,
                "stopping" if self.draining else "no_model",
                "The service is stopping." if self.draining else "No verified model has been loaded.",
                why="Only a champion whose every file was verified answers.",
                cure="Ask again later, or another instance; /ready says when.",
                retry_after=5,
            )
        self.recorder.require_room()
        self.workers.require_room()
        return served

    def class_to_explain(self, served: Served, name: str) -> int | None:
        """Index of the class that is to be explained, None for the predicted one. Raises Refused (422)."""
        class_names = served.scorer.bundle.spec.class_names
        if served.overlays is None:
            what, cure = "This model's architecture has no feature map to explain.", "Leave `explain` out."
        elif name == PREDICTED:
            return None
        elif name in class_names:
            return class_names.index(name)
        else:
            what = "`explain` names no class of this model."
            cure = f"Use one of: {', '.join([PREDICTED, *class_names])}."
        raise Refused(422, "explain", what, why="Grad-CAM shows what raised one class.", cure=cure)

    def predict(
        self,
        served: Served,
        pictures: Sequence[bytes],
        facts: dict[str, str],
        explain: str,
        given_up: threading.Event,
    ) -> Predictions:
        """Score the pictures one after the other, and record every row; for a worker's thread.

        One at a time, so that a request never needs more memory than its largest picture. Raises Refused where not
        one picture was scored, UsageProblem for facts that cannot be used, GaveUp where nobody waits any more.
        """
        answers: list[PictureAnswer] = []
        of_class = self.class_to_explain(served, explain) if explain else None
        with self.metrics.scoring_seconds.time():
            for index, content in enumerate(pictures):
                if given_up.is_set():
                    raise GaveUp
                read = self._within_limits(served.scorer.read([content], self._decode_limits)[0])
                rows = served.scorer.answer([read], pd.DataFrame([facts]), origin="service", now=datetime.now(UTC))
                self.recorder.add(rows)
                row = rows.iloc[0]
                explanation = _explanation(served, read, row, of_class) if explain else None
                answers.append(picture_answer(index, row, explanation))
                self._count(served, answers[-1])
        refused = [answer.refused for answer in answers if answer.refused]
        if len(refused) == len(answers):
            raise all_refused(refused)
        scorer = served.scorer
        return Predictions(
            model=scorer.model_name,
            version=scorer.version,
            bundle=scorer.bundle.content_hash,
            predictions=answers,
        )

    def too_slow(self) -> Refused:
        """The answer to a request that was read and not scored in time."""
        return Refused(
            503,
            "stopping" if self.draining else "too_slow",
            "The service is stopping."
            if self.draining
            else f"The pictures were not scored within {self.settings.timeout:g} s.",
            why="An answer that comes too late is of no use, and keeps others waiting.",
            cure=NOT_HELD if self.draining else "Send fewer or smaller pictures at once, or try again later.",
            retry_after=5,
        )

    def _within_limits(self, read: ReadImage) -> ReadImage:
        """The decoder's own limit is in whole megapixels; this is the rest of it."""
        picture = read.decoded
        if picture is None or picture.width * picture.height <= self.settings.max_pixels:
            return read
        return replace(read, decoded=None, refused=f"too large: {picture.width}x{picture.height}")

    def _count(self, served: Served, answer: PictureAnswer) -> None:
        if answer.refused:
            self.metrics.refused_pictures.labels(kind_of_refusal(answer.refused.reason)[0]).inc()
        for name in answer.predicted.split("|") if answer.predicted else ():
            self.metrics.predictions.labels(served.scorer.version, name).inc()


def _explanation(served: Served, read: ReadImage, row: pd.Series, of_class: int | None) -> Explanation | None:
    """The overlay of a class, by default of the most probable one; None for a refused picture."""
    if read.refused or read.decoded is None or served.overlays is None:
        return None
    class_names = served.scorer.bundle.spec.class_names
    if of_class is None:
        of_class = int(np.argmax([row[PROBABILITY + name] for name in class_names]))
    png = served.overlays.png(read.decoded.pixels, of_class)
    return Explanation(
        of_class=class_names[of_class],
        png_base64=base64.b64encode(png).decode(),
        statement=f"{NOT_A_LOCALISATION} {LEGEND}",
    )
