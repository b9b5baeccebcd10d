"""The reference a version is watched against: what its held-out images looked like, to the eye and to the network.

Held-out, because a network is surer of images it was trained on: against those, every window would look strange.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_contracts.catalog import Catalog
from data_contracts.drift.profile import ReferenceProfile
from data_contracts.errors import DataGateError, UsageProblem
from data_contracts.expectations.window import DESCRIPTORS
from data_contracts.image_store import ImageStore
from data_contracts.input_checks import chest_likeness
from models.audit.embeddings import embed
from models.evaluation.predictions import PROBABILITY, Predictions
from models.registry.bundle import ModelBundle

HELD_OUT = ("val", "test")
# As in the Catalog; nothing in them says who a patient is or where a file lay.
_COLUMNS = (
    *("image_id", "group_id", "source", "view", "age", "sex", "width", "height", "mode", "format", "conversion"),
    *(*DESCRIPTORS, "flags", "label", "unknown_classes"),
)


def profile_version(
    bundle: ModelBundle, store: ImageStore, catalog: Catalog, predictions: Predictions, folder: Path
) -> ReferenceProfile:
    """Profile the validation and test images as the bundle saw them, in a new folder.

    catalog: split, over the store. predictions: of the bundle. Equal inputs give an equal profile. Raises
    DataGateError where there are no held-out images or one of them was not predicted.
    """
    frame, rows = _held_out(catalog, predictions)
    frame["chest_likeness"] = [chest_likeness(np.asarray(store.images[row])) for row in rows]
    try:
        embeddings = embed(bundle, store.images, rows)
    except UsageProblem:  # a network without one head has no one place to read features from
        embeddings = np.empty((len(rows), 0), np.float32)
    return ReferenceProfile.write(
        folder, frame, embeddings, bundle.spec.class_names, multi_label=bundle.spec.output == "sigmoid"
    )


def _held_out(catalog: Catalog, predictions: Predictions) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """One row per held-out image with its probabilities, by image id, and its row in the store."""
    kept = catalog.kept
    held_out = kept[kept["split"].isin(HELD_OUT)]
    probabilities = [PROBABILITY + name for name in predictions.class_names]
    predicted = predictions.frame[["image_id", *probabilities]]
    frame = held_out[[*_COLUMNS, "row"]].merge(predicted, on="image_id", validate="one_to_one")
    if frame.empty or len(frame) != len(held_out):
        raise DataGateError(
            f"{len(frame)} of {len(held_out)} held-out images were predicted.",
            why="A model is watched against images it was not trained on, and what it said of each.",
            cure="Give the predictions that were made on this split.",
        )
    frame = frame.sort_values("image_id", kind="stable").reset_index(drop=True)
    return frame.drop(columns="row"), frame["row"].to_numpy(np.int64)
