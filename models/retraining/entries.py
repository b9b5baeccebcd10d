"""What the retraining journal records: windows seen, requests, labels, trainings and what became of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter

from models.registry.decisions.entries import Version
from models.registry.decisions.person import Person

if TYPE_CHECKING:
    from data_contracts.drift.verdict import DriftVerdict

VerdictName = Literal["quiet", "watch", "alarm", "insufficient"]
TrainingOutcome = Literal["candidate", "nothing new", "failed", "interrupted"]
Fingerprint = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class _Entry(BaseModel):
    """sequence: 0, 1, 2 … without gaps; this alone orders entries. time: UTC to the second, by the machine's clock."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sequence: Annotated[int, Field(ge=0)]
    time: AwareDatetime


class WindowSeen(_Entry):
    """A verdict of the monitor. bundle: content hash of the model that was watched. until: as the window says.

    issue: 1, 2, …; a later issue of a window replaces the earlier one.
    """

    kind: Literal["window"] = "window"
    version: str
    bundle: str
    window: str
    until: str
    issue: Annotated[int, Field(ge=1)]
    verdict: VerdictName


class Requested(_Entry):
    """Drift was confirmed and retraining is asked for: the only one of its episode. windows: the confirming ones."""

    kind: Literal["requested"] = "requested"
    episode: Annotated[int, Field(ge=1)]
    windows: list[str]


class LabelsArrived(_Entry):
    """Labels that no version has learned from yet. fingerprint: of all labels that were there then."""

    kind: Literal["labels"] = "labels"
    images: Annotated[int, Field(ge=0)]
    decisions: Annotated[int, Field(ge=0)]
    fingerprint: Fingerprint


class TrainingStarted(_Entry):
    """A training begins, or begins again after an attempt that left no version. labels: fingerprint of the labels."""

    kind: Literal["started"] = "started"
    episode: Annotated[int, Field(ge=1)]
    labels: Fingerprint


class TrainingEnded(_Entry):
    """What came of the training that was started last. version: of the candidate, else None. note: why, or ""."""

    kind: Literal["ended"] = "ended"
    episode: Annotated[int, Field(ge=1)]
    outcome: TrainingOutcome
    version: Version | None = None
    note: str = ""


class CircuitClosed(_Entry):
    """A person says that retraining may go on after setbacks, and why."""

    kind: Literal["circuit closed"] = "circuit closed"
    person: Person
    reason: str


Entry = WindowSeen | Requested | LabelsArrived | TrainingStarted | TrainingEnded | CircuitClosed
_ENTRY: TypeAdapter[Entry] = TypeAdapter(Annotated[Entry, Field(discriminator="kind")])


def entry_of(content: dict[str, Any]) -> Entry:
    """Raises ValidationError where it is none."""
    return _ENTRY.validate_python(content)


def read_entry(line: bytes) -> Entry:
    """Raises ValidationError where it is none."""
    return _ENTRY.validate_json(line)


def window_facts(verdict: DriftVerdict) -> dict[str, Any]:
    """What a WindowSeen keeps of a verdict; the rest stays in the verdict's own file."""
    return {
        "kind": "window",
        "version": str(verdict.version),
        "bundle": verdict.bundle,
        "window": verdict.window.id,
        "until": str(verdict.window.until),
        "issue": verdict.window.issue,
        "verdict": verdict.verdict,
    }
