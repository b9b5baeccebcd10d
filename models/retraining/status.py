"""Says whether a training may start now, which brakes hold it, and why."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from models.registry.decisions.entries import utc_text
from models.retraining.history import History
from models.retraining.labels import NewLabels
from models.retraining.settings import RetrainingSettings

State = Literal[
    "quiet",
    "confirming",
    "requested",
    "waiting for labels",
    "training",
    "cooling down",
    "open circuit",
]


class Brake(BaseModel):
    """One condition for a training. stops: it is not met. why: in a sentence, either way."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    stops: bool
    why: str


class RetrainingStatus(BaseModel):
    """Where a model's retraining stands.

    version: the watched one, "" before the first verdict. episode: number of the last request, 0 before the first.
    requested: this episode has its request. made: the version that the last retraining made; undecided: the same while
    nobody decided about it; None without one.
    budget_left: trainings that may still be started in the running period. free_from: when cooldown and budget let
    go; None where they do not hold. notes: what could not be read.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    version: str
    state: State
    why: str
    episode: int
    requested: bool
    may_train: bool
    brakes: list[Brake]
    budget_left: int
    setbacks: int
    made: str | None
    undecided: str | None
    free_from: AwareDatetime | None
    labels: NewLabels | None
    notes: list[str] = []


def assess(
    model: str,
    history: History,
    settings: RetrainingSettings,
    now: datetime,
    *,
    labels: NewLabels | None = None,
    log_doubt: str = "",
    notes: list[str] | None = None,
) -> RetrainingStatus:
    """The status at `now`. labels: what is there now, None where nobody looked: then what was seen last counts.

    log_doubt: why the decision log cannot be relied on, "" where it can.
    """
    labels = labels or _last_seen(history)
    brakes = [
        _drift(history, settings),
        _episode(history),
        _labels(history, settings, labels),
        _decision(history, log_doubt),
        _cooldown(history, settings, now),
        _budget(history, settings, now),
        _circuit(history, settings),
        _running(history),
        Brake(
            name="dry run",
            stops=settings.dry_run,
            why="retraining.dry_run is set" if settings.dry_run else "switched off",
        ),
    ]
    state = _state(history, {brake.name for brake in brakes if brake.stops})
    used = len(_starts(history, settings, now))
    return RetrainingStatus(
        model=model,
        version=history.version,
        state=state,
        why=_why(state, brakes),
        episode=history.episodes,
        requested=history.asked,
        may_train=not any(brake.stops for brake in brakes),
        brakes=brakes,
        budget_left=max(0, settings.budget - used),
        setbacks=history.setbacks,
        made=history.candidates[-1].version if history.candidates else None,
        undecided=history.undecided.version if history.undecided else None,
        free_from=_free_from(history, settings, now),
        labels=labels,
        notes=notes or [],
    )


def _state(history: History, stopping: set[str]) -> State:
    held = bool(stopping & {"cooldown", "budget", "decision"})
    if history.running:
        return "training"
    if history.circuit_open:
        return "open circuit"
    if history.asked and not history.trained:
        if "labels" in stopping:
            return "waiting for labels"
        return "cooling down" if held else "requested"
    if held or history.trained:
        return "cooling down"
    return "confirming" if history.alarms else "quiet"


_DECIDING = {
    "quiet": ("drift",),
    "confirming": ("drift",),
    "waiting for labels": ("labels",),
    "training": ("running",),
    "open circuit": ("circuit",),
    "cooling down": ("decision", "cooldown", "budget", "this episode"),
}


def _why(state: State, brakes: list[Brake]) -> str:
    stopping = {brake.name: brake.why for brake in brakes if brake.stops}
    why = next((stopping[name] for name in _DECIDING.get(state, ()) if name in stopping), "")
    return why or next(iter(stopping.values()), "every condition is met")


def _drift(history: History, settings: RetrainingSettings) -> Brake:
    judged = min(len(history.recent), settings.of_windows)
    seen = f"{len(history.alarms)} of the last {judged} judged windows alarmed"
    if history.asked:
        return Brake(
            name="drift", stops=False, why=f"episode {history.episodes}: retraining was asked for; {seen}"
        )
    need = f"{settings.confirmations} of {settings.of_windows} ask for retraining"
    return Brake(name="drift", stops=True, why=f"{seen}; {need}" if judged else f"no window was judged; {need}")


def _episode(history: History) -> Brake:
    if history.trained:
        why = f"episode {history.episodes} had its training, version {history.candidates[-1].version}"
        return Brake(name="this episode", stops=True, why=why)
    return Brake(name="this episode", stops=False, why="no version was made in it yet")


def _labels(history: History, settings: RetrainingSettings, labels: NewLabels | None) -> Brake:
    if labels is None:
        return Brake(name="labels", stops=True, why="no new label was seen; drift alone never trains")
    if labels.fingerprint in history.learned:
        return Brake(name="labels", stops=True, why="none has changed since the last training")
    counted = f"{labels.images} new labelled images, {labels.decisions} new decisions of people"
    if labels.total < settings.least_labels:
        return Brake(name="labels", stops=True, why=f"{counted}; {settings.least_labels} are needed")
    return Brake(name="labels", stops=False, why=counted)


def _decision(history: History, log_doubt: str) -> Brake:
    if log_doubt:
        return Brake(name="decision", stops=True, why=log_doubt)
    if history.undecided:
        why = f"version {history.undecided.version} waits for `lungline approve` or `lungline reject`"
        return Brake(name="decision", stops=True, why=why)
    return Brake(name="decision", stops=False, why="no version waits for a decision")


def _cooldown(history: History, settings: RetrainingSettings, now: datetime) -> Brake:
    until = _cooled_at(history, settings)
    if until is None:
        return Brake(name="cooldown", stops=False, why="no retraining yet")
    stops = until > now
    return Brake(name="cooldown", stops=stops, why=f"{'until' if stops else 'over since'} {utc_text(until)}")


def _budget(history: History, settings: RetrainingSettings, now: datetime) -> Brake:
    used = len(_starts(history, settings, now))
    why = f"{used} of {settings.budget} trainings started in {settings.budget_days:g} days"
    return Brake(name="budget", stops=used >= settings.budget, why=why)


def _circuit(history: History, settings: RetrainingSettings) -> Brake:
    counted = f"{history.setbacks} refused versions or failed trainings in a row"
    if history.circuit_open:
        why = f"open: {counted}; a person closes it with --reset-circuit --reason TEXT"
        return Brake(name="circuit", stops=True, why=why)
    return Brake(name="circuit", stops=False, why=f"closed: {counted}; {settings.setbacks_to_open} open it")


def _running(history: History) -> Brake:
    if history.running:
        return Brake(name="running", stops=True, why=f"a training runs since {utc_text(history.running.time)}")
    return Brake(name="running", stops=False, why="no training runs")


def _starts(history: History, settings: RetrainingSettings, now: datetime) -> list[datetime]:
    """Attempts of the running period, oldest first; those of a clock that was ahead count as well."""
    begin = now - timedelta(days=settings.budget_days)
    return sorted(start for start in history.starts if start > begin)


def _cooled_at(history: History, settings: RetrainingSettings) -> datetime | None:
    return history.made_at + timedelta(days=settings.cooldown_days) if history.made_at else None


def _free_from(history: History, settings: RetrainingSettings, now: datetime) -> datetime | None:
    starts = _starts(history, settings, now)
    spent = (
        starts[-settings.budget] + timedelta(days=settings.budget_days) if len(starts) >= settings.budget else None
    )
    times = [time for time in (_cooled_at(history, settings), spent) if time is not None and time > now]
    return max(times, default=None)


def _last_seen(history: History) -> NewLabels | None:
    seen = history.labels
    if seen is None or seen.fingerprint in history.learned:
        return None
    return NewLabels(images=seen.images, decisions=seen.decisions, fingerprint=seen.fingerprint)
