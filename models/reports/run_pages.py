"""All files of a run beside its report: a page for each architecture, the checklists, and every number as JSON."""

from __future__ import annotations

from models.reports.architecture_page import render_architecture_page
from models.reports.checklist_page import render_checklist_page
from models.reports.report_json import report_json
from models.reports.run_report import RunReport


def render_run_pages(content: RunReport) -> dict[str, str]:
    """File name -> content, as the links of report.html name them; equal content gives equal bytes."""
    pages = {section.file: render_architecture_page(section, content) for section in content.ranked}
    return {**pages, "checklist.html": render_checklist_page(content), "report.json": report_json(content)}
