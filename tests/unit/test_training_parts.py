"""The parts of training: published vectors of weights and schedule, batches, best epoch, settings, one step."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from data_contracts.errors import EnvironmentProblem, UsageProblem
from models.training.augmentation_settings import AugmentationSettings
from models.training.batches import LabelledRows, draw_shares, epoch_batches
from models.training.best_epoch import BestEpoch
from models.training.device import bf16_supported, choose_compute
from models.training.feeding import Feed, fits_resident, resident_copy
from models.training.history import EpochRecord
from models.training.schedule import cosine_learning_rate, learning_rate
from models.training.settings import ArchitectureSettings, TrainingSettings
from models.training.validation import macro_auc


def labelled(images: int) -> LabelledRows:
    """Three classes in turn."""
    rows = np.arange(images, dtype=np.int64)
    return LabelledRows.of_labels(rows, rows % 3, 3)


@pytest.mark.parametrize(("epochs_done", "expected"), [(0, 1e-4), (15, 5.5e-5), (30, 1e-5)])
def test_the_learning_rate_follows_the_published_cosine(epochs_done: int, expected: float) -> None:
    assert cosine_learning_rate(epochs_done, 30, 1e-4, 1e-5) == pytest.approx(expected, rel=1e-12)


def test_a_step_schedule_divides_by_ten_after_the_named_epochs() -> None:
    settings = TrainingSettings(epochs=15, schedule="step", drop_epochs=[5, 10, 15], learning_rate=1e-4)

    rates = [learning_rate(settings, epoch) for epoch in (1, 5, 6, 10, 11, 15)]

    assert rates == pytest.approx([1e-4, 1e-4, 1e-5, 1e-5, 1e-6, 1e-6], rel=1e-12)


def test_each_epoch_reads_every_image_once_in_another_order() -> None:
    data = labelled(48)
    first, second = (epoch_batches(data, 8, seed=0, epoch=epoch) for epoch in (1, 2))

    for batches in (first, second):
        rows = np.concatenate([batch.rows for batch in batches])
        assert sorted(rows) == data.rows.tolist()
        assert all((np.diff(batch.rows) > 0).all() for batch in batches)
        assert all((batch.targets.argmax(axis=1) == batch.rows % 3).all() for batch in batches)
    assert not np.array_equal(first[0].rows, second[0].rows)


@pytest.mark.parametrize(("images", "sizes"), [(16, [8, 8]), (17, [8, 9]), (18, [8, 8, 2]), (9, [9]), (1, [1])])
def test_no_batch_of_one_image_is_left_over(images: int, sizes: list[int]) -> None:
    batches = epoch_batches(labelled(images), 8, seed=0, epoch=1)

    assert [len(batch) for batch in batches] == sizes


def test_rows_and_labels_must_have_one_length() -> None:
    with pytest.raises(UsageProblem, match="exactly one label"):
        LabelledRows.of_labels(np.arange(3), np.arange(2), 2)
    with pytest.raises(UsageProblem, match="exactly one label"):
        LabelledRows(np.arange(3), np.zeros((2, 2), dtype=np.int8))


def test_macro_auc_is_the_mean_over_the_classes() -> None:
    targets = np.array([[1, 0], [1, 0], [0, 1], [0, 1]])
    scores = np.array([0.9, 0.4, 0.6, 0.1])

    assert macro_auc(targets, np.stack([scores, 1 - scores], axis=1)) == pytest.approx(0.75)


def test_macro_auc_is_undefined_where_a_class_has_no_image() -> None:
    assert macro_auc(np.array([[1, 0, 0], [0, 1, 0]]), np.full((2, 3), 1 / 3)) is None


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
        (ArchitectureSettings, {"name": "resnet18", "init": "somewhere"}),
        (AugmentationSettings, {"rotation_degrees": 90}),
        (TrainingSettings, {"drop_epochs": [3]}),  # of a cosine
        (TrainingSettings, {"class_weights": {"a": 0}}),
        (ArchitectureSettings, {"name": "ae_cnn", "stages": [{"name": "reconstruction", "epochs": 3}]}),
        (ArchitectureSettings, {"name": "ae_cnn", "epochs": 3, "stages": [{"name": "joint", "epochs": 3}]}),
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


def test_an_epoch_draws_each_class_equally_often_and_repeats_as_little_as_possible() -> None:
    labels = np.array([0] * 40 + [1] * 8)
    data = LabelledRows.of_labels(np.arange(48), labels, 2)

    batches = epoch_batches(data, 8, seed=0, epoch=1, sampling="class_balanced")

    rows = np.concatenate([batch.rows for batch in batches])
    repeats = np.concatenate([batch.repeats for batch in batches])
    times = np.bincount(rows, minlength=48)
    assert times[:40].sum() == times[40:].sum() == 24
    assert times[:40].max() == 1
    assert times[40:].tolist() == [3] * 8
    assert sorted(zip(rows.tolist(), repeats.tolist(), strict=True)) == [
        (row, repeat) for row in range(48) for repeat in range(times[row])
    ]
    again = epoch_batches(data, 8, seed=0, epoch=1, sampling="class_balanced")
    assert all(np.array_equal(a.rows, b.rows) for a, b in zip(batches, again, strict=True))


def test_sources_are_balanced_and_images_of_several_classes_drawn_for_each_of_them() -> None:
    rows = np.arange(30)
    sources = np.array(["large"] * 25 + ["small"] * 5)
    targets = np.zeros((30, 2), dtype=np.int8)
    targets[:3, 0] = targets[2:4, 1] = 1
    data = LabelledRows(rows, targets, sources=sources)

    by_source, by_class = (draw_shares(data, way) for way in ("source_balanced", "class_balanced"))

    assert by_source[25:].sum() == pytest.approx(0.5)
    assert by_class.sum() == pytest.approx(1)
    assert by_class[2] == pytest.approx((1 / 3 + 1 / 2) / 3)  # of both classes; 26 images are of none
    drawn = np.concatenate([b.rows for b in epoch_batches(data, 4, seed=0, epoch=1, sampling="source_balanced")])
    assert (drawn >= 25).sum() == 15


def test_resident_reading_and_reading_from_the_map_give_the_same_images() -> None:
    images = np.arange(6 * 4, dtype=np.uint8).reshape(6, 2, 2)
    rows = np.array([5, 0, 3])
    feed = Feed(images, torch.device("cpu"))

    assert torch.equal(feed.read(rows), resident_copy(images, torch.device("cpu"))[torch.from_numpy(rows)])
    assert [len(batch) for batch in feed.stream([rows, rows[:1]])] == [3, 1]
    assert fits_resident(images, free_bytes=2 * images.nbytes)
    assert not fits_resident(images, free_bytes=2 * images.nbytes - 1)
