"""`lungline approve`, `reject` and `rollback`: asks the person, lets the registry decide, says so."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import typer

from data_contracts.errors import UsageProblem
from pipelines.commands.output import console, print_json
from pipelines.environment import Environment, prepare_environment

if TYPE_CHECKING:
    from models.registry.decisions.decide import Case
    from models.registry.decisions.entries import Decision
    from models.registry.tracking import TrackingStore


def approve(
    version: str, reason: str, model: str | None, dossier: str | None, override: bool, as_json: bool
) -> None:
    """Make a version the champion."""
    from models.registry.decisions.decide import approve as decide
    from models.registry.decisions.decide import open_case, require_reason
    from steps.person import signed_in_person

    require_reason(reason)
    if not dossier:
        _require_terminal()
    environment, store = settled_registry()
    name = model or _model_of(store, version)
    case = open_case(environment.workspace, store, name, version)
    person = signed_in_person()
    stated = dossier or (_ask_for_dossier(case) if case.dossier else "")
    decision = decide(
        environment.workspace,
        store,
        person,
        model=name,
        version=version,
        reason=reason,
        dossier=stated,
        override=override,
    )
    _report(environment, decision, as_json)


def reject(version: str, reason: str, model: str | None, dossier: str | None, as_json: bool) -> None:
    """Refuse a version."""
    from models.registry.decisions.decide import open_case, require_reason
    from models.registry.decisions.decide import reject as decide
    from steps.person import signed_in_person

    require_reason(reason)
    environment, store = settled_registry()
    name = model or _model_of(store, version)
    case = open_case(environment.workspace, store, name, version)
    person = signed_in_person()
    stated = dossier or (_ask_for_dossier(case) if case.dossier else "")
    decision = decide(
        environment.workspace, store, person, model=name, version=version, reason=reason, dossier=stated
    )
    _report(environment, decision, as_json)


def rollback(reason: str, model: str | None, as_json: bool) -> None:
    """Put the champion back to the one before."""
    from models.registry.decisions.decide import require_reason
    from models.registry.decisions.decide import rollback as decide
    from steps.person import signed_in_person

    require_reason(reason)
    environment, store = settled_registry()
    name = model or _model_with_decisions(environment)
    decision = decide(environment.workspace, store, signed_in_person(), model=name, reason=reason)
    _report(environment, decision, as_json)


def settled_registry() -> tuple[Environment, TrackingStore]:
    """The registry, after settling what was interrupted, which is said on standard error."""
    environment = prepare_environment()
    from models.registry.decisions.recovery import recover
    from models.registry.follow import tracking_store

    store = tracking_store(environment.workspace)
    for note in recover(environment.workspace, store):
        print(f"Note: {note}.", file=sys.stderr)
    return environment, store


def _model_of(store: TrackingStore, version: str) -> str:
    """The one model that has such a version."""
    from models.registry.decisions.aliases import models_with_version

    if not re.fullmatch(r"[1-9][0-9]{0,8}", version):
        raise UsageProblem(
            f"{version!r} is not a version number.",
            why="Aliases move; a decision names the version it is about.",
            cure="Give a number; `lungline status` lists the versions there are.",
        )
    return _only(models_with_version(store, version), f"version {version}")


def _model_with_decisions(environment: Environment) -> str:
    from models.registry.decisions.history import history, models_in
    from models.registry.decisions.log import DecisionLog

    lines = DecisionLog.of(environment.workspace).read_between_decisions().lines
    return _only([name for name in models_in(lines) if history(lines, name).champions], "decided champion")


def _only(names: list[str], of_what: str) -> str:
    if len(names) == 1:
        return names[0]
    listed = ", ".join(names)
    raise UsageProblem(
        f"Several models have a {of_what}: {listed}." if names else f"No model has a {of_what}.",
        why="A decision is about one model.",
        cure="Name it with --model." if names else "`lungline status` lists the models and versions there are.",
    )


def _require_terminal() -> None:
    """Raise UsageProblem where nobody can be asked."""
    if not sys.stdin.isatty():
        raise UsageProblem(
            "The dossier's hash is asked for, and there is no terminal to ask at.",
            why="Stating it says which evidence the decision rests on.",
            cure="Read the dossier and give the hash at its top with --dossier.",
        )


def _ask_for_dossier(case: Case) -> str:
    """What the person types after seeing the verdict, but not the hash. Raises UsageProblem without a terminal."""
    _require_terminal()
    if case.dossier:
        verdict = case.dossier.verdict
        champion = f"version {verdict.champion}" if verdict.champion else "no champion yet"
        lines = [f"{case.model} version {case.version}, compared with {champion}: {verdict.verdict}"]
        lines += [f"  - {' '.join(reason.split())}" for reason in verdict.reasons]
        for line in lines:
            console().print(line, markup=False)
    answer: str = typer.prompt("First 8 digits or more of the dossier's hash, which names its folder")
    return answer


def _report(environment: Environment, decision: Decision, as_json: bool) -> None:
    from models.registry.decisions.log import DecisionLog

    if as_json:
        print_json(decision.model_dump(mode="json"))
        return
    done = {"approve": "approved", "reject": "rejected", "rollback": "rolled back"}[decision.kind]
    was, now = _version(decision.before.champion), _version(decision.after.champion)
    about = _version(decision.version) if decision.kind != "rollback" else ""
    print_lines = [
        f"{done:<12}{decision.model} {about}".rstrip(),
        f"champion    {now}" + (f" (before: {was})" if was != now else " (unchanged)"),
        f"by          {decision.person}" + ("" if decision.person.account_id else ", identity not verified"),
    ]
    if decision.overrides:
        print_lines.append(f"overridden  {'; '.join(decision.overrides)}")
    place = DecisionLog.of(environment.workspace).storage.place
    print_lines.append(f"recorded    entry {decision.sequence} of {place}")
    for line in print_lines:
        console().print(line, markup=False, soft_wrap=True)


def _version(version: str | None) -> str:
    return f"version {version}" if version else "none"
