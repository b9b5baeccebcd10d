"""Approve, reject and roll back: the only code that moves the aliases champion and previous.

A named person decides, on a dossier whose hash they state. No environment variable and no setting stands in for
either. What is refused here is not written down as a refusal of the model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from data_contracts.errors import LunglineError, ModelGateError, UsageProblem
from data_contracts.workspace import Workspace
from models.registry.decisions.aliases import RegisteredModel, read_model, write_head
from models.registry.decisions.entries import Action, Aliases, Decision, Line, utc_text
from models.registry.decisions.history import ModelHistory, history
from models.registry.decisions.log import DecisionLog, require_sound
from models.registry.decisions.person import Person, require_human, separation_doubt, trainer_in
from models.registry.decisions.recovery import carry_out, conclude, recover_locked, verified_bundle
from models.registry.dossiers import DossierReference, find_dossier
from models.registry.outage import store_errors
from models.registry.tracking import TrackingStore
from models.registry.versions import find_version, require_model_name

REASON_CHARACTERS = 10
DOSSIER_DIGITS = 8
_REASON_AT_MOST = 2000


@dataclass(frozen=True, slots=True)
class Case:
    """A version up for decision. trained_by: None where the registry does not say. dossier: None without a review."""

    model: str
    version: str
    registered: RegisteredModel
    trained_by: Person | None
    history: ModelHistory
    dossier: DossierReference | None


def open_case(workspace: Workspace, store: TrackingStore, model: str, version: str) -> Case:
    """What there is to know about a version before deciding.

    Raises UsageProblem for a model or version that does not exist, ModelGateError where its dossier or the decision
    log was changed or where the aliases are not where decisions left them, ExternalServiceError or
    EnvironmentProblem where the store fails.
    """
    with _at_the_desk(workspace, store) as log:
        return _case(log, workspace, store, model, version)


def approve(
    workspace: Workspace,
    store: TrackingStore,
    person: Person,
    *,
    model: str,
    version: str,
    reason: str,
    dossier: str,
    override: bool = False,
) -> Decision:
    """Make a version the champion. dossier: at least the first 8 digits of its dossier's hash.

    override: decide against a verdict, an earlier refusal or an unknown trainer; recorded as such.
    Raises as `open_case` does, UsageProblem for an empty reason or a needless override, and ModelGateError where
    the version must not be approved or its files are not those that were registered. Where the store fails half-way
    the decision stays in the log, and the next command settles it.
    """
    reason = require_reason(reason)
    require_human(person)
    with _at_the_desk(workspace, store) as log:
        case = _case(log, workspace, store, model, version)
        champion = case.registered.aliases.champion
        if champion == version:
            raise _refused(
                f"Version {version} of {model} is the champion already{_by_whom(case)}.", "Nothing to do."
            )
        review = _stated_dossier(case, dossier)
        if review.verdict.champion != champion:
            raise _refused(
                f"The dossier compares version {version} with {_said(review.verdict.champion)}, but the champion is "
                f"{_said(champion)}{_by_whom(case)}.",
                f"Run `lungline review --challenger {version}` again and decide on its dossier.",
            )
        overrides = _overrides(case, review, person, override)
        bundle = verified_bundle(workspace, store, model, version)
        if review.verdict.challenger_bundle not in (None, bundle):
            raise _refused(
                f"Version {version} of {model} is not the bundle that was reviewed ({bundle[:16]}…).",
                "Find out who changed the registry, then train and register again.",
            )
        after = Aliases(champion=version, previous=champion)
        return _decide(log, store, case, person, "approve", reason, after, bundle, overrides)


def reject(
    workspace: Workspace,
    store: TrackingStore,
    person: Person,
    *,
    model: str,
    version: str,
    reason: str,
    dossier: str = "",
) -> Decision:
    """Refuse a version. dossier: as for `approve`, where the version has been reviewed. Raises as `approve` does."""
    reason = require_reason(reason)
    require_human(person)
    with _at_the_desk(workspace, store) as log:
        case = _case(log, workspace, store, model, version)
        if case.registered.aliases.champion == version:
            raise _refused(
                f"Version {version} of {model} is the champion{_by_whom(case)}.",
                "Use `lungline rollback` to take it back.",
            )
        if case.dossier:
            _stated_dossier(case, dossier)
        return _decide(log, store, case, person, "reject", reason, case.registered.aliases, None, [])


def rollback(workspace: Workspace, store: TrackingStore, person: Person, *, model: str, reason: str) -> Decision:
    """Put the champion back to the version decided on before; where somebody else moved it, to the decided one.

    Raises as `approve` does.
    """
    reason = require_reason(reason)
    require_human(person)
    with _at_the_desk(workspace, store) as log:
        registered = _registered(store, model)
        decided = history(log.read().lines, model)
        _require_known_head(log, registered)
        after = decided.aliases
        if registered.aliases == after:
            after = ModelHistory(champions=decided.champions[:-1]).aliases
            if after.champion is None:
                raise _refused(
                    f"{model} has no champion before {_said(decided.aliases.champion)} to go back to.",
                    "Approve another version; `lungline status` lists them.",
                )
        bundle = verified_bundle(workspace, store, model, after.champion) if after.champion else None
        if after.champion and bundle != decided.bundle_of(after.champion):
            raise _refused(
                f"Version {after.champion} of {model} is not the bundle that was approved.",
                "Find out who changed the registry, then review and approve another version.",
            )
        case = Case(model, after.champion or "", registered, None, decided, None)
        return _decide(log, store, case, person, "rollback", reason, after, bundle, [])


def require_reason(reason: str) -> str:
    """The reason on one line. Raises UsageProblem unless it is 10 to 2000 printable characters, blanks not counted."""
    text = " ".join(reason.split())
    written = len(text.replace(" ", ""))
    if written < REASON_CHARACTERS or len(text) > _REASON_AT_MOST or not text.isprintable():
        raise UsageProblem(
            f"The reason has {written} characters; it must be {REASON_CHARACTERS} to {_REASON_AT_MOST} printable ones.",
            why="Whoever reads the log later has nothing else to understand the decision by.",
            cure='Say in a sentence why: --reason "…".',
        )
    return text


@contextmanager
def _at_the_desk(workspace: Workspace, store: TrackingStore) -> Iterator[DecisionLog]:
    """The log, locked, sound and with nothing pending."""
    log = DecisionLog.of(workspace)
    with log.locked():
        recover_locked(log, workspace, store)
        reading = log.read()
        require_sound(reading)
        if reading.pending():
            raise _refused(
                f"Entry {len(reading.lines) - 1} of the decision log was interrupted, and the registry's tag is of "
                "another past than the log.",
                "`lungline log verify` shows both. Put back what was changed.",
            )
        yield log


def _case(log: DecisionLog, workspace: Workspace, store: TrackingStore, model: str, version: str) -> Case:
    registered = _registered(store, model)
    with store_errors(store.tracking_uri):
        found = find_version(store.client, model, version) if re.fullmatch(r"[1-9][0-9]{0,8}", version) else None
    if found is None:
        raise _no_such(f"{model} has no version {version!r}.")
    decided = history(log.read().lines, model)
    _require_known_head(log, registered)
    if registered.aliases != decided.aliases:
        raise _refused(
            f"The aliases of {model} were moved elsewhere: champion {_said(registered.aliases.champion)}, previous "
            f"{_said(registered.aliases.previous)}; decided were {_said(decided.aliases.champion)} and "
            f"{_said(decided.aliases.previous)}.",
            f"`lungline rollback --model {model} --reason …` puts them back; then decide.",
        )
    trainer = trainer_in(dict(found.tags))
    return Case(model, version, registered, trainer, decided, find_dossier(workspace, model, version))


def _registered(store: TrackingStore, model: str) -> RegisteredModel:
    from mlflow.exceptions import MlflowException

    require_model_name(model)
    with store_errors(store.tracking_uri):
        try:
            store.client.get_registered_model(model)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                raise _no_such(f"The registry has no model {model!r}.") from error
            raise
    return read_model(store, model)


def _require_known_head(log: DecisionLog, registered: RegisteredModel) -> None:
    """Raise ModelGateError unless the registry's tag speaks of the last entry about this model."""
    reading = log.read()
    about = [
        line for line in reading.lines if line.entry.kind != "genesis" and line.entry.model == registered.name
    ]
    if registered.head != (reading.head(about[-1]) if about else None) or bool(registered.head_tag) != bool(about):
        raise _refused(
            f"The registry knows another last decision about {registered.name} than {log.storage.place}.",
            "`lungline log verify` shows both. Use the log that belongs to the registry, or put back what was changed.",
        )


