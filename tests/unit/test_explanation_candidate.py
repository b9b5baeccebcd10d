"""A whole explanation of a sealed bundle on a phantom collection, whose lung masks and lesion boxes are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from data_contracts.image_store import ImageStore, ImageStoreSettings, build_image_store
from data_contracts.labels import assign_labels
from data_contracts.ontology import task_named
from data_contracts.sources import merge
from data_contracts.sources.phantom import PhantomSettings, write_phantom_datasets
from models import architectures
from models.evaluation.predictions import Predictions, predict_probabilities
from models.evaluation.results import Estimate, OperatingPoint
from models.explanation.candidate import explain_candidate
from models.explanation.results import CamSheet, Explanation
from models.explanation.settings import ExplanationSettings, FaithfulnessSettings
from models.preprocessing import Preprocessing
from models.registry.bundle import BundleSpec, ModelBundle
from models.training.history import EpochRecord, TrainingHistory
from models.training.settings import ArchitectureSettings

SIZE = 64
TASK = task_named("covid-bacterial-pneumothorax-normal")
SETTINGS = ExplanationSettings(
    examples_per_class=2,
    faithfulness=FaithfulnessSettings(
        lung_images=6, perturbed_images=5, perturbation_steps=4, randomised_images=6, resamples=100
    ),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom") / "data"
    write_phantom_datasets(folder, PhantomSettings(images=60, size=SIZE, datasets=("radiography", "nih")))
    return folder


@pytest.fixture(scope="module")
def store(data: Path, tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    offered, _ = merge(["radiography", "nih"], data)
    return build_image_store(offered, data, ImageStoreSettings(size=SIZE), tmp_path_factory.mktemp("stores"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = architectures.build("resnet18", num_classes=4, in_chans=1, img_size=SIZE)
        torch.nn.init.uniform_(model.get_classifier().weight, 0, 0.1)  # so that no map is all zero
    estimate = Estimate(value=0.9, n=10, method="no interval: made up")
    point = OperatingPoint(
        threshold=0.25, target_sensitivity=0.9, sensitivity=estimate, specificity=estimate, assured=False
    )
    spec = BundleSpec(
        task=TASK.name,
        class_names=TASK.class_names,
        architecture="resnet18",
        image_size=SIZE,
        preprocessing=Preprocessing(size=SIZE, mode="imagenet_gray"),
        operating_points=dict.fromkeys(TASK.class_names, point),
        seed=0,
        recipe_name="test",
        recipe={"architecture": ArchitectureSettings(name="resnet18").model_dump(mode="json")},
        data_hash="",
        versions={},
    )
    record = EpochRecord(
        epoch=0, learning_rate=0.001, train_loss=1.0, val_loss=1.0, val_macro_auc=None, val_accuracy=0.5
    )
    history = TrainingHistory(epochs=[record], best_epoch=0)
    return ModelBundle.write(tmp_path_factory.mktemp("bundles") / "bundle", model, spec, history)


@pytest.fixture(scope="module")
def predictions(store: ImageStore, bundle: ModelBundle) -> Predictions:
    kept = assign_labels(store.catalog, TASK).kept
    rows = kept[kept["label"] != ""].assign(split="test", group_id=lambda frame: frame["image_id"])
    probabilities = predict_probabilities(
        bundle.load_model(), store.images, rows["row"].to_numpy(), bundle.spec.preprocessing
    )
    return Predictions.of(rows, probabilities, TASK.class_names)


@pytest.fixture(scope="module")
def explanation(bundle: ModelBundle, store: ImageStore, predictions: Predictions, data: Path) -> Explanation:
    return explain_candidate(bundle, store, predictions, SETTINGS, data_dir=data)


def test_an_explanation_says_how_its_maps_were_made_and_what_they_are_worth(explanation: Explanation) -> None:
    assert (explanation.architecture, explanation.layer) == ("resnet18", "layer4")
    assert (explanation.method, explanation.cells) == ("closed form", (2, 2))
    assert explanation.statements[0] == "Not a lesion localisation."
    assert any(line.startswith(f"Sanity check {explanation.sanity.verdict}") for line in explanation.statements)
    assert len(explanation.statements) == 6
    assert 1 <= len(explanation.items) <= 8
    assert {item.outcome for item in explanation.at_operating_point} <= {
        *("true positive", "false positive", "false negative", "true negative")
    }


def test_the_collections_masks_and_boxes_are_measured_for_the_classes_that_have_them(
    explanation: Explanation,
) -> None:
    energy = {one.class_name: one for one in explanation.faithfulness.lung_energy.classes}
    assert [*energy] == ["bacterial", "covid19", "pneumothorax"]  # where normal was seen says nothing
    assert energy["covid19"].energy.n == 6
    assert energy["covid19"].lung_area == pytest.approx(0.25, abs=0.1)
    assert energy["bacterial"].verdict == "not evaluated"  # this collection holds no such image
    pointing = {one.class_name: one for one in explanation.faithfulness.pointing_game.classes}
    assert pointing["pneumothorax"].hit_rate.n > 0
    assert 0 < (pointing["pneumothorax"].chance or 0) < 0.5


def test_an_explanation_travels_as_json_and_is_the_same_twice(
    explanation: Explanation, bundle: ModelBundle, store: ImageStore, predictions: Predictions, data: Path
) -> None:
    assert Explanation.model_validate_json(explanation.model_dump_json()) == explanation
    assert isinstance(explanation, CamSheet)
    assert explain_candidate(bundle, store, predictions, SETTINGS, data_dir=data) == explanation


def test_masks_may_come_from_elsewhere_and_without_any_lung_energy_says_so(
    bundle: ModelBundle, store: ImageStore, predictions: Predictions
) -> None:
    without = explain_candidate(bundle, store, predictions, SETTINGS).faithfulness.lung_energy
    assert (without.verdict, [one.verdict for one in without.classes]) == ("not evaluated", ["not evaluated"] * 3)
    whole = np.ones((8, 8), dtype=np.bool_)
    given = explain_candidate(bundle, store, predictions, SETTINGS, lung_mask=lambda row: whole)
    (covid,) = (one for one in given.faithfulness.lung_energy.classes if one.class_name == "covid19")
    assert (covid.energy.value, covid.lift.value, covid.verdict) == (1, 1, "failed")


def test_without_test_images_there_is_nothing_to_show_and_every_check_says_so(
    bundle: ModelBundle, store: ImageStore, predictions: Predictions, data: Path
) -> None:
    none = Predictions(predictions.frame.assign(split="val"))
    explanation = explain_candidate(bundle, store, none, SETTINGS, data_dir=data)
    assert explanation.items == explanation.at_operating_point == []
    checks = explanation.faithfulness
    verdicts = [
        explanation.sanity.verdict,
        *(one.verdict for one in (checks.lung_energy, checks.pointing_game, checks.deletion_insertion)),
    ]
    assert verdicts == ["not evaluated"] * 4
