"""Compares the registry with the decision log: aliases moved elsewhere, tags and versions that were changed."""

from __future__ import annotations

from dataclasses import dataclass

from data_contracts.workspace import Workspace
from models.registry.decisions.aliases import RegisteredModel, last_lines, registered_models
from models.registry.decisions.entries import Aliases
from models.registry.decisions.history import history, models_in
from models.registry.decisions.log import DecisionLog, Finding, Reading
from models.registry.tracking import TrackingStore


@dataclass(frozen=True, slots=True)
class Inspection:
    """What `verify` found. reading: the log as far as it is good. findings: empty where all is well."""

    reading: Reading
    findings: tuple[Finding, ...]

    @property
    def sound(self) -> bool:
        return not any(finding.level == "alarm" for finding in self.findings)


def verify(workspace: Workspace, store: TrackingStore) -> Inspection:
    """Check the log's chain and end, and the registry against it. Nothing is changed; call `recover` before.

    The registry is compared with a good log only. Raises ExternalServiceError or EnvironmentProblem where it fails.
    """
    log = DecisionLog.of(workspace)
    with log.locked():
        reading = log.read()
        if not reading.sound:
            note = Finding(level="note", where="registry", what="it was not compared with a log that was changed")
            return Inspection(reading, (*reading.findings, note))
        drift = registry_drift(reading, registered_models(store))
    return Inspection(reading, (*reading.findings, *drift))


def registry_drift(reading: Reading, models: list[RegisteredModel]) -> list[Finding]:
    """What in the registry is not as the log says. Models of other programs in the same registry are not looked at."""
    found = {model.name: model for model in models}
    findings = []
    for name in dict.fromkeys([*models_in(reading.lines), *found]):
        if name in found:
            findings += _model_drift(reading, found[name])
        elif history(reading.lines, name).champions:
            findings.append(_alarm(name, "it was removed from the registry, or renamed"))
    return findings


def _model_drift(reading: Reading, model: RegisteredModel) -> list[Finding]:
    decided = history(reading.lines, model.name)
    ours = bool(decided.decisions or model.champion_bundle or model.head_tag)
    if not ours:
        return []
    findings = [_alarm(model.name, what) for what in _moved(decided.aliases, model.aliases)]
    champion = model.aliases.champion
    approved = decided.bundle_of(champion) if champion and champion == decided.aliases.champion else None
    if approved and approved != model.champion_bundle:
        bundle = model.champion_bundle[:16]
        findings.append(
            _alarm(model.name, f"version {champion} is bundle {bundle}… now; approved was {approved[:16]}…")
        )
    return findings + _tag_drift(reading, model)


def _moved(decided: Aliases, actual: Aliases) -> list[str]:
    return [
        f"alias {alias} points to {_said(is_now)}; decided was {_said(was_decided)}"
        for alias, was_decided, is_now in (
            ("champion", decided.champion, actual.champion),
            ("previous", decided.previous, actual.previous),
        )
        if was_decided != is_now
    ]


def _tag_drift(reading: Reading, model: RegisteredModel) -> list[Finding]:
    """The tag must speak of the model's last line; one that knows later lines shows that the log lost them."""
    last = last_lines(reading.lines, model.name)[-1:]
    expected = reading.head(last[0]) if last else None
    if model.head == expected and bool(model.head_tag) == bool(last):
        return []
    stated = model.head
    if stated and stated.log_id == reading.log_id and stated.sequence >= len(reading.lines):
        what = f"the registry knows entry {stated.sequence}, and the log ends with entry {len(reading.lines) - 1}"
    elif stated and stated.log_id != reading.log_id:
        what = f"the registry's decisions are kept in another log ({stated.log_id[:8]}…)"
    elif not model.head_tag:
        what = "the registry's tag lungline.decision_head was removed"
    else:
        what = "the registry's tag lungline.decision_head does not speak of the last entry"
    return [_alarm(model.name, f"{what}; expected {expected.model_dump_json() if expected else 'no tag'}")]


def _alarm(model: str, what: str) -> Finding:
    return Finding(level="alarm", where=model, what=what)


def _said(version: str | None) -> str:
    return f"version {version}" if version else "none"
