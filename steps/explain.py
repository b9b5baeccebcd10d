"""Shows where an architecture looked: a Grad-CAM sheet of test images."""

from __future__ import annotations

from typing import Annotated, Any

from zenml import step

from data_contracts.image_store import ImageStore
from models.evaluation.predictions import Predictions
from models.explanation.results import CamSheet
from models.explanation.settings import ExplanationSettings
from models.registry.bundle import ModelBundle
from steps.caching import cached_on


@step(cache_policy=cached_on("models.explanation.candidate"))
def explain(
    bundle: ModelBundle, image_store: ImageStore, predictions: Predictions, settings: dict[str, Any]
) -> Annotated[CamSheet, "cam_sheet"]:
    """Grad-CAM of the most certain right and wrong test images of each class."""
    from models.explanation.candidate import explain_candidate

    return explain_candidate(bundle, image_store, predictions, ExplanationSettings(**settings))
