"""Predictions: what is kept of a model's answers, and how they are made."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from data_contracts.errors import DataGateError, ModelGateError
from models.evaluation.predictions import Predictions, predict_probabilities, sealed_probabilities
from models.preprocessing import Preprocessing
from models.test_time import ten_crop
from tests.unit.test_bundle import make_spec


def _predictions(labels: NDArray[np.int64], probabilities: NDArray[np.float64], **columns: object) -> Predictions:
    n = len(labels)
    rows = pd.DataFrame(
        {
            "image_id": [f"i{i:05d}" for i in range(n)],
            "group_id": [f"g{i:05d}" for i in range(n)],
            "patient": ["" if i % 2 else f"nih:{i}" for i in range(n)],
            "source": "nih",
            "split": "test",
            "label": [f"c{k}" for k in labels],
        }
    ).assign(**columns)
    return Predictions.of(rows, probabilities, [f"c{k}" for k in range(probabilities.shape[1])])


def _noisy(n: int) -> Predictions:
    generator = np.random.default_rng(0)
    scores = generator.random((n, 3))
    return _predictions(generator.integers(3, size=n), scores / scores.sum(axis=1, keepdims=True))


def test_saved_predictions_come_back_equal_and_byte_for_byte(tmp_path: Path) -> None:
    predictions = _noisy(40)
    predictions.save(tmp_path / "a.parquet")
    predictions.save(tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "b.parquet"]
    loaded = Predictions.load(tmp_path / "a.parquet")
    pd.testing.assert_frame_equal(loaded.frame, predictions.frame)
    assert loaded.content_hash() == predictions.content_hash()


def test_the_content_hash_changes_with_the_last_bit_of_a_probability() -> None:
    predictions = _noisy(40)
    changed = predictions.frame.copy()
    changed.loc[7, "p_c0"] = np.nextafter(changed.loc[7, "p_c0"], 1)
    assert Predictions(changed).content_hash() != predictions.content_hash()


def test_predictions_are_sorted_by_image_and_keep_their_probabilities() -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8]])
    predictions = _predictions(np.array([0, 1]), probabilities, image_id=["b", "a"])
    assert list(predictions.frame["image_id"]) == ["a", "b"]
    assert predictions.probabilities.tolist() == [[0.2, 0.8], [0.9, 0.1]]
    assert predictions.labels.tolist() == [1, 0]


def test_a_table_of_another_kind_is_no_predictions(tmp_path: Path) -> None:
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(DataGateError, match="schema version"):
        Predictions.load(tmp_path / "other.parquet")
    with pytest.raises(DataGateError, match="columns"):
        Predictions(_noisy(3).frame.drop(columns="patient"))


@pytest.mark.parametrize("row", [(np.nan, 0.5), (0.5, 0.6), (1.5, -0.5)])
def test_numbers_that_are_no_distribution_are_refused(row: tuple[float, float]) -> None:
    with pytest.raises(ModelGateError, match="1 of 2 predictions"):
        _predictions(np.array([0, 1]), np.array([(0.5, 0.5), row]))


def _findings() -> Predictions:
    """Three images of a task in which several classes may be true at once."""
    rows = pd.DataFrame(
        {
            "image_id": ["a", "b", "c"],
            "group_id": ["g1", "g1", "g2"],
            "patient": "nih:1",
            "source": "nih",
            "split": ["test", "test", "val"],
            "label": ["mass|edema", "none", "edema"],
            "unknown_classes": ["", "edema", "mass|hernia"],
        }
    )
    probabilities = np.array([[0.9, 0.8, 0.7], [0.1, 0.2, 0.0], [1.0, 0.4, 0.3]])
    return Predictions.of(rows, probabilities, ["mass", "edema", "hernia"], multi_label=True)


def test_several_classes_may_be_true_of_an_image_or_unknown() -> None:
    assert _findings().truth.tolist() == [[1, 1, 0], [0, -1, 0], [-1, 1, -1]]
    assert _predictions(np.array([1, 0]), np.eye(2)).truth.tolist() == [[0, 1], [1, 0]]


def test_findings_have_no_single_label() -> None:
    with pytest.raises(DataGateError, match="several classes may be true"):
        _ = _findings().labels


def test_findings_come_back_as_findings(tmp_path: Path) -> None:
    findings = _findings()
    findings.save(tmp_path / "findings.parquet")
    loaded = Predictions.load(tmp_path / "findings.parquet")
    pd.testing.assert_frame_equal(loaded.frame, findings.frame)
    assert loaded.multi_label
    assert loaded.content_hash() == findings.content_hash()
    assert loaded.of_split("val").truth.tolist() == [[-1, 1, -1]]


def test_what_is_unknown_belongs_to_findings_only() -> None:
    with pytest.raises(DataGateError, match="columns"):
        Predictions(_findings().frame)
    with pytest.raises(DataGateError, match="columns"):
        Predictions(_noisy(3).frame, multi_label=True)


@pytest.mark.parametrize("value", [np.nan, 1.1, -0.1])
def test_a_finding_without_a_probability_is_refused(value: float) -> None:
    frame = _findings().frame
    frame.loc[1, "p_edema"] = value
    with pytest.raises(ModelGateError, match="1 of 3 predictions are no probabilities"):
        Predictions(frame, multi_label=True)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Nets this small only lose by waiting for threads on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.trunk(x).mean(dim=(2, 3)))


@pytest.fixture
def net() -> _Net:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return _Net()


IMAGES = np.random.default_rng(0).integers(256, size=(10, 16, 16), dtype=np.uint8)
UNIT = Preprocessing(size=16, mode="unit")


def test_predictions_follow_the_order_of_the_rows_whatever_the_batches(net: _Net) -> None:
    rows = np.array([7, 2, 9, 0, 2])
    together = predict_probabilities(net, IMAGES, rows, UNIT)
    with torch.inference_mode():
        logits = net.eval()(torch.from_numpy(IMAGES[rows])[:, None].float() / 255)
    assert together.dtype == np.float64
    assert together == pytest.approx(torch.softmax(logits.double(), dim=1).numpy(), abs=1e-6)
    assert predict_probabilities(net, IMAGES, rows, UNIT, batch_size=2) == pytest.approx(together, abs=1e-6)


def test_ten_crops_are_answered_by_the_mean_of_their_logits(net: _Net) -> None:
    rows = np.array([3, 1])
    found = predict_probabilities(net, IMAGES, rows, UNIT, test_time_crop=0.75)
    with torch.inference_mode():
        logits = ten_crop(net.eval(), torch.from_numpy(IMAGES[rows])[:, None].float() / 255, 12)
    assert found == pytest.approx(torch.softmax(logits.double(), dim=1).numpy(), abs=1e-6)
    assert not np.allclose(found, predict_probabilities(net, IMAGES, rows, UNIT), atol=1e-6)


def test_a_sealed_network_is_asked_as_its_bundle_says(net: _Net) -> None:
    sealed = {"preprocessing": UNIT, "output": "softmax", "temperature": 2.5, "test_time_crop": 0.75}
    spec = make_spec(image_size=16, **sealed)
    rows = np.arange(len(IMAGES))
    expected = predict_probabilities(net, IMAGES, rows, **sealed)
    np.testing.assert_array_equal(sealed_probabilities(net, spec, IMAGES, rows), expected)


def test_predicting_reads_a_memory_map(net: _Net, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", IMAGES)
    images = np.load(tmp_path / "images.npy", mmap_mode="r")
    rows = np.arange(10)
    assert np.array_equal(
        predict_probabilities(net, images, rows, UNIT), predict_probabilities(net, IMAGES, rows, UNIT)
    )


def test_predicting_hands_every_module_back_in_its_mode(net: _Net) -> None:
    net.train()
    net.trunk[1].eval()
    before = net.trunk[1].running_mean.clone()
    predict_probabilities(net, IMAGES, np.arange(4), UNIT)
    assert net.training
    assert net.trunk[3].training
    assert not net.trunk[1].training
    assert torch.equal(net.trunk[1].running_mean, before)


def test_a_diverged_model_is_refused(net: _Net) -> None:
    nn.init.constant_(net.head.bias, float("nan"))
    with pytest.raises(ModelGateError, match="not finite"):
        predict_probabilities(net, IMAGES, np.arange(4), UNIT)


@pytest.mark.parametrize("bias", [float("inf"), float("-inf")])
def test_an_infinite_logit_is_no_certainty(net: _Net, bias: float) -> None:
    nn.init.constant_(net.head.bias, bias)
    with pytest.raises(ModelGateError, match="not finite"):
        predict_probabilities(net, IMAGES, np.arange(4), UNIT, output="sigmoid")


def test_every_kind_of_output_becomes_probabilities(net: _Net) -> None:
    rows = np.array([3, 1])
    with torch.inference_mode():
        logits = net.eval()(torch.from_numpy(IMAGES[rows])[:, None].float() / 255).double().numpy()
    each = predict_probabilities(net, IMAGES, rows, UNIT, output="sigmoid")
    assert each == pytest.approx(1 / (1 + np.exp(-logits)), abs=1e-6)
    net.head = nn.Linear(4, 1)
    with torch.inference_mode():
        logit = net.eval()(torch.from_numpy(IMAGES[rows])[:, None].float() / 255).double().numpy()
    two = predict_probabilities(net, IMAGES, rows, UNIT, output="binary")
    assert two.shape == (2, 2)
    assert two[:, 1:] == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-6)
    assert two.sum(axis=1) == pytest.approx(1, abs=1e-12)


def test_reading_predictions_and_explanations_does_not_import_torch() -> None:
    code = (
        "import sys, models.evaluation.predictions, models.explanation.sheet; "
        "print([name for name in ('torch', 'captum', 'matplotlib', 'zenml') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
