"""Maps published reporting checklists onto the dossier: which file answers an item, and what only a person can answer.

The items are written in our own words and name the part of the publication they follow. A filled list shows where to
look; it never claims that a model conforms to anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict

NEEDS_A_PERSON = "needs a person"
Status = Literal["answered", "partly", "needs a person"]

# What is absent for a reason of its own; anything else was not kept with the version.
_WHY_ABSENT = {
    "external": "No source was held out.",
    "comparison": "There was no champion to compare with on the same test images.",
    "changes": "There was no champion whose settings could be compared.",
}


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ChecklistItem(_Form):
    """One item. evidence: the fact of `known_facts` that answers it, "" where only a person can. partly: what stays
    open although the evidence is there, "" where nothing does.
    """

    item: str
    asks: str
    evidence: str = ""
    partly: str = ""


class Checklist(_Form):
    """One checklist as shipped. source: the publication it follows."""

    name: str
    source: str
    items: list[ChecklistItem]


class AnsweredItem(_Form):
    """An item with what this dossier has for it. file: its name in the dossier, "" without one."""

    item: str
    asks: str
    status: Status
    file: str
    note: str


class AnsweredChecklist(_Form):
    """A checklist with what this dossier has for each item."""

    name: str
    source: str
    items: list[AnsweredItem]

    def count(self, status: Status) -> int:
        """How many items have this status."""
        return sum(item.status == status for item in self.items)


def checklists() -> list[Checklist]:
    """The checklists that come with Lungline, by file name."""
    folder = files("models.review").joinpath("checklists")
    found = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".yaml")), key=lambda e: e.name)
    return [Checklist.model_validate(yaml.safe_load(entry.read_text(encoding="utf-8"))) for entry in found]


def answer(known_facts: Mapping[str, str]) -> list[AnsweredChecklist]:
    """Every checklist filled. known_facts: name of a fact -> file of the dossier that holds it; "" where absent."""
    return [
        AnsweredChecklist(
            name=one.name, source=one.source, items=[_answered(item, known_facts) for item in one.items]
        )
        for one in checklists()
    ]


def _answered(item: ChecklistItem, known_facts: Mapping[str, str]) -> AnsweredItem:
    file = known_facts.get(item.evidence, "") if item.evidence else ""
    if not file:
        absent = _WHY_ABSENT.get(item.evidence, f"Not kept with this version: {item.evidence}.")
        note = absent if item.evidence else ""
        return AnsweredItem(item=item.item, asks=item.asks, status=NEEDS_A_PERSON, file="", note=note)
    status: Status = "partly" if item.partly else "answered"
    return AnsweredItem(item=item.item, asks=item.asks, status=status, file=file, note=item.partly)
