"""Whole trainings of small networks, from the first weight to the best epoch, and what stops them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from timm.models import register_model
from torch import nn
from torch.nn.functional import cross_entropy

from data_contracts.errors import DataGateError, ModelGateError, UsageProblem
from models.evaluation.predictions import predict_probabilities
from models.preprocessing import Preprocessing
from models.training.augmentation_settings import AugmentationSettings
from models.training.batches import LabelledRows, epoch_batches
from models.training.class_balance import ClassBalance
from models.training.device import Compute, bf16_supported
from models.training.feeding import Feed
from models.training.history import EpochRecord
from models.training.loop import TrainedClassifier, train_classifier
from models.training.schedule import cosine_learning_rate
from models.training.settings import ArchitectureSettings, TrainingSettings
from models.training.validation import macro_auc, validate

SIZE = 32
CLASSES = ["low", "middle", "high"]
QUICK = TrainingSettings(epochs=4, batch_size=8, learning_rate=1e-3, precision="fp32")
NATIVE_BF16 = bf16_supported(torch.device("cpu"))


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Networks this small lose more to waiting for a second thread than they gain."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class LogarithmOfBrightness(nn.Module):
    """A network whose output is infinite for a black image and for no other."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(1, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(images.mean(dim=(1, 2, 3)).log()[:, None])


@register_model
def logarithm_of_brightness(num_classes: int, **_: object) -> LogarithmOfBrightness:
    return LogarithmOfBrightness(num_classes)


of_labels = LabelledRows.of_labels


def labelled(rows: range) -> LabelledRows:
    """Class c of the pictures repeats every third row."""
    index = np.arange(rows.start, rows.stop, dtype=np.int64)
    return of_labels(index, index % len(CLASSES), len(CLASSES))


TRAIN, VAL = labelled(range(48)), labelled(range(48, 72))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Noise with one bright bar, whose height in the picture is the class."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 90, (72, SIZE, SIZE)).astype(np.uint8)
    for row in range(72):
        top = 4 + 9 * (row % len(CLASSES))
        pictures[row, top : top + 5, 6:26] += 80
    return pictures


def fit(images: np.ndarray, name: str = "simple_cnn", **changes: object) -> TrainedClassifier:
    arguments: dict[str, object] = {
        "architecture": ArchitectureSettings(name=name),
        "classes": CLASSES,
        "images": images,
        "train": TRAIN,
        "val": VAL,
        "settings": QUICK,
        "augmentation": AugmentationSettings(),
        "preprocessing": Preprocessing(size=SIZE, mode="half"),
    }
    return train_classifier(**{**arguments, **changes})


def with_settings(**changes: object) -> TrainingSettings:
    return TrainingSettings.model_validate({**QUICK.model_dump(), **changes})


@pytest.fixture(scope="module")
def trained(images: np.ndarray) -> TrainedClassifier:
    return fit(images)


def test_a_learnable_task_is_learned(trained: TrainedClassifier) -> None:
    best = trained.history.epochs[trained.history.best_epoch - 1]

    assert best.val_macro_auc == pytest.approx(1, abs=0.02)
    assert best.val_accuracy > 0.9
    assert best.train_loss < math.log(len(CLASSES)) / 2


def test_the_history_holds_each_epoch_with_its_learning_rate(trained: TrainedClassifier) -> None:
    epochs = trained.history.epochs

    assert [epoch.epoch for epoch in epochs] == [1, 2, 3, 4]
    assert [epoch.learning_rate for epoch in epochs] == [
        cosine_learning_rate(done, 4, QUICK.learning_rate, QUICK.final_learning_rate) for done in range(4)
    ]
    assert trained.history.stopped_early == ""
    assert trained.history.selection.startswith("val_macro_auc")


def test_the_model_comes_back_ready_for_use(images: np.ndarray, trained: TrainedClassifier) -> None:
    probabilities = predict_probabilities(trained.model, images, VAL.rows, Preprocessing(size=SIZE, mode="half"))

    assert not trained.model.training
    assert np.array_equal(trained.val_probabilities, probabilities)
    assert trained.val_probabilities.shape == (len(VAL), len(CLASSES))
    best = trained.history.epochs[trained.history.best_epoch - 1]
    assert macro_auc(VAL.targets, probabilities) == pytest.approx(best.val_macro_auc)


def test_the_validation_loss_weighs_classes_as_training_does(
    images: np.ndarray, trained: TrainedClassifier
) -> None:
    preprocessing = Preprocessing(size=SIZE, mode="half")
    weights = np.array([0.2, 1.0, 5.0])
    with torch.inference_mode():
        logits = trained.model(preprocessing.apply(images[VAL.rows]))
        # torch's mean over weighted classes divides by the sum of the weights.
        expected = cross_entropy(logits, torch.from_numpy(VAL.labels), torch.from_numpy(weights).float())

    scores = validate(
        trained.model,
        Feed(images, torch.device("cpu")),
        VAL,
        ClassBalance("softmax", weights, np.zeros(3)),
        preprocessing=preprocessing,
        compute=Compute(torch.device("cpu"), "fp32"),
        batch_size=5,
        epoch=1,
    )

    assert scores.loss == pytest.approx(expected.item(), rel=1e-4)


