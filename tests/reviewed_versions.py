"""Small registered versions for the tests of reviews: a collection, networks, and all their evidence."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from data_contracts.catalog import Catalog
from data_contracts.image_store import ImageStore
from data_contracts.ontology import task_named
from data_contracts.workspace import Workspace
from models import architectures
from models.audit.candidate import audit_candidate
from models.audit.settings import AuditSettings
from models.evaluation.candidate import evaluate_candidate
from models.evaluation.operating_point import choose_operating_points
from models.evaluation.predictions import Predictions, predict_probabilities
from models.evaluation.results import Estimate, Evaluations
from models.evaluation.selection import Selection
from models.evaluation.settings import EvaluationSettings
from models.explanation.results import (
    DeletionInsertion,
    Explanation,
    Faithfulness,
    LungEnergy,
    PointingGame,
    SanityCheck,
)
from models.preprocessing import Preprocessing
from models.registry.bundle import BundleSpec, ModelBundle
from models.registry.challenger import register_winner
from models.registry.evidence import Evidence
from models.registry.versions import RegisteredVersion
from models.training.history import EpochRecord, TrainingHistory

TASK = task_named("covid-bacterial-pneumothorax-normal")
SIZE = 32
NAME = "lungline-small"
SETTINGS = EvaluationSettings(bootstrap_resamples=100, minimum_positives=5)
# Limits that so few images can meet; what they cannot meet is what a test is about.
REVIEW: dict[str, Any] = {
    "minimum_positives": 5,
    "minimum_subgroup_positives": 10,
    "resamples": 100,
    "required_audit": [],
    "largest_calibration_error": 0.9,
}


@dataclass(frozen=True, slots=True)
class Collection:
    """Split data over a store, in a workspace of its own."""

    workspace: Workspace
    store: ImageStore
    catalog: Catalog


def build_collection(folder: Path, images: int = 160, *, split_seed: int = 0) -> Collection:
    """Noise with a bright patch whose place depends on the class, from two sources; groups of one or two images."""
    workspace = Workspace(folder / "home")
    workspace.create()
    random = np.random.default_rng(0)
    label, group = np.arange(images) % 4, np.arange(images) // 4 * 4 + np.arange(images) % 4 % 2
    pictures = random.integers(0, 120, (images, SIZE, SIZE)).astype(np.uint8)
    for k in range(4):
        pictures[label == k, 4 + 6 * k : 10 + 6 * k, 8:24] += 60
    split_of_group = np.random.default_rng(split_seed).choice(["train", "val", "test"], images, p=[0.3, 0.3, 0.4])
    frame = pd.DataFrame(
        {
            "source": np.where(np.arange(images) % 3 == 0, "hospital-a", "hospital-b"),
            "release": "1",
            "licence": "none",
            "file": [f"patient-name-{i:04d}.png" for i in range(images)],
            "patient": [f"hospital:patient-name-{g}" if g % 4 else "" for g in group],
            "view": np.where(np.arange(images) % 2 == 0, "PA", "AP"),
            "age": (np.arange(images) % 90).astype(float),
            "sex": np.where(np.arange(images) % 5 < 2, "F", "M"),
            "label_method": "folder",
            "image_id": [hashlib.sha256(picture.tobytes()).hexdigest() for picture in pictures],
            "row": np.arange(images),
            "width": SIZE,
            "height": SIZE,
            "mode": "L",
            "format": "PNG",
            "group_id": [f"{g:016x}" for g in group],
            "label": [TASK.class_names[k] for k in label],
            "split": split_of_group[group],
        }
    )
    catalog = Catalog.of(frame)
    content_hash = hashlib.sha256(pictures.tobytes()).hexdigest()
    place = workspace.stores / content_hash[:16]
    place.mkdir()
    np.save(place / "images.npy", pictures)
    catalog.save(place / "catalog.parquet")
    facts = {"images": images, "size": SIZE, "content_hash": content_hash}
    (place / "store.json").write_text(json.dumps(facts))
    return Collection(workspace, ImageStore.open(place), catalog)


def recipe(**changes: Any) -> dict[str, Any]:
    """A whole recipe as registered; `changes` are keys such as training__seed."""
    content: dict[str, Any] = {
        "name": "small",
        "title": "A small review",
        "task": TASK.name,
        "images": {"size": SIZE},
        "training": {"epochs": 1, "seed": 0},
        "architectures": [{"name": "simple_cnn"}],
        "evaluation": SETTINGS.model_dump(mode="json"),
        "review": REVIEW,
    }
    for key, value in changes.items():
        section, _, name = key.partition("__")
        content[section] = {**content[section], name: value} if name else value
    return content


def build_bundle(collection: Collection, folder: Path, seed: int) -> ModelBundle:
    """An untrained network, whose thresholds were chosen on validation as a trained one's are."""
    torch.manual_seed(seed)
    model = architectures.build("simple_cnn", num_classes=4, img_size=SIZE, options={}).eval()
    preprocessing = Preprocessing(size=SIZE, mode="half")
    kept = collection.catalog.kept
    rows = kept[kept["split"] == "val"]
    probabilities = predict_probabilities(model, collection.store.images, rows["row"].to_numpy(), preprocessing)
    chosen = Predictions.of(rows, probabilities, TASK.class_names)
    spec = BundleSpec(
        task=TASK.name,
        class_names=TASK.class_names,
        architecture="simple_cnn",
        image_size=SIZE,
        preprocessing=preprocessing,
        operating_points=choose_operating_points(chosen.truth, chosen.probabilities, TASK.class_names, SETTINGS),
        seed=seed,
        recipe_name="small",
        recipe={"images": {"size": SIZE}},
        data_hash=collection.catalog.content_hash(),
        versions={},
    )
    record = EpochRecord(
        epoch=0, learning_rate=0.1, train_loss=1.0, val_loss=1.0, val_macro_auc=0.5, val_accuracy=0.5
    )
    return ModelBundle.write(folder, model, spec, TrainingHistory(epochs=[record], best_epoch=0))


