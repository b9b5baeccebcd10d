"""The Grad-CAM sheet of a sealed bundle over its test predictions."""

from __future__ import annotations

from data_contracts.image_store import ImageStore
from models.architectures import describe
from models.evaluation.predictions import Predictions
from models.explanation.results import CamSheet
from models.explanation.settings import ExplanationSettings
from models.explanation.sheet import build_cam_sheet
from models.registry.bundle import ModelBundle
from models.training.settings import ArchitectureSettings


def explain_candidate(
    bundle: ModelBundle, store: ImageStore, predictions: Predictions, settings: ExplanationSettings
) -> CamSheet:
    """Explain test images only: those are the ones the numbers in the report speak of."""
    architecture = ArchitectureSettings.model_validate(bundle.spec.recipe["architecture"])
    test = predictions.frame[predictions.frame["split"] == "test"]
    rows = store.catalog.kept[["image_id", "row"]]
    return build_cam_sheet(
        bundle.load_model(),
        architecture=bundle.spec.architecture,
        cam_layer=describe(architecture.name, architecture.cam_layer).cam_layer,
        images=store.images,
        frame=test.merge(rows, on="image_id", how="left", validate="one_to_one"),
        class_names=bundle.spec.class_names,
        preprocessing=bundle.spec.preprocessing,
        settings=settings,
    )
