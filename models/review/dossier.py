"""Puts a review into its dossier: pages, tables and evidence, sealed under the hash of their content."""

from __future__ import annotations

import yaml
from pydantic import BaseModel

from data_contracts.ontology import task_named
from data_contracts.workspace import Workspace
from models.registry.dossiers import DossierReference, DossierVerdict, write_dossier
from models.registry.evidence import Evidence, recipe_yaml
from models.registry.sealed_folder import MANIFEST, canonical_json
from models.reports.dossier import Dossier, checklists_page, details_page, files_of, grad_cam_page, index_page
from models.review.change_plan import ChangePlan
from models.review.checklists import AnsweredChecklist, answer
from models.review.results import Review
from models.review.versions import Pair

INDEX, VERDICT = "index.html", "verdict.json"
_PICTURES = {"items", "at_operating_point"}  # the gallery shows them


def seal_review(workspace: Workspace, pair: Pair, review: Review, plan: ChangePlan) -> DossierReference:
    """Write the dossier. The same review of the same versions gives the same bytes, and writing it again nothing new.

    created_by_run of its verdict is the run that trained the challenger: the run of the review would make the same
    review another dossier each time. Raises EnvironmentProblem where the disk refuses.
    """
    new = pair.challenger
    verdict = DossierVerdict(
        model_name=review.model_name,
        challenger=review.challenger,
        champion=review.champion,
        test_set_hash=review.test_set_hash,
        verdict=review.verdict,
        reasons=review.reasons,
        created_by_run=new.trained_by,
        challenger_bundle=new.bundle.content_hash,
    )
    return write_dossier(workspace, verdict, dossier_files(pair, review, plan))


def dossier_files(pair: Pair, review: Review, plan: ChangePlan) -> dict[str, bytes]:
    """Every file of the dossier but its verdict and its manifest, by name."""
    evidence = pair.challenger.evidence
    lists = answer(_known_facts(evidence, review))
    files = {
        "review.json": _json(review),
        "change_plan.yaml": yaml.safe_dump(
            plan.model_dump(mode="json"), sort_keys=False, allow_unicode=True
        ).encode(),
        "checklists.json": canonical_json([one.model_dump(mode="json") for one in lists]),
        **_evidence_files(evidence),
    }
    if pair.champion is not None and pair.champion.evidence.evaluations is not None:
        files["champion-evaluations.json"] = _json(pair.champion.evidence.evaluations)
    return {**files, **_pages(evidence, review, lists, list(files))}


def _pages(
    evidence: Evidence, review: Review, lists: list[AnsweredChecklist], names: list[str]
) -> dict[str, bytes]:
    pages = {"details.html": details_page, "checklists.html": checklists_page}
    if evidence.explanation is not None:
        pages["grad-cam.html"] = grad_cam_page
    dossier = Dossier(
        review=review,
        class_titles={one.name: one.title for one in task_named(review.task).classes},
        test=evidence.evaluations.test if evidence.evaluations else None,
        audit=evidence.audit,
        explanation=evidence.explanation,
        checklists=lists,
        files=files_of([*names, *pages, VERDICT, MANIFEST]),
    )
    return {name: page(dossier).encode() for name, page in {INDEX: index_page, **pages}.items()}


def _evidence_files(evidence: Evidence) -> dict[str, bytes]:
    files = {}
    for name, result in (
        ("evaluations.json", evidence.evaluations),
        ("audit.json", evidence.audit),
        ("lineage.json", evidence.lineage),
    ):
        if result is not None:
            files[name] = _json(result)
    if evidence.explanation is not None:
        checks = evidence.explanation.model_dump(mode="json", exclude=_PICTURES)
        files["explanation.json"] = canonical_json(checks)
    if evidence.environment is not None:
        files["environment.json"] = canonical_json(evidence.environment)
    if evidence.recipe is not None:
        files["recipe.yaml"] = recipe_yaml(evidence.recipe).encode()
    return files


def _known_facts(evidence: Evidence, review: Review) -> dict[str, str]:
    """Fact -> the file that holds it, for the checklists; absent facts are left out."""
    evaluations = evidence.evaluations
    known = {
        "review": "review.json",
        "change_plan": "change_plan.yaml",
        "lineage": "lineage.json" if evidence.lineage else "",
        "recipe": "recipe.yaml" if evidence.recipe else "",
        "environment": "environment.json" if evidence.environment else "",
        "evaluation": "evaluations.json" if evaluations else "",
        "subgroups": "details.html" if evaluations and evaluations.test.subgroups else "",
        "external": "evaluations.json" if evaluations and evaluations.external else "",
        "audit": "details.html" if evidence.audit else "",
        "explanation": "grad-cam.html" if evidence.explanation else "",
        "comparison": "index.html" if review.comparison else "",
        "changes": "details.html" if review.changes else "",
    }
    return {fact: file for fact, file in known.items() if file}


def _json(result: BaseModel) -> bytes:
    return canonical_json(result.model_dump(mode="json"))