def _stated_dossier(case: Case, stated: str) -> DossierReference:
    """The case's dossier, if the person stated its hash."""
    if case.dossier is None:
        raise _refused(
            f"Version {case.version} of {case.model} has no dossier.",
            f"Run `lungline review --challenger {case.version}` and read it first.",
        )
    digits = stated.strip().lower()
    if not re.fullmatch(rf"[0-9a-f]{{{DOSSIER_DIGITS},64}}", digits):
        raise UsageProblem(
            f"{stated!r} is not the hash of a dossier.",
            why="Stating it says which evidence the decision rests on.",
            cure=f"Give at least the first {DOSSIER_DIGITS} digits; the dossier's folder is named by them.",
        )
    if not case.dossier.hash.startswith(digits):
        raise _refused(
            f"{digits} is not the hash of the latest dossier of {case.model} version {case.version}.",
            "Read the latest dossier and give the hash at its top. Nothing was recorded.",
        )
    return case.dossier


def _overrides(case: Case, review: DossierReference, person: Person, override: bool) -> list[str]:
    """What the person decides against. Raises ModelGateError where they did not say they would."""
    against = []
    if review.verdict.verdict != "PROMOTE":
        against.append(f"verdict {review.verdict.verdict}")
    earlier = case.history.last_about(case.version)
    if earlier and earlier.kind == "reject":
        against.append(f"refusal in entry {earlier.sequence}")
    doubt = separation_doubt(person, case.trained_by)
    if doubt:
        against.append(doubt)
    if against and not override:
        raise _refused(
            f"Version {case.version} of {case.model} cannot simply be approved: {'; '.join(against)}."
            + "".join(f"\n  - {' '.join(reason.split())}" for reason in review.verdict.reasons),
            "Reject it, or decide against that with --override and a reason; both are recorded.",
        )
    if override and not against:
        raise UsageProblem(
            "There is nothing to override.",
            why="An override that is always given says nothing on the day it matters.",
            cure="Run the command again without --override.",
        )
    return against


