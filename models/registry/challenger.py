"""Registers the winner of a run as the challenger, with its numbers and a description a reviewer can read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from data_contracts.drift.profile import ReferenceProfile
from data_contracts.workspace import Workspace
from models.evaluation.results import Evaluation
from models.evaluation.selection import Selection
from models.registry.bundle import ModelBundle
from models.registry.code_revision import code_revision
from models.registry.decisions.person import TRAINED_BY_TAG, Person
from models.registry.evidence import TEST_SET_TAG, Evidence, keep_evidence
from models.registry.follow import tracking_store
from models.registry.reference import keep_reference
from models.registry.tracking import PIPELINE_RUN_TAG, TrackingStore
from models.registry.version_card import version_description
from models.registry.versions import RegisteredVersion, find_run_for_bundle, register_challenger

CODE_TAG = "lungline.code"
GATES_TAG = "lungline.gates"


def register_winner(
    workspace: Workspace,
    bundle: ModelBundle,
    evaluation: Evaluation,
    selection: Selection,
    model_name: str,
    trained_by: Person | None = None,
    *,
    evidence: Evidence | None = None,
    reference: ReferenceProfile | None = None,
    pipeline_run: str = "",
    external: Evaluation | None = None,
    baselines: Sequence[Evaluation] = (),
    waivers: Mapping[str, str] | None = None,
    gates: Mapping[str, str] | None = None,
) -> RegisteredVersion:
    """Register the bundle with the alias `challenger`; the same bundle is never registered twice.

    evaluation: of the test split. trained_by: who may not approve it; None where it is not known. evidence: what a
    review of the version reads; without it a review can only hold. reference: what the version is watched against;
    without it no window of it can be judged. pipeline_run: name of the run that registers. external, baselines,
    waivers: for the description, see `version_description`. gates: what each gate the data and the model went through
    said, by its name.
    Raises ExternalServiceError or EnvironmentProblem where the registry fails.
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
            **({TRAINED_BY_TAG: trained_by.model_dump_json()} if trained_by else {}),
            **({PIPELINE_RUN_TAG: pipeline_run} if pipeline_run else {}),
            **({TEST_SET_TAG: evaluation.test_set} if evaluation.test_set else {}),
            CODE_TAG: code_revision(),
            GATES_TAG: "; ".join(f"{name}: {said}" for name, said in (gates or {}).items()) or "not recorded",
        },
        description_markdown=version_description(
            evaluation,
            bundle.spec,
            [f"Chosen for the {selection.why}."],
            external=external,
            baselines=baselines,
            waivers=waivers,
        ),
    )
    log_evaluation(store, registered.run_id, evaluation)
    if evidence is not None:
        keep_evidence(store, registered, evidence)
    if reference is not None:
        keep_reference(store, registered, reference)
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
