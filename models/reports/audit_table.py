"""The shortcut audit of a run as one table: a row per test, a column per architecture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.audit.results import AuditItem, AuditReport

if TYPE_CHECKING:
    from models.reports.run_report import ArchitectureSection


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One test of the battery for every audited architecture, in the order of the columns."""

    title: str
    question: str
    items: list[AuditItem | None]


@dataclass(frozen=True, slots=True)
class AuditMatrix:
    """The audits side by side. without: names of the architectures that were not audited."""

    audited: list[tuple[str, AuditReport]]
    rows: list[AuditRow]
    without: list[str]


def audit_matrix(ranked: Sequence[ArchitectureSection]) -> AuditMatrix | None:
    """The audits of a run, best architecture first; None where none was made."""
    audited = [(one.name, one.audit) for one in ranked if one.audit is not None]
    if not audited:
        return None
    described = {item.name: item for _, report in audited for item in report.items}
    found = [{item.name: item for item in report.items} for _, report in audited]
    return AuditMatrix(
        audited=audited,
        rows=[
            AuditRow(item.title, item.question, [items.get(name) for items in found])
            for name, item in described.items()
        ],
        without=[one.name for one in ranked if one.audit is None],
    )
