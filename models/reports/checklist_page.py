"""The page that says where a run answers published reporting checklists, and where only a person can."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.reports import page
from models.review.checklists import AnsweredChecklist, answer, checklists

if TYPE_CHECKING:
    from models.reports.run_report import RunReport

# How a study is reported. The other lists are about changing a model in use, which the promotion dossier is about.
REPORTING = ("CLAIM", "TRIPOD+AI")
_OF_THE_DOSSIER = ("review", "change_plan", "comparison", "changes")


@dataclass(frozen=True, slots=True)
class ListOfItems:
    """One checklist. later: the items that the promotion dossier will answer."""

    answered: AnsweredChecklist
    later: list[str]


def render_checklist_page(content: RunReport) -> str:
    """The page as one self-contained HTML document; equal content gives equal bytes."""
    asked = {one.name: one for one in checklists()}
    filled = [one for one in answer(known_facts(content)) if one.name in REPORTING]
    return page.render(
        "checklist.html.j2",
        report=content,
        lists=[
            ListOfItems(one, [item.item for item in asked[one.name].items if item.evidence in _OF_THE_DOSSIER])
            for one in filled
        ],
    )


def known_facts(content: RunReport) -> dict[str, str]:
    """Fact -> where on the run's pages it stands; facts that this run has not are left out."""
    winner = content.winner
    facts = {
        "recipe": "report.html#reproduce",
        "environment": "report.html#reproduce",
        "evaluation": f"{winner.file}#classes",
    }
    if content.origin is not None:
        facts["lineage"] = "report.html#sources"
    if winner.external is not None:
        facts["external"] = f"{winner.file}#external"
    if winner.evaluation.subgroups:
        facts["subgroups"] = f"{winner.file}#subgroups"
    if winner.audit is not None:
        facts["audit"] = f"{winner.file}#audit"
    if winner.explanation is not None:
        facts["explanation"] = f"{winner.file}#grad-cam"
    return facts
