"""Writes the pages of a run: the report, which a person opens first, and those it links to."""

from __future__ import annotations

from typing import Annotated, Any

from zenml import step
from zenml.types import HTMLString

from data_contracts.catalog import Catalog
from data_contracts.expectations.report import ValidationReport
from data_contracts.ontology import task_named
from data_contracts.splits import SplitSettings
from models.audit.results import AuditReport
from models.evaluation.leave_one_source_out import LeaveOneSourceOut
from models.evaluation.results import Evaluations
from models.evaluation.selection import Selection
from models.explanation.results import Explanation
from models.registry.bundle import ModelBundle
from models.registry.versions import RegisteredVersion
from models.training.search.results import SearchResult
from steps.caching import cached_on


@step(cache_policy=cached_on("models.reports.compose"))
def report(
    recipe: dict[str, Any],
    catalog: Catalog,
    validations: list[ValidationReport],
    bundles: list[ModelBundle],
    evaluations: list[Evaluations],
    baselines: list[Evaluations],
    sheets: list[Explanation],
    audits: list[AuditReport],
    searches: list[SearchResult],
    held_out: list[LeaveOneSourceOut],
    selection: Selection,
    registered: RegisteredVersion,
) -> tuple[Annotated[HTMLString, "report"], Annotated[dict[str, str], "pages"]]:
    """report.html, which ZenML's dashboard shows too, and the files that lie beside it by their names."""
    from models.reports.compose import run_pages

    pages = run_pages(
        title=recipe["title"],
        recipe=recipe,
        task=task_named(recipe["task"]),
        split=SplitSettings(**recipe["split"]),
        catalog=catalog,
        validations=validations,
        bundles=bundles,
        evaluations=evaluations,
        baselines=baselines,
        sheets=sheets,
        audits=audits,
        searches=searches,
        leave_one_source_out=held_out[0] if held_out else None,
        selection=selection,
        registered=registered,
    )
    return HTMLString(pages.report), pages.others
