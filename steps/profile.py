"""Profiles the winner's held-out images: what the version will be watched against once it is in use."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Annotated

from zenml import step

from data_contracts.catalog import Catalog
from data_contracts.drift.profile import ReferenceProfile
from data_contracts.image_store import ImageStore
from data_contracts.workspace import Workspace
from models.evaluation.predictions import Predictions
from models.evaluation.selection import Selection
from models.registry.bundle import ModelBundle
from steps.caching import cached_on
from steps.materializers import FolderMaterializer


@step(
    output_materializers=FolderMaterializer,
    cache_policy=cached_on(
        "models.monitoring.reference", "data_contracts.drift.profile", "data_contracts.input_checks"
    ),
)
def profile(
    selection: Selection,
    bundles: list[ModelBundle],
    image_store: ImageStore,
    catalog: Catalog,
    predictions: list[Predictions],
) -> Annotated[ReferenceProfile, "reference"]:
    """The reference of the architecture that won. The lists are in the recipe's order of architectures."""
    from models.monitoring.reference import profile_version

    place = [bundle.spec.architecture for bundle in bundles].index(selection.winner)
    scratch = Workspace.current().cache / "bundles" / str(os.getpid())
    scratch.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="reference-", dir=scratch)) / "reference"
    return profile_version(bundles[place], image_store, catalog, predictions[place], folder)
