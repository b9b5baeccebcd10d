"""Chooses the best of the architectures and registers it as the challenger."""

from __future__ import annotations

from typing import Annotated, Any

from zenml import get_step_context, log_metadata, step

from data_contracts.catalog import Catalog
from data_contracts.drift.profile import ReferenceProfile
from data_contracts.expectations.report import ValidationReport
from data_contracts.image_store import ImageStore
from data_contracts.workspace import Workspace
from models.audit.results import AuditReport
from models.evaluation.predictions import Predictions
from models.evaluation.results import Evaluations
from models.evaluation.selection import Selection, select_best
from models.explanation.results import Explanation
from models.registry.bundle import ModelBundle
from models.registry.versions import RegisteredVersion
from steps.caching import cached_on
from steps.person import signed_in_person


@step(cache_policy=cached_on("models.evaluation.selection"))
def select(evaluations: list[Evaluations]) -> Annotated[Selection, "selection"]:
    """Rank the architectures on validation."""
    return select_best([read.validation for read in evaluations])


@step(enable_cache=False)
def register(
    recipe: dict[str, Any],
    model_name: str,
    selection: Selection,
    bundles: list[ModelBundle],
    predictions: list[Predictions],
    evaluations: list[Evaluations],
    baselines: list[Evaluations],
    explanations: list[Explanation],
    audits: list[AuditReport],
    reference: ReferenceProfile,
    validations: list[ValidationReport],
    catalog: Catalog,
    image_store: ImageStore,
) -> Annotated[RegisteredVersion, "registered"]:
    """Make the winner the challenger in MLflow, with what a review reads and the reference it is watched against.

    The lists are in the recipe's order of architectures. Never cached: the registry itself says whether it is there.
    """
    from models.registry.challenger import register_winner
    from models.registry.evidence import Evidence

    place = [evaluated.architecture for evaluated in evaluations].index(selection.winner)
    read, audited = evaluations[place], audits[place]
    run = get_step_context().pipeline_run.name
    registered = register_winner(
        Workspace.current(),
        bundles[place],
        read.test,
        selection,
        model_name,
        signed_in_person(),
        evidence=Evidence.of(
            catalog=catalog,
            store=image_store,
            predictions=predictions[place],
            evaluations=read,
            recipe=recipe,
            audit=audited,
            explanation=explanations[place],
        ),
        reference=reference,
        pipeline_run=run,
        external=read.external,
        baselines=[baseline.test for baseline in baselines],
        waivers=recipe["validation"]["single_source_waivers"],
        gates={
            **{gate.suite: "passed" if gate.passed else "failed" for gate in validations},
            "shortcut audit": audited.verdict,
        },
    )
    log_metadata(
        {"mlflow_model": registered.name, "mlflow_version": registered.version, "mlflow_run": registered.run_id}
    )
    return registered
