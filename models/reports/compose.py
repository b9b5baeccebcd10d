"""Puts the results of a run together into the content of its pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from data_contracts.expectations.report import ValidationReport
from data_contracts.ontology import Task
from data_contracts.splits import SplitSettings
from models.reports.data_report import DataReport, data_detail, data_origin, render_data_report
from models.reports.data_section import data_section
from models.reports.run_pages import render_run_pages
from models.reports.run_report import ArchitectureSection, Reproduction, RunReport, render_run_report

if TYPE_CHECKING:
    from data_contracts.catalog import Catalog
    from data_contracts.image_store import ImageStore
    from models.audit.results import AuditReport
    from models.evaluation.leave_one_source_out import LeaveOneSourceOut
    from models.evaluation.results import Evaluations
    from models.evaluation.selection import Selection
    from models.explanation.results import CamSheet
    from models.registry.bundle import ModelBundle
    from models.registry.versions import RegisteredVersion
    from models.training.search.results import SearchResult


def data_page(
    catalog: Catalog,
    validations: Sequence[ValidationReport],
    *,
    title: str,
    recipe_name: str,
    task: Task,
    split: SplitSettings,
    store: ImageStore | None = None,
    data_dir: Path | None = None,
) -> str:
    """The data report of a recipe. validations: of the gates that were reached, in order.

    store, data_dir: where the pictures of kept and of quarantined files come from; without them the page has none.
    """
    return render_data_report(
        DataReport(
            title=title,
            recipe_name=recipe_name,
            task_title=task.title,
            catalog_hash=catalog.content_hash(),
            data=data_section(
                catalog,
                class_titles=_titles(task),
                split_settings=_split_settings(split),
                validation=_together(validations),
            ),
            detail=data_detail(catalog, class_titles=_titles(task), split=split, store=store, data_dir=data_dir),
        )
    )


@dataclass(frozen=True, slots=True)
class RunPages:
    """report: the page a person opens first. others: file name -> content, to lie beside it as report.html."""

    report: str
    others: dict[str, str]


def run_pages(
    *,
    title: str,
    recipe: dict[str, object],
    task: Task,
    split: SplitSettings,
    catalog: Catalog,
    validations: Sequence[ValidationReport],
    bundles: Sequence[ModelBundle],
    evaluations: Sequence[Evaluations],
    baselines: Sequence[Evaluations],
    sheets: Sequence[CamSheet],
    selection: Selection,
    registered: RegisteredVersion,
    audits: Sequence[AuditReport] = (),
    searches: Sequence[SearchResult] = (),
    leave_one_source_out: LeaveOneSourceOut | None = None,
) -> RunPages:
    """The pages of a run.

    bundles, evaluations, sheets, audits and searches belong together by architecture name; baselines stand beside.
    leave_one_source_out: what runs that held out one source each left of the winner.
    """
    by_name = {evaluation.architecture: evaluation for evaluation in evaluations}
    sheet_of = {sheet.architecture: sheet for sheet in sheets}
    audit_of = {audit.architecture: audit for audit in audits}
    content = RunReport(
        title=title,
        recipe_name=str(recipe["name"]),
        recipe_yaml=yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True),
        task_title=task.title,
        class_titles=_titles(task),
        selection=selection,
        architectures=[
            _architecture(
                bundle,
                by_name[bundle.spec.architecture],
                sheet_of.get(bundle.spec.architecture),
                audit_of.get(bundle.spec.architecture),
            )
            for bundle in bundles
        ],
        baselines=list(baselines),
        searches=list(searches),
        leave_one_source_out=leave_one_source_out,
        data=data_section(
            catalog,
            class_titles=_titles(task),
            split_settings=_split_settings(split),
            validation=_together(validations),
        ),
        origin=data_origin(catalog, class_titles=_titles(task), split=split),
        reproduction=_reproduction(
            next(bundle for bundle in bundles if bundle.spec.architecture == selection.winner), registered
        ),
    )
    return RunPages(render_run_report(content), render_run_pages(content))


def _architecture(
    bundle: ModelBundle, evaluations: Evaluations, sheet: CamSheet | None, audit: AuditReport | None
) -> ArchitectureSection:
    return ArchitectureSection(
        name=bundle.spec.architecture,
        parameters=bundle.count_parameters(),
        history=bundle.history,
        evaluation=evaluations.test,
        external=evaluations.external,
        validation=evaluations.validation,
        operating_points=bundle.spec.operating_points,
        options=bundle.spec.options,
        initial_weights=bundle.spec.initial_weights,
        bundle_hash=bundle.content_hash,
        audit=audit,
        cam_sheet=sheet,
    )


def _reproduction(winner: ModelBundle, registered: RegisteredVersion) -> Reproduction:
    return Reproduction(
        commands=[f"lungline train {winner.spec.recipe_name} --data DIR"],
        data_hash=winner.spec.data_hash,
        bundle_hash=winner.content_hash,
        seed=winner.spec.seed,
        versions=winner.spec.versions,
        registered_name=registered.name,
        registered_version=registered.version,
        registered_alias=registered.alias,
        mlflow_run_id=registered.run_id,
    )


def _titles(task: Task) -> dict[str, str]:
    return {task_class.name: task_class.title for task_class in task.classes}


def _split_settings(split: SplitSettings) -> dict[str, str]:
    """What was set, in words; what is off is not listed."""
    chosen = {name.replace("_", " "): value for name, value in split.model_dump().items()}
    return {
        name: ", ".join(value) if isinstance(value, list) else "yes" if value is True else str(value)
        for name, value in chosen.items()
        if value is not None and value is not False and value != []
    }


def _together(validations: Sequence[ValidationReport]) -> ValidationReport:
    """The reports of several gates as one table."""
    return ValidationReport.of(
        " and ".join(report.suite for report in validations),
        [check for report in validations for check in report.checks],
    )
