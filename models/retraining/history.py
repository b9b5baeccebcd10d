"""Folds the retraining journal and the decision log into what is known now; the same lines always give the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from models.registry.decisions.entries import Decision
from models.retraining.entries import (
    CircuitClosed,
    Entry,
    LabelsArrived,
    Requested,
    TrainingEnded,
    TrainingStarted,
    WindowSeen,
)
from models.retraining.settings import RetrainingSettings


@dataclass(slots=True)
class Candidate:
    """A version that a retraining made. decided: None until a person approved or rejected it."""

    version: str
    episode: int
    decided: str | None = None


@dataclass(slots=True)
class History:
    """Where the entries lead.

    An episode is a stretch of drift. It begins with the windows after the episode before, has at most one request and
    one training that makes a version, and ends with quiet windows, with a decision about the version it made, or
    with another champion.

    bundle, version: of the model that is watched. windows: of this episode, by name. asked: whether the episode has
    its request. trained: whether it has its version. episodes: requests so far. starts: when each attempt at a
    training began. running: the attempt without an end. made_at: when the last training that made a version ended.
    learned: fingerprints of labels that no training is needed for any more. setbacks: refused versions and failed
    attempts in a row since the last approval or since a person closed the circuit.
    """

    settings: RetrainingSettings
    version: str = ""
    bundle: str = ""
    windows: dict[str, WindowSeen] = field(default_factory=dict)
    seen: set[tuple[str, str]] = field(default_factory=set)
    asked: bool = False
    trained: bool = False
    episodes: int = 0
    starts: list[datetime] = field(default_factory=list)
    running: TrainingStarted | None = None
    made_at: datetime | None = None
    candidates: list[Candidate] = field(default_factory=list)
    learned: set[str] = field(default_factory=set)
    labels: LabelsArrived | None = None
    setbacks: int = 0

    @property
    def recent(self) -> list[WindowSeen]:
        """The judged windows of this episode, oldest first; of the same day, in the order they were first judged."""
        judged = (window for window in self.windows.values() if window.verdict != "insufficient")
        return sorted(judged, key=lambda window: window.until)

    @property
    def alarms(self) -> list[WindowSeen]:
        """The alarms among the windows that count towards a request."""
        return [one for one in self.recent[-self.settings.of_windows :] if one.verdict == "alarm"]

    @property
    def confirmed(self) -> bool:
        return len(self.alarms) >= self.settings.confirmations

    @property
    def undecided(self) -> Candidate | None:
        """The last version made, while nobody has decided about it."""
        last = self.candidates[-1] if self.candidates else None
        return last if last is not None and last.decided is None else None

    @property
    def circuit_open(self) -> bool:
        return self.setbacks >= self.settings.setbacks_to_open

    def add(self, event: Entry | Decision) -> None:
        """Take the next event."""
        match event:
            case WindowSeen():
                self._see(event)
            case Requested():
                self.asked, self.episodes = True, event.episode
            case LabelsArrived():
                self.labels = event
            case TrainingStarted():
                self.running = event
                self.starts.append(event.time)
            case TrainingEnded():
                self._end_training(event)
            case CircuitClosed():
                self.setbacks = 0
            case Decision():
                self._decide(event)

    def _see(self, window: WindowSeen) -> None:
        key = (window.bundle, window.window)
        if window.bundle != self.bundle:
            if key in self.seen:
                return  # late images of a former champion's window say nothing about this one
            self._end_episode()
            self.bundle, self.version = window.bundle, window.version
        earlier = self.windows.get(window.window)
        if (key in self.seen and earlier is None) or (earlier is not None and earlier.issue >= window.issue):
            return
        self.seen.add(key)
        self.windows[window.window] = window
        last = self.recent[-self.settings.quiet_windows :]
        if len(last) == self.settings.quiet_windows and all(one.verdict == "quiet" for one in last):
            self._end_episode()

    def _end_training(self, ended: TrainingEnded) -> None:
        labels = self.running.labels if self.running else None
        self.running = None
        if ended.outcome == "failed":
            self.setbacks += 1
        if ended.outcome in ("candidate", "nothing new") and labels:
            self.learned.add(labels)
        if ended.outcome == "candidate" and ended.version:
            self.made_at = ended.time
            self.candidates.append(Candidate(ended.version, ended.episode))
            self.trained = self.trained or (self.asked and ended.episode == self.episodes)

    def _decide(self, decision: Decision) -> None:
        made = next((one for one in reversed(self.candidates) if one.version == decision.version), None)
        if made is not None and decision.kind != "rollback":
            if decision.kind == "reject" and made.decided != "rejected":
                self.setbacks += 1
            if decision.kind == "approve":
                self.setbacks = 0
            made.decided = "approved" if decision.kind == "approve" else "rejected"
        of_this_episode = made is not None and self.trained and made.episode == self.episodes
        if of_this_episode or decision.before.champion != decision.after.champion:
            self._end_episode()

    def _end_episode(self) -> None:
        self.windows.clear()
        self.asked = self.trained = False


def fold(entries: Sequence[Entry], decisions: Sequence[Decision], settings: RetrainingSettings) -> History:
    """The history after all entries in the journal's order, with the decisions put in between by their time.

    A decision about a version comes after its training whatever the clocks said.
    """
    history = History(settings)
    pending = list(decisions)
    to_come = {entry.version for entry in entries if isinstance(entry, TrainingEnded) and entry.version}
    for entry in entries:
        while pending and pending[0].time < entry.time and pending[0].version not in to_come:
            history.add(pending.pop(0))
        history.add(entry)
        if isinstance(entry, TrainingEnded):
            to_come.discard(entry.version)
    for decision in pending:
        history.add(decision)
    return history
