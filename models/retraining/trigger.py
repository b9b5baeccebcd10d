"""The retraining trigger: takes verdicts, lets one training at a time begin, and notes what came of it.

Everything it knows is read anew from the journal, the verdict files and the decision log, so it may be killed
anywhere and called again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from data_contracts.drift.history import VerdictHistory
from data_contracts.drift.verdict import DriftVerdict
from data_contracts.errors import UsageProblem
from data_contracts.workspace import Workspace
from models.registry.decisions.history import ModelHistory
from models.registry.decisions.history import history as decisions_about
from models.registry.decisions.log import DecisionLog
from models.registry.decisions.person import Person, require_human
from models.retraining.entries import Entry, WindowSeen, entry_of, window_facts
from models.retraining.history import History, fold
from models.retraining.journal import RetrainingJournal
from models.retraining.labels import NewLabels
from models.retraining.settings import RetrainingSettings
from models.retraining.status import RetrainingStatus, assess

_DIED = "it ended without a word, as a killed process does"
# ZenML turns Ctrl-C and its own stop into these; their names, because this room knows no ZenML.
_INTERRUPTIONS = ("KeyboardInterrupt", "RunInterruptedException", "RunStoppedException")


def note_verdict(
    workspace: Workspace, model_name: str, verdict: DriftVerdict, settings: RetrainingSettings, now: datetime
) -> RetrainingStatus:
    """Note a verdict, and any earlier one that was not noted yet; ask for retraining where drift is confirmed.

    The same verdict may be noted again. Raises ModelGateError where the journal was changed, EnvironmentProblem where
    it cannot be written.
    """
    desk = _Desk(workspace, model_name, settings)
    with desk.journal.locked():
        desk.catch_up(now, verdict)
        return desk.status(now)


def read_status(
    workspace: Workspace,
    model_name: str,
    settings: RetrainingSettings,
    now: datetime,
    labels: NewLabels | None = None,
) -> RetrainingStatus:
    """The status as it would be if everything were noted now. Nothing is written. Raises as `note_verdict` does."""
    return _Desk(workspace, model_name, settings).preview(now, labels)


def close_circuit(
    workspace: Workspace,
    model_name: str,
    settings: RetrainingSettings,
    now: datetime,
    *,
    person: Person,
    reason: str,
) -> RetrainingStatus:
    """Let retraining go on after setbacks, in a person's name.

    Raises UsageProblem where the circuit is closed already, ModelGateError for a program's account.
    """
    require_human(person)
    desk = _Desk(workspace, model_name, settings)
    with desk.journal.locked():
        desk.settle_dead_training(now)
        if not desk.history().circuit_open:
            raise UsageProblem(
                f"The retraining circuit of {model_name} is closed.",
                why="There is nothing to reset.",
                cure="`lungline retrain MODEL --status` shows what holds a training back.",
            )
        desk.journal.append(now, kind="circuit closed", person=person.model_dump(mode="json"), reason=reason)
        return desk.status(now)


@dataclass(slots=True)
class Attempt:
    """A training that was allowed to start. `made` is called with the version it registered."""

    episode: int
    decided: ModelHistory
    earlier: frozenset[str]
    version: str | None = None

    def made(self, version: str) -> bool:
        """Whether it is a new version: not one that a retraining made or a person decided about before."""
        if version not in self.earlier and self.decided.last_about(version) is None:
            self.version = version
        return self.version is not None


@contextmanager
def training_attempt(
    workspace: Workspace,
    model_name: str,
    settings: RetrainingSettings,
    labels: NewLabels,
    clock: Callable[[], datetime],
) -> Iterator[tuple[RetrainingStatus, Attempt | None]]:
    """Begin a training where every brake lets go, and note how the block ended; None where one of them holds.

    Only one process at a time gets an attempt for a model. Raises as `note_verdict` does.
    """
    desk = _Desk(workspace, model_name, settings)
    with desk.journal.training_lock() as alone:
        if not alone:
            yield desk.preview(clock(), labels), None
            return
        attempt = None
        with desk.journal.locked():
            desk.settle_dead_training(clock(), died=True)
            desk.catch_up(clock())
            status = desk.status(clock(), labels)
            if status.may_train:
                attempt = desk.begin(clock(), labels)
        if attempt is None:
            yield status, None
            return
        ended: dict[str, Any] = {"kind": "ended", "episode": attempt.episode}
        try:
            yield status, attempt
        except BaseException as error:
            outcome = "interrupted" if type(error).__name__ in _INTERRUPTIONS else "failed"
            # The message stays out: it may name files, and the journal is kept for good.
            desk.note(clock(), **ended, outcome=outcome, note=type(error).__name__)
            raise
        made = attempt.version
        desk.note(clock(), **ended, outcome="candidate" if made else "nothing new", version=made)


class _Desk:
    """Journal, decisions and verdict files of one model."""

    def __init__(self, workspace: Workspace, model_name: str, settings: RetrainingSettings) -> None:
        self.journal = RetrainingJournal.of(workspace, model_name)
        self._model = model_name
        self._settings = settings
        reading = DecisionLog.of(workspace).read_between_decisions()
        self._decided = decisions_about(reading.lines, model_name)
        self._log_doubt = "" if reading.sound else "the decision log was changed: `lungline log verify` tells more"
        self._notes: list[str] = []

    def history(self, entries: tuple[Entry, ...] | None = None) -> History:
        return fold(self.journal.read() if entries is None else entries, self._decided.decisions, self._settings)

    def status(
        self, now: datetime, labels: NewLabels | None = None, history: History | None = None
    ) -> RetrainingStatus:
        return assess(
            self._model,
            history or self.history(),
            self._settings,
            now,
            labels=labels,
            log_doubt=self._log_doubt,
            notes=self._notes,
        )

    def preview(self, now: datetime, labels: NewLabels | None) -> RetrainingStatus:
        """The status with everything that is not noted yet, without writing."""
        history = self.history()
        if history.running and self._training_died():
            history.add(_made_up(now, kind="ended", episode=history.running.episode, outcome="failed"))
        for verdict in self._unnoted():
            history.add(_made_up(now, **window_facts(verdict)))
            if request := _request(history):
                history.add(_made_up(now, **request))
        return self.status(now, labels, history)

    def catch_up(self, now: datetime, given: DriftVerdict | None = None) -> None:
        """Note every verdict that is not in the journal, and the request that follows; under the lock."""
        history = self.history()
        self._ask(history, now)  # a kill may have come between the window and the request
        for verdict in self._unnoted(given):
            history.add(self.journal.append(now, **window_facts(verdict)))
            self._ask(history, now)

    def settle_dead_training(self, now: datetime, *, died: bool | None = None) -> None:
        """Note the end of a training whose process is gone; under the lock. died: None where it is to be found out."""
        running = self.history().running
        if running and (self._training_died() if died is None else died):
            self.journal.append(now, kind="ended", episode=running.episode, outcome="failed", note=_DIED)

    def begin(self, now: datetime, labels: NewLabels) -> Attempt:
        """Note labels and start; under both locks, where the status allows it."""
        history = self.history()
        seen = {"images": labels.images, "decisions": labels.decisions, "fingerprint": labels.fingerprint}
        if history.labels is None or history.labels.fingerprint != labels.fingerprint:
            self.journal.append(now, kind="labels", **seen)
        self.journal.append(now, kind="started", episode=history.episodes, labels=labels.fingerprint)
        earlier = frozenset(candidate.version for candidate in history.candidates)
        return Attempt(history.episodes, self._decided, earlier)

    def note(self, now: datetime, **content: Any) -> None:
        with self.journal.locked():
            self.journal.append(now, **content)

    def _ask(self, history: History, now: datetime) -> None:
        if request := _request(history):
            history.add(self.journal.append(now, **request))

    def _unnoted(self, given: DriftVerdict | None = None) -> list[DriftVerdict]:
        """Verdicts that are not in the journal, by the window's end and issue; `given` among them or last.

        Those on days that a person chose say what others say of the same images, so they ask for nothing.
        """
        issued, unreadable = VerdictHistory(self.journal.folder).issued()
        self._notes = [f"the verdict {name} cannot be read" for name in unreadable]
        verdicts = [one.verdict for one in issued if one.place.regular]
        if given is not None and given not in [one.verdict for one in issued]:
            verdicts.append(given)
        noted = {
            (entry.bundle, entry.window, entry.issue)
            for entry in self.journal.read()
            if isinstance(entry, WindowSeen)
        }
        return [one for one in verdicts if (one.bundle, one.window.id, one.window.issue) not in noted]

    def _training_died(self) -> bool:
        with self.journal.training_lock() as free:
            return free


def _request(history: History) -> dict[str, Any] | None:
    """The request that is due, if one is."""
    if history.asked or not history.confirmed:
        return None
    windows = [window.window for window in history.alarms]
    return {"kind": "requested", "episode": history.episodes + 1, "windows": windows}


def _made_up(now: datetime, **content: Any) -> Entry:
    """An entry as it would be written."""
    return entry_of({"sequence": 0, "time": now, **content})
