"""Conducts a review from the registry to the sealed dossier."""

from __future__ import annotations

from dataclasses import dataclass

from data_contracts.workspace import Workspace
from models.registry.dossiers import DossierReference
from models.registry.follow import tracking_store
from models.registry.review_note import note_review
from models.review.change_plan import ChangePlan
from models.review.dossier import INDEX, seal_review
from models.review.results import Review
from models.review.review import review
from models.review.versions import find_pair


@dataclass(frozen=True, slots=True)
class Conducted:
    """A finished review with its dossier and the dossier's page."""

    review: Review
    dossier: DossierReference
    page: str


def conduct_review(
    workspace: Workspace, model_name: str, challenger: str | None, plan: ChangePlan, pipeline_run: str
) -> Conducted:
    """Review a challenger, seal the dossier, and write both on the version in the registry.

    challenger: a version number, None for the alias. Raises what `find_pair`, `review` and `seal_review` raise.
    """
    store = tracking_store(workspace)
    pair = find_pair(workspace, store, model_name, challenger)
    found = review(pair, plan, workspace.stores)
    dossier = seal_review(workspace, pair, found, plan)
    note_review(
        store,
        model_name,
        found.challenger,
        verdict=found.verdict,
        dossier=dossier.hash,
        pipeline_run=pipeline_run,
    )
    return Conducted(found, dossier, (dossier.folder / INDEX).read_text(encoding="utf-8"))
