"""Which labels are new: images with a label that no version has learned from, and decisions of people about labels.

What a model predicted is never a label. Nothing here reads a prediction log, and a decision signed by a program is
refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from data_contracts.errors import ModelGateError
from data_contracts.overlay import Decision
from data_contracts.workspace import Workspace
from models.registry.evidence import take_evidence
from models.registry.outage import store_errors
from models.registry.tracking import TrackingStore
from models.registry.versions import CHAMPION, find_version

_PROGRAMS = frozenset(
    {"ai", "algorithm", "champion", "challenger", "lungline", "model", "prediction", "pseudo-label"}
)


class NewLabels(BaseModel):
    """Labels that no version has learned from. fingerprint: of all labels that are there. notes: what was left out.

    images: how many more the datasets hold than any version was offered. decisions: of people, about known images.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    images: int = Field(ge=0)
    decisions: int = Field(ge=0)
    fingerprint: str
    notes: list[str] = []

    @property
    def total(self) -> int:
        return self.images + self.decisions


@dataclass(frozen=True, slots=True)
class Learned:
    """What earlier versions were offered. images: most files of any; None where no evidence says. since: UTC day on
    which the last of them was made; None without a version."""

    images: int | None = None
    since: date | None = None


def learned_by(workspace: Workspace, store: TrackingStore, model_name: str, candidate: str | None) -> Learned:
    """What the champion was offered, and the version that the last retraining made, where there is one.

    Raises ModelGateError for changed evidence, ExternalServiceError or EnvironmentProblem where the store fails.
    """
    with store_errors(store.tracking_uri):
        found = [find_version(store.client, model_name, which) for which in (CHAMPION, candidate) if which]
    versions = [version for version in found if version is not None]
    lineages = [take_evidence(store, version, workspace.cache / "evidence").lineage for version in versions]
    offered = [lineage.counts["offered"] for lineage in lineages if lineage is not None]
    made = [datetime.fromtimestamp(version.creation_timestamp / 1000, UTC).date() for version in versions]
    complete = bool(versions) and len(offered) == len(versions)
    return Learned(max(offered) if complete else None, max(made, default=None))


def new_labels(
    offered: pd.DataFrame, decisions: Sequence[Decision], learned: Learned, model_name: str
) -> NewLabels:
    """What is new beside what versions learned from.

    offered: a Catalog's frame as the adapters list the datasets now. Files are counted, not compared, because no
    version keeps file names; all files without a label are taken to be among the new ones. A decision is new where it
    is dated the day before the last version or later: people write their own date, which west of Greenwich may be
    the day before the UTC day. Raises ModelGateError where a program signed a decision.
    """
    for decision in decisions:
        _require_person(decision, model_name)
    labelled = offered[offered["nodes"] != ""]
    notes, images = [], 0
    if learned.images is None:
        notes.append("how many images the versions were offered is not known, so no image counts as new")
    else:
        images = max(0, len(labelled) - learned.images)
        unlabelled = len(offered) - len(labelled)
        if unlabelled:
            notes.append(f"{unlabelled} files without a label do not count")
    since = learned.since and learned.since - timedelta(days=1)
    recent = [one for one in decisions if since is None or one.date >= since]
    digest = hashlib.sha256()
    for row in sorted(zip(labelled["source"], labelled["file"], labelled["nodes"], strict=True)):
        digest.update("\0".join(row).encode() + b"\n")
    for said in sorted(f"{one.image_id}\0{one.file}\0{one.nodes}\0{one.date}" for one in decisions):
        digest.update(said.encode() + b"\n")
    return NewLabels(images=images, decisions=len(recent), fingerprint=digest.hexdigest(), notes=notes)


def _require_person(decision: Decision, model_name: str) -> None:
    who = decision.who.strip().casefold()
    if who in _PROGRAMS or who == model_name.casefold() or who.startswith("lungline-"):
        raise ModelGateError(
            f"The decision in line {decision.line} of the label file is signed {decision.who!r}.",
            why="A model that learns from its own predictions confirms its mistakes; only people's labels count.",
            cure="Let a person look at the image and sign the decision, or take the line out.",
        )
