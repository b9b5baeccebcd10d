"""Brings log and registry back together after a crash or an outage in the middle of a decision.

A decision is made in this order: its entry in the log, the tag in the registry, the aliases, its outcome in the log,
the tag. So an entry without an outcome was interrupted. Where the registry's tag knows it, it is carried out; else it
is withdrawn, because nothing outside the log vouches for it yet.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from data_contracts.errors import ModelGateError, UsageProblem
from data_contracts.workspace import Workspace
from models.registry.decisions.aliases import last_lines, move_aliases, read_model, retire_challenger, write_head
from models.registry.decisions.entries import Decision, Line, Outcome
from models.registry.decisions.log import DecisionLog, Reading
from models.registry.tracking import TrackingStore
from models.registry.versions import download_bundle


def recover(workspace: Workspace, store: TrackingStore) -> list[str]:
    """Settle what was interrupted, and say in words what was done; called before anything else is read.

    A changed log, or a registry that contradicts it, is left as it is for `verify` to show. Raises
    ExternalServiceError or EnvironmentProblem where the store fails while something has to be settled.
    """
    log = DecisionLog.of(workspace)
    if not log.begun:
        return []
    with log.locked():
        return recover_locked(log, workspace, store)


def recover_locked(log: DecisionLog, workspace: Workspace, store: TrackingStore) -> list[str]:
    """The same for whoever holds the lock."""
    reading = log.read()
    if not reading.sound or not reading.lines:
        return []
    log.settle_interrupted_writing(reading)
    last = reading.lines[-1]
    if isinstance(last.entry, Decision):
        return _settle(log, workspace, store, reading, last)
    if isinstance(last.entry, Outcome) and _tag_is_behind(store, reading):
        write_head(store, last.entry.model, reading.head(last))
    return []


def conclude(log: DecisionLog, store: TrackingStore, decision: Line, *, done: bool, note: str = "") -> Line:
    """Write the outcome of the decision that was written last, to the log and then to the registry's tag."""
    about = decision.entry
    assert isinstance(about, Decision)  # noqa: S101
    outcome = partial(
        Outcome,
        kind="done" if done else "withdrawn",
        model=about.model,
        decision=about.sequence,
        note=note,
    )
    line = log.append(lambda sequence, previous, time: outcome(sequence=sequence, previous=previous, time=time))
    write_head(store, about.model, log.read().head(line))
    return line


def carry_out(store: TrackingStore, decision: Decision) -> None:
    """Move the aliases where the decision says; repeating it changes nothing."""
    if decision.after != decision.before:
        move_aliases(store, decision.model, decision.after)
    if decision.kind != "rollback" and decision.version:
        retire_challenger(store, decision.model, decision.version)


def verified_bundle(workspace: Workspace, store: TrackingStore, model: str, version: str) -> str:
    """The content hash of a version's bundle, after every file of it was taken from the registry and compared.

    Raises as `download_bundle` does.
    """
    with TemporaryDirectory(dir=workspace.cache, prefix="decision-") as folder:
        return download_bundle(store, model, version, Path(folder) / "bundle").content_hash


def _settle(
    log: DecisionLog, workspace: Workspace, store: TrackingStore, reading: Reading, line: Line
) -> list[str]:
    decision = line.entry
    assert isinstance(decision, Decision)  # noqa: S101
    name = f"decision {decision.sequence} ({decision.kind} of {decision.model} by {decision.person})"
    if _tag_is_behind(store, reading):
        note = "it was interrupted before the registry knew of it"
    elif read_model(store, decision.model).head == reading.head(line):
        note = _why_not(workspace, store, decision)
        if not note:
            carry_out(store, decision)
            conclude(log, store, line, done=True, note="carried out after an interruption")
            return [f"{name} had been interrupted and was carried out now"]
    else:
        return []  # the tag is of another past: an alarm, not an interruption
    conclude(log, store, line, done=False, note=note)
    return [f"{name} was withdrawn: {note}"]


def _why_not(workspace: Workspace, store: TrackingStore, decision: Decision) -> str:
    """Why an interrupted decision must not be carried out now, after undoing what was done of it; else ""."""
    if read_model(store, decision.model).aliases.champion not in (
        decision.before.champion,
        decision.after.champion,
    ):
        return "the champion was moved by somebody else meanwhile"
    target = decision.after.champion
    if decision.after == decision.before or target is None:
        return ""
    try:
        bundle = verified_bundle(workspace, store, decision.model, target)
    except (ModelGateError, UsageProblem) as error:
        bundle = error.what
    if bundle == decision.bundle:
        return ""
    move_aliases(store, decision.model, decision.before)
    return "its bundle is no longer the one that was verified"


def _tag_is_behind(store: TrackingStore, reading: Reading) -> bool:
    """Whether the tag speaks of the entry before the model's last one, as an interruption leaves it."""
    entry = reading.lines[-1].entry
    assert entry.kind != "genesis"  # noqa: S101
    *before, _last = last_lines(reading.lines, entry.model)
    registered = read_model(store, entry.model)
    if not before:
        return not registered.head_tag
    return registered.head == reading.head(before[0])
