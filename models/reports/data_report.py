"""The data report: one page that says whether data may be used, what they hold and what was set aside."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from models.reports import figures, page, verdict
from models.reports.data_section import DataSection


class DataReport(BaseModel):
    """The whole content of a data report.

    catalog_hash: content hash of the catalog it describes. recipe_name and task_title are "" where unknown.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    recipe_name: str = ""
    task_title: str = ""
    catalog_hash: str
    data: DataSection


def render_data_report(content: DataReport) -> str:
    """The page as one self-contained HTML document; equal content gives equal bytes."""
    checks = content.data.validation.checks if content.data.validation else []
    failed = [check for check in checks if not check.passed]
    return page.render(
        "data_report.html.j2",
        report=content,
        stopped=any(check.severity == "critical" for check in failed),
        failed=sorted(failed, key=lambda check: check.severity != "critical"),
        verdict=verdict.data_sentences(content.data),
        bars=figures.composition_bars(content.data),
    )
