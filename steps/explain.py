"""Shows where an architecture looked, and what such maps are worth: Grad-CAM of test images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from zenml import log_metadata, step

from data_contracts.image_store import ImageStore
from models.evaluation.predictions import Predictions
from models.explanation.results import Explanation
from models.explanation.settings import ExplanationSettings
from models.registry.bundle import ModelBundle
from steps.caching import cached_on


@step(
    cache_policy=cached_on(
        "models.explanation.candidate",
        "data_contracts.ontology",
        "data_contracts.raster",
        "data_contracts.targets",
    )
)
def explain(
    bundle: ModelBundle,
    image_store: ImageStore,
    predictions: Predictions,
    settings: dict[str, Any],
    data_dir: str,
    data_fingerprint: str,
) -> Annotated[Explanation, "cam_sheet"]:
    """Pictures of test images and the verdicts on the maps.

    data_dir: where lung masks lie beside images. data_fingerprint makes a changed one a change of the step.
    """
    from models.explanation.candidate import explain_candidate

    explanation = explain_candidate(
        bundle,
        image_store,
        predictions,
        ExplanationSettings(**settings),
        data_dir=Path(data_dir),
    )
    log_metadata({"maps_by": explanation.method, "sanity_check": explanation.sanity.verdict})
    return explanation
