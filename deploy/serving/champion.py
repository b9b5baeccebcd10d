"""Holds the version that answers, and brings in another when people decide on one.

Another version takes over only after its bundle was verified, its network loaded and one picture scored; until then,
and for as long as that fails, the old one answers. A process that has none yet answers nothing.
"""

from __future__ import annotations

import io
import logging
import threading
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
from PIL import Image

from data_contracts.errors import LunglineError
from data_contracts.workspace import Workspace
from deploy.serving.explanation import Overlays
from deploy.serving.metrics import Metrics
from models.scoring.champion import decided_champion
from models.scoring.scorer import Scorer

_SLOWEST_SECONDS = 60.0  # between attempts at a champion that cannot be loaded

_log = logging.getLogger("lungline.serving")


@dataclass(frozen=True, slots=True)
class Served:
    """A version that has shown it answers. overlays: None where its architecture cannot be explained."""

    scorer: Scorer
    overlays: Overlays | None

    @classmethod
    def open(cls, workspace: Workspace, model_name: str) -> Served:
        """The champion, verified and warm. Raises what `Scorer.open` raises, ModelGateError where it cannot answer."""
        scorer = Scorer.open(workspace, model_name)
        size = scorer.bundle.spec.image_size
        ramp = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (64, 1))
        content = io.BytesIO()
        Image.fromarray(ramp).save(content, "PNG")
        (read,) = scorer.read([content.getvalue()])
        scorer.answer([replace(read, refused="")], origin="service", now=datetime.now(UTC))
        overlays = Overlays.of(scorer)
        if overlays is not None:
            overlays.png(np.zeros((size, size), dtype=np.uint8), 0)
        return cls(scorer, overlays)


class Champion:
    """The champion of one model, looked for every few seconds in a thread of its own."""

    def __init__(self, workspace: Workspace, model_name: str, every: float, metrics: Metrics) -> None:
        self.model_name = model_name
        self._workspace = workspace
        self._every = every
        self._metrics = metrics
        self._served: Served | None = None
        self._trouble = "it is being loaded"
        self._failures = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="champion", daemon=True)

    @property
    def served(self) -> Served | None:
        """What answers now; None where nothing was ready yet. Keep the value for the length of a request."""
        return self._served

    @property
    def trouble(self) -> str:
        """Why what answers is not the champion, in words; "" where it is."""
        return self._trouble

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()

    def look(self) -> None:
        """Ask the registry once, and bring in another champion where there is one."""
        try:
            chosen = decided_champion(self._workspace, self.model_name)
            served = self._served
            if served is None or (chosen.version, chosen.bundle) != _identity(served):
                self._take_over(Served.open(self._workspace, self.model_name))
        except LunglineError as error:
            self._failed(error.what)
        except Exception as error:  # a defect in another version must not end the one that answers
            _log.exception("looking for the champion failed")
            self._failed(f"{type(error).__name__} while it was loaded")
        else:
            self._failures = 0
            self._trouble = ""
            self._metrics.reload_failing.set(0)

    def _take_over(self, served: Served) -> None:
        self._served = served
        version, bundle = _identity(served)
        self._metrics.show_model(self.model_name, version, bundle)
        self._metrics.reloads.inc()
        _log.warning("version %s of %s answers from now on (bundle %s)", version, self.model_name, bundle[:16])

    def _failed(self, what: str) -> None:
        if what != self._trouble:
            stays = f"; version {self._served.scorer.version} goes on answering" if self._served else ""
            _log.error("the champion of %s cannot be served: %s%s", self.model_name, what, stays)
        self._trouble = what
        self._failures += 1
        self._metrics.reload_failures.inc()
        self._metrics.reload_failing.set(1)

    def _work(self) -> None:
        while not self._stopping.is_set():
            self.look()
            slowest = max(self._every, _SLOWEST_SECONDS)
            self._stopping.wait(min(self._every * 2 ** min(self._failures, 10), slowest))


def _identity(served: Served) -> tuple[str, str]:
    return served.scorer.version, served.scorer.bundle.content_hash
