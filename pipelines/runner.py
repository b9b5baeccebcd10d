"""Runs a pipeline on the active stack and brings back what a person wants to see of it."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from data_contracts.errors import ExternalServiceError, UsageProblem
from data_contracts.sources import fingerprint
from data_contracts.sources.phantom import PhantomSettings, write_phantom_datasets
from data_contracts.workspace import Workspace
from pipelines.living_runs import living_run
from pipelines.recipe import Recipe
from steps.progress import progress, say

if TYPE_CHECKING:
    from zenml.models import PipelineRunResponse

    from data_contracts.catalog import Catalog
    from deploy.stacks.stack_file import StackFile
    from models.evaluation.results import Evaluations
    from models.evaluation.selection import Selection
    from models.registry.challenger import RegisteredVersion


@dataclass(frozen=True, slots=True)
class DataResult:
    """What the data part of a recipe made."""

    run: str
    catalog: Catalog
    report: Path


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a training run made. evaluations: best architecture first.

    trained: how many architectures were trained rather than taken from the cache.
    """

    run: str
    selection: Selection
    evaluations: list[Evaluations]
    baselines: list[Evaluations]
    registered: RegisteredVersion
    report: Path
    trained: int


def run_data(recipe: Recipe, data: Path | None, workspace: Workspace) -> DataResult:
    """Run ingest to split and write runs/<run>/data.html."""
    from models.reports.compose import data_page
    from pipelines.training import data_pipeline

    run = _run(data_pipeline, recipe, data, workspace)
    catalog = _output(run, "split", "split_catalog")
    validations = [_output(run, f"validate_{suite}", "validation") for suite in ("catalog", "split")]
    page = data_page(
        catalog,
        validations,
        title=recipe.title,
        recipe_name=recipe.name,
        task=recipe.task_definition,
        split=recipe.split,
        store=_output(run, "store_images", "image_store"),
        data_dir=data_folder(recipe, data, workspace),
    )
    return DataResult(run.name, catalog, _write_page(workspace, run.name, "data.html", page))


def run_training(
    recipe: Recipe, data: Path | None, workspace: Workspace, stack: str | None = None
) -> TrainingResult:
    """Run the whole training pipeline and write runs/<run>/report.html with the pages it links to.

    stack: a stack file's name or path, or the name of a stack that ZenML knows; else the active one as it is.
    """
    from pipelines.training import step_name, training_pipeline

    try:
        run = _run(training_pipeline, recipe, data, workspace, stack)
    finally:
        # Bundles live on in the artifact store; what is left in the cache is this process's own scratch copy.
        shutil.rmtree(workspace.cache / "bundles" / str(os.getpid()), ignore_errors=True)
    for name, content in _output(run, "report", "pages").items():
        _write_page(workspace, run.name, name, content)
    selection: Selection = _output(run, "select", "selection")
    steps = [f"evaluate_{step_name(name)}" for name in selection.ranking]
    trainings = [run.steps[f"train_{step_name(name)}"] for name in selection.ranking]
    return TrainingResult(
        run=run.name,
        selection=selection,
        evaluations=[_output(run, step, "evaluations") for step in steps],
        baselines=_output(run, "baselines", "baselines"),
        registered=_output(run, "register", "registered"),
        report=_write_page(workspace, run.name, "report.html", str(_output(run, "report", "report"))),
        trained=sum(training.status.value != "cached" for training in trainings),
    )


def data_folder(recipe: Recipe, data: Path | None, workspace: Workspace) -> Path:
    """The data folder to read: the one given, else the recipe's phantom, drawn on the spot.

    Raises UsageProblem where there is neither.
    """
    if data is not None:
        return data.resolve()
    if recipe.phantom is None:
        raise UsageProblem(
            f"Recipe {recipe.name!r} needs real datasets and no data folder was given.",
            why="It reads " + ", ".join(recipe.sources) + " in their original layouts.",
            cure="Name the folder that holds them with --data DIR or LUNGLINE_DATA, or try the recipe quickstart.",
        )
    return _phantom(recipe.phantom, workspace)


