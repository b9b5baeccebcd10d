"""Puts the results of a run together into the content of its pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import yaml

from data_contracts.expectations.report import ValidationReport
from data_contracts.ontology import Task
from data_contracts.splits import SplitSettings
from models.reports.data_report import DataReport, render_data_report
from models.reports.data_section import data_section
from models.reports.run_report import ArchitectureSection, Reproduction, RunReport, render_run_report

if TYPE_CHECKING:
    from data_contracts.catalog import Catalog
    from models.evaluation.results import Evaluation
    from models.evaluation.selection import Selection
    from models.explanation.results import CamSheet
    from models.registry.bundle import ModelBundle
    from models.registry.versions import RegisteredVersion


def data_page(
    catalog: Catalog,
    validations: Sequence[ValidationReport],
    *,
    title: str,
    recipe_name: str,
    task: Task,
    split: SplitSettings,
) -> str:
    """The data report of a recipe. validations: of the gates that were reached, in order."""
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
        )
    )


def run_page(
    *,
    title: str,
    recipe: dict[str, object],
    task: Task,
    split: SplitSettings,
    catalog: Catalog,
    validations: Sequence[ValidationReport],
    bundles: Sequence[ModelBundle],
    evaluations: Sequence[Evaluation],
    sheets: Sequence[CamSheet],
    selection: Selection,
    registered: RegisteredVersion,
) -> str:
    """The run report. bundles, evaluations (of the test split) and sheets belong together by architecture name."""
    by_name = {evaluation.architecture: evaluation for evaluation in evaluations}
    sheet_of = {sheet.architecture: sheet for sheet in sheets}
    winner = next(bundle for bundle in bundles if bundle.spec.architecture == selection.winner)
    name = str(recipe["name"])
    return render_run_report(
        RunReport(
            title=title,
            recipe_name=name,
            recipe_yaml=yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True),
            task_title=task.title,
            class_titles=_titles(task),
            selection=selection,
            architectures=[
                ArchitectureSection(
                    name=bundle.spec.architecture,
                    parameters=bundle.count_parameters(),
                    history=bundle.history,
                    evaluation=by_name[bundle.spec.architecture],
                    operating_points=bundle.spec.operating_points,
                    cam_sheet=sheet_of.get(bundle.spec.architecture),
                )
                for bundle in bundles
            ],
            data=data_section(
                catalog,
                class_titles=_titles(task),
                split_settings=_split_settings(split),
                validation=_together(validations),
            ),
            reproduction=Reproduction(
                commands=[f"lungline train {name} --data DIR"],
                data_hash=winner.spec.data_hash,
                bundle_hash=winner.content_hash,
                seed=winner.spec.seed,
                versions=winner.spec.versions,
                registered_name=registered.name,
                registered_version=registered.version,
                registered_alias=registered.alias,
                mlflow_run_id=registered.run_id,
            ),
        )
    )


def _titles(task: Task) -> dict[str, str]:
    return {task_class.name: task_class.title for task_class in task.classes}


def _split_settings(split: SplitSettings) -> dict[str, str]:
    return {name: str(value) for name, value in split.model_dump().items()}


def _together(validations: Sequence[ValidationReport]) -> ValidationReport:
    """The reports of several gates as one table."""
    return ValidationReport.of(
        " and ".join(report.suite for report in validations),
        [check for report in validations for check in report.checks],
    )
