"""The parts of training: published vectors of weights and schedule, batches, best epoch, settings, one step."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.nn.functional import cross_entropy

from data_contracts.errors import DataGateError, EnvironmentProblem, UsageProblem
from models.training.augmentation_settings import AugmentationSettings
from models.training.batches import LabelledRows, epoch_batches
from models.training.best_epoch import BestEpoch
from models.training.class_balance import class_weights
from models.training.device import Compute, bf16_supported, choose_compute
from models.training.history import EpochRecord
from models.training.loop import training_step
from models.training.schedule import cosine_learning_rate
from models.training.settings import ArchitectureSettings, TrainingSettings
from models.training.validation import macro_auc


def labelled(images: int) -> LabelledRows:
    """Three classes in turn."""
    rows = np.arange(images, dtype=np.int64)
    return LabelledRows(rows, rows % 3)


def test_balanced_weights_are_those_published_for_the_radiography_split() -> None:
    labels = np.repeat(np.arange(4), [2531, 4208, 7134, 941])

    weights = class_weights(labels, ["covid", "opacity", "normal", "viral"], "balanced")

    expected = [1.4632556301856974, 0.8801093155893536, 0.5191337258200168, 3.9357066950053134]
    np.testing.assert_allclose(weights, expected, rtol=1e-15)
    assert weights[labels].mean() == pytest.approx(1)


def test_unbalanced_weights_are_all_one() -> None:
    assert class_weights(np.array([0, 0, 1]), ["a", "b"], "none").tolist() == [1, 1]


def test_a_class_without_training_images_stops_at_the_data_gate() -> None:
    with pytest.raises(DataGateError, match="No training image of class b"):
        class_weights(np.array([0, 0, 2]), ["a", "b", "c"], "none")


@pytest.mark.parametrize(("epochs_done", "expected"), [(0, 1e-4), (15, 5.5e-5), (30, 1e-5)])
def test_the_learning_rate_follows_the_published_cosine(epochs_done: int, expected: float) -> None:
    assert cosine_learning_rate(epochs_done, 30, 1e-4, 1e-5) == pytest.approx(expected, rel=1e-12)


def test_each_epoch_reads_every_image_once_in_another_order() -> None:
    data = labelled(48)
    first, second = (epoch_batches(data, 8, seed=0, epoch=epoch) for epoch in (1, 2))

    for batches in (first, second):
        rows = np.concatenate([batch.rows for batch in batches])
        assert sorted(rows) == data.rows.tolist()
        assert all((np.diff(batch.rows) > 0).all() for batch in batches)
        assert all((batch.labels == batch.rows % 3).all() for batch in batches)
    assert not np.array_equal(first[0].rows, second[0].rows)


@pytest.mark.parametrize(("images", "sizes"), [(16, [8, 8]), (17, [8, 9]), (18, [8, 8, 2]), (9, [9]), (1, [1])])
def test_no_batch_of_one_image_is_left_over(images: int, sizes: list[int]) -> None:
    batches = epoch_batches(labelled(images), 8, seed=0, epoch=1)

    assert [len(batch) for batch in batches] == sizes


def test_rows_and_labels_must_have_one_length() -> None:
    with pytest.raises(UsageProblem, match="exactly one label"):
        LabelledRows(np.arange(3), np.arange(2))


def test_macro_auc_is_the_mean_over_the_classes() -> None:
    labels = np.array([0, 0, 1, 1])
    scores = np.array([0.9, 0.4, 0.6, 0.1])

    assert macro_auc(labels, np.stack([scores, 1 - scores], axis=1)) == pytest.approx(0.75)


def test_macro_auc_is_undefined_where_a_class_has_no_image() -> None:
    assert macro_auc(np.array([0, 1]), np.full((2, 3), 1 / 3)) is None


def record(epoch: int, auc: float | None, loss: float) -> EpochRecord:
    return EpochRecord(
        epoch=epoch, learning_rate=1, train_loss=1, val_loss=loss, val_macro_auc=auc, val_accuracy=0
    )


@pytest.mark.parametrize(
    ("aucs_and_losses", "best", "since"),
    [
        ([(0.8, 1.0), (0.9, 2.0), (0.7, 0.1)], 2, 1),  # the AUC decides, not the loss
        ([(1.0, 1.0), (1.0, 0.5), (1.0, 0.5)], 2, 1),  # equal AUC: the loss decides
        ([(None, 1.0), (None, 0.5), (None, 0.9)], 2, 1),  # undefined AUC: the loss decides
        ([(0.8, 1.0), (0.80005, 1.0), (0.80006, 1.0)], 1, 2),  # gains below 1e-4 are none
    ],
)
def test_the_best_epoch_is_kept(aucs_and_losses: list[tuple[float | None, float]], best: int, since: int) -> None:
    model, keeper = nn.Linear(1, 1), BestEpoch()
    for epoch, (auc, loss) in enumerate(aucs_and_losses, start=1):
        nn.init.constant_(model.weight, epoch)
        keeper.offer(record(epoch, auc, loss), model)

    keeper.restore(model)

    assert (keeper.epoch, keeper.epochs_since) == (best, since)
    assert model.weight.item() == best


def test_architectures_override_the_training_section() -> None:
    architecture = ArchitectureSettings(name="resnet18", epochs=7, batch_size=16)

    settings = TrainingSettings(epochs=3, seed=5).for_architecture(architecture)

    assert settings == TrainingSettings(epochs=7, batch_size=16, seed=5)


@pytest.mark.parametrize(
    ("section", "content"),
    [
        (TrainingSettings, {"epoch": 3}),
        (TrainingSettings, {"batch_size": 1}),
        (TrainingSettings, {"learning_rate": 1e-6}),  # below the final learning rate
        (ArchitectureSettings, {"name": "resnet18", "init": "imagenet"}),
        (AugmentationSettings, {"rotation_degrees": 90}),
    ],
)
def test_impossible_settings_are_refused(section: type, content: Mapping[str, object]) -> None:
    with pytest.raises(ValidationError):
        section(**content)


def test_bf16_is_chosen_only_where_the_processor_has_it() -> None:
    assert choose_compute("fp32").precision == "fp32"
    device = choose_compute("auto").device
    if bf16_supported(device):
        assert choose_compute("auto").precision == choose_compute("bf16").precision == "bf16"
    else:
        assert choose_compute("auto").precision == "fp32"
        with pytest.raises(EnvironmentProblem, match="no bf16 instructions"):
            choose_compute("bf16")


def test_a_step_weighs_classes_divides_by_images_and_clips_the_gradient() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    inputs, labels = torch.arange(12.0).reshape(3, 1, 2, 2), torch.tensor([0, 1, 1])
    each = cross_entropy(model(inputs), labels, reduction="none").detach()

    loss = training_step(
        model,
        torch.optim.SGD(model.parameters(), lr=1.0),
        inputs,
        labels,
        torch.tensor([3.0, 0.5]),
        gradient_clip=0.1,
        compute=Compute(torch.device("cpu"), "fp32"),
    )

    assert loss.item() == pytest.approx((3 * each[0] + 0.5 * each[1] + 0.5 * each[2]).item() / 3)
    moved = [(value - before[name]).flatten() for name, value in model.state_dict().items()]
    assert torch.cat(moved).norm().item() == pytest.approx(0.1, rel=1e-3)
    assert all(parameter.grad is None for parameter in model.parameters())
