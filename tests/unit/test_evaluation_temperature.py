"""The frozen temperature: one place applies it, old bundles have none, and an evaluation says what it changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from data_contracts.catalog import Catalog
from data_contracts.image_store import ImageStore
from data_contracts.ontology import task_named
from models import architectures
from models.evaluation.candidate import evaluate_candidate
from models.evaluation.predictions import predict_probabilities
from models.evaluation.settings import EvaluationSettings
from models.evaluation.validation_choices import choose_on_validation
from models.output import Output
from models.preprocessing import Preprocessing
from models.registry.bundle import BundleSpec, ModelBundle
from models.training.history import EpochRecord, TrainingHistory

SIZE, N = 32, 90
IMAGES = np.random.default_rng(0).integers(256, size=(N, SIZE, SIZE), dtype=np.uint8)
HALF = Preprocessing(size=SIZE, mode="half")
TASK = task_named("covid-pneumonia-normal")
QUICK = EvaluationSettings(bootstrap_resamples=100)


def _net(outputs: int = 3) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = architectures.build("simple_cnn", num_classes=outputs, in_chans=1, img_size=SIZE, options={})
    head = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    nn.init.normal_(head.weight, generator=torch.Generator().manual_seed(1))
    return model.eval()


def _spec(**changes: object) -> BundleSpec:
    settings = {
        "task": TASK.name,
        "class_names": TASK.class_names,
        "architecture": "simple_cnn",
        "image_size": SIZE,
        "preprocessing": HALF,
        "operating_points": {},
        "seed": 0,
        "recipe_name": "r",
        "recipe": {},
        "data_hash": "d",
        "versions": {},
    }
    return BundleSpec.model_validate(settings | changes)


@pytest.mark.parametrize("output", ["softmax", "sigmoid", "binary"])
def test_probabilities_are_those_of_divided_logits(output: Output) -> None:
    model = _net(1 if output == "binary" else 3)
    rows = np.array([5, 1, 8])
    with torch.inference_mode():
        logits = model(HALF.apply(IMAGES[rows], device=torch.device("cpu"))).double() / 2.5
    if output == "softmax":
        expected = torch.softmax(logits, dim=1)
    else:
        expected = torch.sigmoid(logits)
        if output == "binary":
            expected = torch.cat([1 - expected, expected], dim=1)
    found = predict_probabilities(model, IMAGES, rows, HALF, output=output, temperature=2.5)
    assert found == pytest.approx(expected.numpy(), abs=1e-6)


def test_a_bundle_from_before_temperatures_has_none() -> None:
    old = _spec().model_dump(mode="json", exclude={"temperature", "temperature_note", "rule_in"})
    read = BundleSpec.model_validate(old)
    assert (read.temperature, read.temperature_note, read.rule_in) == (1, "", {})


@pytest.mark.parametrize("temperature", [0, -1, float("nan"), float("inf")])
def test_a_bundle_with_a_temperature_that_divides_nothing_is_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature"):
        _spec(temperature=temperature)


def test_a_frozen_bundle_meets_on_validation_exactly_what_was_chosen_there(tmp_path: Path) -> None:
    model, names = _net(), TASK.class_names
    scores = np.log(predict_probabilities(model, IMAGES, np.arange(N), HALF))
    # Half of the labels are what the network leans to, so that it knows something and is far too sure of it.
    leans_to = (scores - scores.mean(axis=0)).argmax(axis=1)
    labels = np.where(np.arange(N) % 2, leans_to, np.arange(N) % 3)
    catalog = Catalog.of(
        pd.DataFrame(
            {
                "source": "here",
                "file": [f"{i:03d}.png" for i in range(N)],
                "image_id": [f"{i:064d}" for i in range(N)],
                "group_id": [f"g{i}" for i in range(N)],
                "row": np.arange(N),
                "label": np.array(names)[labels],
                "split": np.repeat(["val", "test"], N // 2),
                "sex": np.where(np.arange(N) % 2, "F", "M"),
            }
        )
    )
    val = np.arange(N // 2)
    truth = np.eye(3, dtype=np.int8)[labels[val]]
    chosen = choose_on_validation(truth, predict_probabilities(model, IMAGES, val, HALF), names, "softmax", QUICK)
    assert chosen.temperature != 1
    spec = _spec(temperature=chosen.temperature, operating_points=chosen.operating_points, rule_in=chosen.rule_in)
    record = EpochRecord(
        epoch=1, learning_rate=0.1, train_loss=1, val_loss=1, val_macro_auc=None, val_accuracy=0.5
    )
    history = TrainingHistory(epochs=[record], best_epoch=1)
    bundle = ModelBundle.write(tmp_path / "b", model, spec, history)
    store = ImageStore(tmp_path, IMAGES, catalog, SIZE, "hash")
    _, evaluations = evaluate_candidate(bundle, store, catalog, QUICK)
    validation = evaluations.validation
    for one in validation.classes:
        assert one.sensitivity == chosen.operating_points[one.name].sensitivity
        assert one.specificity == chosen.operating_points[one.name].specificity
        assert one.rule_in == chosen.rule_in[one.name]
        assert one.abstain is not None
    assert validation.temperature == chosen.temperature
    assert validation.calibration.log_loss.value < validation.before_temperature.log_loss.value
    assert any("a temperature fitted on validation" in note for note in validation.notes)
    assert validation.subgroups == []
    assert {table.by for table in evaluations.test.subgroups} >= {"age", "sex", "view", "source"}
    assert evaluations.test.test_set != validation.test_set