def test_the_best_epochs_weights_come_back_although_later_epochs_ran(images: np.ndarray) -> None:
    # Validation labels that contradict training: the more is learned, the worse they are met.
    train, val = (of_labels(d.rows[d.labels != 1], d.labels[d.labels != 1] // 2, 2) for d in (TRAIN, VAL))
    contrary = of_labels(val.rows, 1 - val.labels, 2)

    result = fit(images, classes=["low", "high"], train=train, val=contrary)

    log_probabilities = np.log(result.val_probabilities[np.arange(len(contrary)), contrary.labels])
    assert result.history.best_epoch == 1
    assert -log_probabilities.mean() == pytest.approx(result.history.epochs[0].val_loss, rel=1e-3)
    assert result.history.epochs[3].val_loss > 2 * result.history.epochs[0].val_loss


@pytest.mark.parametrize(
    "precision",
    ["fp32", pytest.param("bf16", marks=pytest.mark.skipif(not NATIVE_BF16, reason="no bf16 instructions"))],
)
def test_equal_arguments_give_equal_bits_and_touch_no_global_generator(images: np.ndarray, precision: str) -> None:
    settings = with_settings(precision=precision, epochs=2)
    first = fit(images, settings=settings)
    torch.manual_seed(12345)
    before = torch.get_rng_state()

    second = fit(images, settings=settings)

    assert torch.equal(torch.get_rng_state(), before)
    assert first.history == second.history
    assert first.precision == precision
    second_weights = second.model.state_dict()
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, second_weights[name]), name


def test_another_seed_gives_another_network(images: np.ndarray, trained: TrainedClassifier) -> None:
    other = fit(images, settings=with_settings(seed=1, epochs=1))

    assert other.history.epochs[0] != trained.history.epochs[0]


def test_batch_normalisation_survives_a_last_batch_of_one(images: np.ndarray) -> None:
    train = labelled(range(17))  # at 32 pixels resnet18 ends in a 1 x 1 map: one image has no variance

    result = fit(images, "resnet18", train=train, settings=with_settings(batch_size=16, epochs=1))

    assert math.isfinite(result.history.epochs[0].train_loss)


def test_training_stops_when_validation_no_longer_improves(images: np.ndarray) -> None:
    settings = with_settings(
        learning_rate=1e-12, final_learning_rate=0, early_stopping_patience=2, epochs=9, weight_decay=0
    )

    history = fit(images, settings=settings).history

    assert history.best_epoch == 1
    assert len(history.epochs) == 3
    assert history.stopped_early == "validation did not improve for 2 epochs"


def test_an_undefined_auc_is_said_and_the_loss_chooses_instead(images: np.ndarray) -> None:
    val = of_labels(VAL.rows[VAL.labels != 1], VAL.labels[VAL.labels != 1], 3)

    history = fit(images, val=val, settings=with_settings(epochs=2)).history

    assert [epoch.val_macro_auc for epoch in history.epochs] == [None, None]
    assert history.selection.startswith("val_loss, because")
    assert "middle" in history.selection
    losses = [epoch.val_loss for epoch in history.epochs]
    assert history.best_epoch == 1 + int(np.argmin(losses))


def test_each_epoch_is_announced(images: np.ndarray) -> None:
    announced: list[EpochRecord] = []

    history = fit(images, settings=with_settings(epochs=2), on_epoch=announced.append).history

    assert announced == history.epochs


def test_a_loss_that_is_not_finite_names_epoch_and_rows(images: np.ndarray) -> None:
    black = images.copy()
    black[20] = 0
    culprit = next(b for b in epoch_batches(TRAIN, 8, seed=0, epoch=1) if 20 in b.rows)

    with pytest.raises(ModelGateError) as problem:
        fit(black, "logarithm_of_brightness", preprocessing=Preprocessing(size=SIZE, mode="unit"))

    assert "epoch 1" in problem.value.what
    assert problem.value.what.endswith("store rows " + ", ".join(map(str, culprit.rows)) + ".")


def test_a_validation_output_that_is_not_finite_stops_training(images: np.ndarray) -> None:
    black = images.copy()
    black[50] = 0

    with pytest.raises(ModelGateError, match=r"1 of 24 validation images \(first store row: 50\)"):
        fit(black, "logarithm_of_brightness", preprocessing=Preprocessing(size=SIZE, mode="unit"))


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"train": of_labels(TRAIN.rows, TRAIN.labels % 2, 3)}, DataGateError, "class high"),
        ({"val": labelled(range(0))}, DataGateError, "no validation image"),
        ({"classes": ["one"]}, UsageProblem, "two classes"),
        ({"train": labelled(range(60, 80))}, UsageProblem, "outside 72 images"),
        ({"val": of_labels(VAL.rows, VAL.labels + 1, 4)}, UsageProblem, "3 classes"),
    ],
)
def test_data_that_cannot_train_is_refused_before_training(
    images: np.ndarray, changes: dict[str, object], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        fit(images, **changes)