def _phantom(settings: PhantomSettings, workspace: Workspace) -> Path:
    key = hashlib.sha256(settings.model_dump_json().encode()).hexdigest()[:12]
    folder = workspace.cache / f"phantom-{key}"
    with progress("draw phantom") as report:
        write_phantom_datasets(folder, settings, report)
    return folder


def _run(
    pipeline: Any, recipe: Recipe, data: Path | None, workspace: Workspace, stack: str | None = None
) -> PipelineRunResponse:
    """Run on the stack, again where a step was taken from the cache whose artefact is gone.

    Errors of the domain come through as they were raised.
    """
    from pipelines.vanished import forget_vanished

    folder = data_folder(recipe, data, workspace)
    arguments = (recipe.model_dump(mode="json"), str(folder), fingerprint(recipe.sources, folder))
    options = stack_options(stack, pipeline, arguments) if stack else {}
    while True:  # ends: every round takes at least one step run out of the cache for good
        name = f"{recipe.name}-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
        try:
            run = _attempt(
                pipeline.with_options(run_name=name, **options), arguments, recipe.name, name, workspace
            )
        except Exception:
            vanished = forget_vanished(name)
            if not vanished:
                raise
        else:
            vanished = forget_vanished(name)
            if not vanished:
                return run
        say(f"gone from the artifact store, so it is made again: {', '.join(vanished)}")


def _attempt(
    configured: Any, arguments: tuple[Any, ...], recipe_name: str, name: str, workspace: Workspace
) -> PipelineRunResponse:
    from models.registry.follow import finish_pipeline_run

    outcome: Literal["FINISHED", "FAILED", "KILLED"] = "FINISHED"
    with living_run(workspace, name):
        try:
            run: PipelineRunResponse = configured(*arguments)
            _require_finished(run, name)
        except KeyboardInterrupt:
            outcome = "KILLED"
            raise
        except Exception:
            outcome = "FAILED"
            raise
        finally:
            finish_pipeline_run(workspace, recipe_name, name, outcome)
    return run


def _require_finished(run: PipelineRunResponse, name: str) -> None:
    """Raise ExternalServiceError for a run whose pods failed: ZenML waits for them and then says nothing."""
    from zenml.client import Client

    ended = Client().get_pipeline_run(run.id).status
    if ended.is_failed:
        raise ExternalServiceError(
            f"The run {name} ended as {ended.value} on its stack.",
            why="Its steps ran elsewhere, and not all of them finished.",
            cure="`zenml pipeline runs list` and the pods' logs show which; then run the same command again.",
        )


def use_stack(stack: str) -> StackFile | None:
    """Choose the stack for this process; its file, where it has one."""
    from deploy.stacks.stack_file import has_stack_file, load_stack
    from pipelines.stack_registration import choose_stack, require_packages

    if not has_stack_file(stack):
        choose_stack(stack)
        return None
    described = load_stack(stack)
    if described.makes_pods and os.environ.get("MLFLOW_TRACKING_URI", "").startswith("sqlite:"):
        raise UsageProblem(
            "MLflow's records lie in a file of this machine.",
            why=f"The pods of the stack {described.name} and this command have to speak to the same MLflow.",
            cure="Set MLFLOW_TRACKING_URI to the server's address, as the pods reach it.",
        )
    require_packages(described)
    choose_stack(described.name)
    return described


def stack_options(stack: str, pipeline: Any, arguments: tuple[Any, ...]) -> dict[str, Any]:
    """Choose the stack for this process, and what its file asks for each of the pipeline's steps."""
    from deploy.stacks.run_options import run_options

    described = use_stack(stack)
    if described is None:
        return {}
    if described.on_kubeflow:
        from deploy.stacks.kubeflow_pods import hand_on_pods

        hand_on_pods(described)
    planned = pipeline.copy()
    planned.prepare(*arguments)  # a pipeline knows the names of its steps when it was laid out
    return run_options(described, planned.invocations)


def _output(run: PipelineRunResponse, step: str, name: str) -> Any:
    return run.steps[step].outputs[name][0].load()


def _write_page(workspace: Workspace, run: str, name: str, html: str) -> Path:
    page = workspace.runs / run / name
    page.parent.mkdir(parents=True, exist_ok=True)
    part = page.with_suffix(".part")
    part.write_text(html, encoding="utf-8")
    os.replace(part, page)
    return page
