"""Stops a run whose data broke the contract, after writing the page that names every row."""

from __future__ import annotations

import os
from typing import Any

from data_contracts.catalog import Catalog
from data_contracts.expectations.report import ValidationReport, require_passed
from data_contracts.ontology import task_named
from data_contracts.splits import SplitSettings
from data_contracts.workspace import Workspace


def stop_unless_passed(report: ValidationReport, catalog: Catalog, recipe: dict[str, Any], run_name: str) -> None:
    """Write runs/<run>/data.html where the report failed, and raise DataGateError naming it."""
    if report.passed:
        return
    from models.reports.compose import data_page
    from models.reports.data_section import without_patients
    from models.reports.row_names import RowNames

    html = data_page(
        catalog,
        [report],
        title=recipe["title"],
        recipe_name=recipe["name"],
        task=task_named(recipe["task"]),
        split=SplitSettings(**recipe["split"]),
    )
    page = Workspace.current().runs / run_name / "data.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    part = page.with_suffix(".part")
    part.write_text(html, encoding="utf-8")
    os.replace(part, page)
    require_passed(without_patients(report, RowNames(catalog.frame)), page)