def _decide(
    log: DecisionLog,
    store: TrackingStore,
    case: Case,
    person: Person,
    action: Action,
    reason: str,
    after: Aliases,
    bundle: str | None,
    overrides: list[str],
) -> Decision:
    """Write the decision, carry it out, write that it was done."""

    def entry(sequence: int, previous: str, time: object) -> Decision:
        return Decision.model_validate(
            {
                "sequence": sequence,
                "previous": previous,
                "time": time,
                "kind": action,
                "model": case.model,
                "version": case.version or None,
                "bundle": bundle,
                "person": person,
                "trained_by": case.trained_by,
                "reason": reason,
                "dossier": case.dossier.hash if case.dossier else None,
                "verdict": case.dossier.verdict.verdict if case.dossier else None,
                "overrides": overrides,
                "before": case.registered.aliases,
                "after": after,
            }
        )

    line = log.append(entry)
    decision = line.entry
    assert isinstance(decision, Decision)  # noqa: S101
    try:
        _carry_through(log, store, line, decision)
    except LunglineError as error:
        raise type(error)(
            f"{error.what} Entry {decision.sequence} of the decision log is written but not carried through.",
            why=error.why,
            cure="Once all answer, `lungline status` settles it and says how; then look before deciding again.",
        ) from error
    return decision


def _carry_through(log: DecisionLog, store: TrackingStore, line: Line, decision: Decision) -> None:
    write_head(store, decision.model, log.read().head(line))
    carry_out(store, decision)
    conclude(log, store, line, done=True)


def _refused(what: str, cure: str) -> ModelGateError:
    return ModelGateError(
        what, why="What goes live is decided on evidence that is whole, current and read.", cure=cure
    )


def _no_such(what: str) -> UsageProblem:
    return UsageProblem(
        what,
        why="There is nothing to decide about.",
        cure="`lungline status` lists the models and versions there are.",
    )


def _by_whom(case: Case) -> str:
    last = next((one for one in reversed(case.history.decisions) if one.kind != "reject"), None)
    return f" ({last.kind} by {last.person}, {utc_text(last.time)})" if last else ""


def _said(version: str | None) -> str:
    return f"version {version}" if version else "none"
