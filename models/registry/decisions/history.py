"""What the log says about one model: its champions in order, its decisions, and what was refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from models.registry.decisions.entries import Aliases, Decision, Line


@dataclass(frozen=True, slots=True)
class ModelHistory:
    """The carried-out decisions about a model, oldest first, and the champions they leave.

    champions: newest last; an approval adds one and a rollback takes the last away, so that one rollback after the
    other leads further back.
    """

    decisions: tuple[Decision, ...] = ()
    champions: tuple[str, ...] = ()

    @property
    def aliases(self) -> Aliases:
        """Where the aliases must point."""
        previous, champion = [None, None, *self.champions][-2:]
        return Aliases(champion=champion, previous=previous)

    def last_about(self, version: str) -> Decision | None:
        """The latest decision about a version."""
        return next((one for one in reversed(self.decisions) if one.version == version), None)

    def bundle_of(self, version: str) -> str | None:
        """The bundle a version had when it was approved; None where it never was."""
        approvals = (one for one in reversed(self.decisions) if one.kind == "approve" and one.version == version)
        return next((one.bundle for one in approvals), None)


def history(lines: Sequence[Line], model: str) -> ModelHistory:
    """Fold the log. Decisions that were withdrawn, or whose outcome is not known yet, did not happen."""
    decisions: list[Decision] = []
    champions: list[str] = []
    for line, following in pairwise(lines):
        decision = line.entry
        if not isinstance(decision, Decision) or decision.model != model or following.entry.kind != "done":
            continue
        decisions.append(decision)
        if decision.kind == "approve" and decision.version:
            champions.append(decision.version)
        elif decision.kind == "rollback" and champions and decision.after.champion != champions[-1]:
            champions.pop()
    return ModelHistory(tuple(decisions), tuple(champions))


def models_in(lines: Sequence[Line]) -> list[str]:
    """The models the log speaks of, in the order they first appear."""
    return list(dict.fromkeys(line.entry.model for line in lines if line.entry.kind != "genesis"))
