"""Writes on a registered version what its latest review came to, and finds the models that have a challenger."""

from __future__ import annotations

from models.registry.outage import store_errors
from models.registry.tracking import TrackingStore
from models.registry.versions import CHALLENGER

VERDICT_TAG = "lungline.review.verdict"
DOSSIER_TAG = "lungline.review.dossier"
RUN_TAG = "lungline.review.run"


def note_review(
    store: TrackingStore, model_name: str, version: str, *, verdict: str, dossier: str, pipeline_run: str
) -> None:
    """Tag the version with verdict, dossier hash and the pipeline run that reviewed it, so that one finds the other.

    Raises ExternalServiceError or EnvironmentProblem where the store fails.
    """
    with store_errors(store.tracking_uri):
        for tag, value in ((VERDICT_TAG, verdict), (DOSSIER_TAG, dossier), (RUN_TAG, pipeline_run)):
            store.client.set_model_version_tag(model_name, version, tag, value)


def models_with_challenger(store: TrackingStore) -> list[str]:
    """The names of the models that have a challenger, sorted.

    Raises ExternalServiceError or EnvironmentProblem where the store fails.
    """
    with store_errors(store.tracking_uri):
        models = store.client.search_registered_models()
    return sorted(model.name for model in models if CHALLENGER in model.aliases)
