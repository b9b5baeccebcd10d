"""Registers the winner of a run as the challenger, with its numbers and a description a reviewer can read."""

from __future__ import annotations

from data_contracts.workspace import Workspace
from models.evaluation.results import Evaluation
from models.evaluation.selection import Selection
from models.registry.bundle import ModelBundle
from models.registry.follow import tracking_store
from models.registry.tracking import TrackingStore
from models.registry.version_card import version_description
from models.registry.versions import RegisteredVersion, find_run_for_bundle, register_challenger


def register_winner(
    workspace: Workspace, bundle: ModelBundle, evaluation: Evaluation, selection: Selection, model_name: str
) -> RegisteredVersion:
    """Register the bundle with the alias `challenger`; the same bundle is never registered twice.

    evaluation: of the test split. Raises ExternalServiceError or EnvironmentProblem where the registry fails.
    """
    store = tracking_store(workspace)
    run_id = find_run_for_bundle(store, bundle.content_hash)
    registered = register_challenger(
        store,
        bundle,
        model_name=model_name,
        run_id=run_id,
        tags={
            "lungline.task": bundle.spec.task,
            "lungline.primary_metric": selection.primary_metric,
            "lungline.seed": str(bundle.spec.seed),
        },
        description_markdown=version_description(evaluation, bundle.spec, [f"Chosen for the {selection.why}."]),
    )
    log_evaluation(store, registered.run_id, evaluation)
    return registered


def log_evaluation(store: TrackingStore, run_id: str, evaluation: Evaluation) -> None:
    """The test numbers of an architecture on its run; undefined ones are left out."""
    metrics: dict[str, float | None] = {
        f"{evaluation.split}_macro_auc": evaluation.macro_auc.value,
        f"{evaluation.split}_accuracy": evaluation.accuracy.value,
        f"{evaluation.split}_balanced_accuracy": evaluation.balanced_accuracy.value,
    }
    for per_class in evaluation.classes:
        prefix = f"{evaluation.split}_{per_class.name}"
        metrics[f"{prefix}_sensitivity"] = per_class.sensitivity.value
        metrics[f"{prefix}_specificity"] = per_class.specificity.value
        metrics[f"{prefix}_roc_auc"] = per_class.roc_auc.value
    store.attach(run_id).log_metrics(metrics)