def evidence_of(collection: Collection, bundle: ModelBundle, **changes: Any) -> Evidence:
    """Everything a training run hands over; `changes` as for `recipe`."""
    predictions, evaluations = evaluate_candidate(bundle, collection.store, collection.catalog, SETTINGS)
    settings = AuditSettings(images=60, changed_images=50, minimum_images=10, bootstrap_resamples=100)
    return Evidence.of(
        catalog=collection.catalog,
        store=collection.store,
        predictions=predictions,
        evaluations=evaluations,
        recipe=recipe(**changes),
        audit=audit_candidate(bundle, collection.store, collection.catalog, predictions, settings),
        explanation=without_pictures(),
    )


def without_pictures() -> Explanation:
    """An explanation in which nothing was drawn and nothing checked."""
    said: dict[str, Any] = {"verdict": "not evaluated", "reason": "switched off", "statement": "Not checked."}
    nothing = Estimate(value=None, n=0, undefined="switched off")
    return Explanation(
        architecture="simple_cnn",
        layer="features",
        items=[],
        method="closed form",
        cells=(8, 8),
        at_operating_point=[],
        faithfulness=Faithfulness(
            lung_energy=LungEnergy(classes=[], **said),
            pointing_game=PointingGame(classes=[], **said),
            deletion_insertion=DeletionInsertion(
                saliencies=[], gain_over_random=nothing, gain_over_centre=nothing, **said
            ),
        ),
        sanity=SanityCheck(stages=[], baseline_spearman=None, baseline_ssim=None, **said),
        statements=["Not a lesion localisation."],
    )


def register(
    collection: Collection, bundle: ModelBundle, evidence: Evidence | None, name: str = NAME
) -> RegisteredVersion:
    """Register as training does."""
    evaluations = evidence.evaluations if evidence else None
    test = (evaluations or measure(collection, bundle)).test
    selection = Selection(winner="simple_cnn", primary_metric="macro_auc", why="only one", ranking=["simple_cnn"])
    return register_winner(
        collection.workspace, bundle, test, selection, name, evidence=evidence, pipeline_run=f"{name}-training"
    )


def measure(collection: Collection, bundle: ModelBundle) -> Evaluations:
    return evaluate_candidate(bundle, collection.store, collection.catalog, SETTINGS)[1]


def without(evidence: Evidence, *names: str) -> Evidence:
    """The same evidence with parts that were not kept."""
    return replace(evidence, **dict.fromkeys(names))
