"""The training pipeline: raw datasets in, a challenger and a report out. Its front can run alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from zenml import pipeline
from zenml.enums import ExecutionMode

from data_contracts.overlay import overlay_decisions
from pipelines.recipe import Recipe
from steps.audit import audit
from steps.baselines import baselines
from steps.data import identify, ingest, label, split, store_images, validate
from steps.evaluate import evaluate
from steps.explain import explain
from steps.hold_out import leave_one_source_out
from steps.profile import profile
from steps.report import report
from steps.search import search
from steps.select import register, select
from steps.train import train


@pipeline(name="data", execution_mode=ExecutionMode.FAIL_FAST)
def data_pipeline(recipe: dict[str, Any], data_dir: str, data_fingerprint: str) -> None:
    """From raw datasets to a validated, split catalog over an image store."""
    _data(Recipe.model_validate(recipe), data_dir, data_fingerprint)


@pipeline(name="training", execution_mode=ExecutionMode.FAIL_FAST)
def training_pipeline(recipe: dict[str, Any], data_dir: str, data_fingerprint: str) -> None:
    """Every architecture of the recipe from the same split, side by side, and the best registered."""
    plan = Recipe.model_validate(recipe)
    store, labelled, catalog, validations = _data(plan, data_dir, data_fingerprint)
    compared_with = baselines(store, catalog, validations[-1], plan.task, plan.evaluation.model_dump())
    bundles, predicted, evaluations, explanations, audits, searches = [], [], [], [], [], []
    # A static loop: every architecture is a step of its own in the graph, parallel wherever the stack can.
    for architecture in plan.architectures:
        name = step_name(architecture.name)
        shaped_by: Any = plan.what_shapes(architecture)
        if plan.search is not None and plan.search.covers(architecture.name):
            gate, space = validations[-1], plan.search.model_dump(mode="json")
            found, shaped_by = search(
                store, catalog, gate, shaped_by, space, plan.evaluation.primary_metric, id=f"search_{name}"
            )
            searches.append(found)
        bundle = train(store, catalog, validations[-1], shaped_by, id=f"train_{name}")
        predictions, evaluated = evaluate(
            bundle, store, catalog, plan.evaluation.model_dump(), id=f"evaluate_{name}"
        )
        bundles.append(bundle)
        predicted.append(predictions)
        evaluations.append(evaluated)
        explanations.append(
            explain(
                *(bundle, store, predictions, plan.explanation.model_dump(), data_dir, data_fingerprint),
                id=f"explain_{name}",
            )
        )
        audits.append(
            audit(
                *(bundle, store, catalog, predictions, plan.audit.model_dump(), data_dir, data_fingerprint),
                id=f"audit_{name}",
            )
        )
    selection = select(evaluations)
    reference = profile(selection, bundles, store, catalog, predicted)
    held_out: Any = []
    for architecture in plan.architectures:
        if architecture.name == plan.evaluation.leave_one_source_out:
            shaped_by = plan.what_shapes(architecture)
            held_out = leave_one_source_out(
                store, labelled, validations[-1], shaped_by, plan.evaluation.model_dump()
            )
    sections = plan.sections()
    registered = register(
        recipe=sections,
        model_name=plan.model_name,
        selection=selection,
        bundles=bundles,
        predictions=predicted,
        evaluations=evaluations,
        baselines=compared_with,
        explanations=explanations,
        audits=audits,
        reference=reference,
        validations=validations,
        catalog=catalog,
        image_store=store,
    )
    report(
        recipe=sections,
        catalog=catalog,
        validations=validations,
        bundles=bundles,
        evaluations=evaluations,
        baselines=compared_with,
        sheets=explanations,
        audits=audits,
        searches=searches,
        held_out=held_out,
        selection=selection,
        registered=registered,
    )


def _data(plan: Recipe, data_dir: str, data_fingerprint: str) -> tuple[Any, Any, Any, list[Any]]:
    """The data part: the image store, the catalog before and after the split, and the reports of both gates."""
    gate = plan.model_dump(mode="json", include={"name", "title", "task", "split", "validation"})
    offered, _notes = ingest(plan.sources, data_dir, data_fingerprint, plan.validation.pinned_tables)
    store = store_images(offered, data_dir, data_fingerprint, plan.images.model_dump())
    decisions = [one.model_dump(mode="json") for one in overlay_decisions(plan.identity, Path(data_dir))]
    identified = identify(store, plan.identity.model_dump(exclude={"overlay"}))
    labelled = label(identified, plan.task, decisions)
    validation = validate(labelled, "catalog", gate, id="validate_catalog")
    catalog = split(labelled, validation, plan.split.model_dump())
    split_validation = validate(catalog, "split", gate, id="validate_split")
    return store, labelled, catalog, [validation, split_validation]


def step_name(architecture: str) -> str:
    """An architecture's name as part of a step's: letters, digits and underscores."""
    return re.sub(r"\W+", "_", architecture)
