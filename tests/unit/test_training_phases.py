"""Which weights learn when: frozen heads, the three stages of the auto-encoder, the mean of the weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from data_contracts.errors import UsageProblem
from models.architectures import build
from models.preprocessing import Preprocessing
from models.test_time import ten_crop
from models.training.augmentation_settings import AugmentationSettings
from models.training.batches import LabelledRows
from models.training.loop import TrainedClassifier, train_classifier
from models.training.phases import Phase, begin_phase, phase_of, plan_phases
from models.training.settings import ArchitectureSettings, TrainingSettings

STAGES = [
    {"name": "reconstruction", "epochs": 1},
    {"name": "classifier", "epochs": 1},
    {"name": "joint", "epochs": 1},
]


def plan(settings: dict[str, object], architecture: dict[str, object]) -> tuple[list[Phase], list[str]]:
    chosen = ArchitectureSettings.model_validate({"name": "resnet18", **architecture})
    return plan_phases(TrainingSettings.model_validate(settings).for_architecture(chosen), chosen)


def learning(model: nn.Module) -> set[str]:
    return {name.partition(".")[0] for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_the_head_learns_first_where_the_trunk_has_learned_before() -> None:
    phases, notes = plan({"epochs": 10, "freeze_epochs": 3}, {"init": "file:weights.safetensors"})

    assert [(phase.trains, phase.epochs) for phase in phases] == [("head", 3), ("everything", 7)]
    assert notes == []
    assert [phase_of(phases, epoch).trains for epoch in (1, 3, 4, 10)] == ["head", "head", *["everything"] * 2]


def test_a_random_trunk_is_not_frozen_and_that_is_said() -> None:
    phases, notes = plan({"epochs": 10, "freeze_epochs": 3}, {})

    assert [(phase.trains, phase.epochs) for phase in phases] == [("everything", 10)]
    assert notes[0].startswith("freeze_epochs 3 is skipped: the weights start at random")


def test_stages_bring_their_own_epochs_and_losses() -> None:
    phases, _ = plan({"epochs": 30, "freeze_epochs": 2}, {"name": "ae_cnn", "stages": STAGES})

    assert [(phase.trains, phase.reconstruction_weight) for phase in phases] == [
        ("autoencoder", 1.0),
        ("classifier", 0.0),
        ("everything", 0.1),
    ]


def test_a_frozen_trunk_keeps_its_weights_and_its_batch_statistics() -> None:
    model = build("resnet18", num_classes=2, img_size=32)
    begin_phase(model, Phase("head", 1, "head"))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)

    model(torch.randn(4, 1, 32, 32)).sum().backward()
    optimizer.step()

    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"fc.weight", "fc.bias"}
    begin_phase(model, Phase("everything", 1))
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_each_stage_trains_its_part_of_the_auto_encoder() -> None:
    model = build("ae_cnn", num_classes=2, img_size=32, options={"backbone": "resnet10t"})

    begin_phase(model, Phase("reconstruction", 1, "autoencoder", 1.0))
    assert learning(model) == {"encoder", "decoder"}
    assert not model.backbone.training
    begin_phase(model, Phase("classifier", 1, "classifier"))
    assert learning(model) == {"backbone"}
    assert not model.encoder.training
    begin_phase(model, Phase("joint", 1))
    assert learning(model) == {"encoder", "decoder", "backbone"}


def test_a_network_without_encoder_has_no_reconstruction_stage() -> None:
    with pytest.raises(UsageProblem, match="part that Linear does not have"):
        begin_phase(nn.Linear(1, 1), Phase("reconstruction", 1, "autoencoder", 1.0))


def fit(architecture: ArchitectureSettings, targets: np.ndarray, **changes: object) -> TrainedClassifier:
    """Sixteen noisy images, of which the brighter ones carry the first class."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rows = np.arange(len(targets))
    images = np.random.default_rng(0).integers(0, 60, (len(targets), 32, 32)).astype(np.uint8)
    images[targets[:, 0] == 1] += 120
    data = LabelledRows(rows, targets.astype(np.int8))
    arguments: dict[str, object] = {
        "architecture": architecture,
        "classes": ["bright", "other"],
        "images": images,
        "train": data,
        "val": data,
        "settings": TrainingSettings(epochs=2, batch_size=8, learning_rate=1e-3, precision="fp32"),
        "augmentation": AugmentationSettings(),
        "preprocessing": Preprocessing(size=32, mode="unit"),
    }
    try:
        return train_classifier(**{**arguments, **changes})
    finally:
        torch.set_num_threads(threads)


TWO_CLASSES = np.eye(2)[np.arange(16) % 2]


def test_the_auto_encoder_is_trained_in_three_stages_and_both_losses_are_kept() -> None:
    architecture = ArchitectureSettings(name="ae_cnn", options={"backbone": "resnet10t"}, stages=STAGES)

    history = fit(architecture, TWO_CLASSES).history

    first, second, third = history.epochs
    assert [phase.name for phase in history.phases] == ["reconstruction", "classifier", "joint"]
    assert (first.val_macro_auc, first.train_loss) == (None, first.train_reconstruction_loss)
    assert (second.train_reconstruction_loss, second.train_loss) == (None, second.train_classification_loss)
    for part in ("train", "val"):
        both = [getattr(third, f"{part}_{term}_loss") for term in ("classification", "reconstruction")]
        assert getattr(third, f"{part}_loss") == pytest.approx(0.9 * both[0] + 0.1 * both[1])
    assert history.best_epoch in (2, 3)


def test_several_labels_are_learned_with_unknown_ones_left_out() -> None:
    targets = np.stack([np.arange(16) % 2, np.arange(16) % 4 // 2], axis=1)
    targets[3:6, 1] = -1

    trained = fit(ArchitectureSettings(name="simple_cnn"), targets, multi_label=True)

    assert trained.output == "sigmoid"
    assert trained.val_probabilities.shape == (16, 2)
    assert trained.history.epochs[-1].val_macro_auc is not None


def test_two_classes_may_share_one_logit() -> None:
    settings = TrainingSettings(epochs=2, batch_size=8, loss="binary_cross_entropy", precision="fp32")

    trained = fit(ArchitectureSettings(name="simple_cnn"), TWO_CLASSES, settings=settings)

    assert trained.model(torch.zeros(1, 1, 32, 32)).shape == (1, 1)
    np.testing.assert_allclose(trained.val_probabilities.sum(axis=1), 1)


def test_the_mean_of_the_weights_is_what_is_validated_and_kept() -> None:
    def settings(decay: float | None) -> TrainingSettings:
        return TrainingSettings(epochs=1, batch_size=8, learning_rate=1e-2, ema_decay=decay, precision="fp32")

    plain, mean = (
        fit(ArchitectureSettings(name="simple_cnn"), TWO_CLASSES, settings=settings(decay))
        for decay in (None, 0.9)
    )

    assert plain.history.epochs[0].train_loss == mean.history.epochs[0].train_loss
    assert plain.history.epochs[0].val_loss != mean.history.epochs[0].val_loss
    assert not np.array_equal(plain.val_probabilities, mean.val_probabilities)


def test_windows_cut_out_for_training_need_a_network_that_reads_both_sizes() -> None:
    cut = AugmentationSettings(crop=0.875)

    with pytest.raises(UsageProblem, match="windows of 28 pixels cut out of 32"):
        fit(ArchitectureSettings(name="simple_cnn"), TWO_CLASSES, augmentation=cut)
    assert fit(ArchitectureSettings(name="resnet10t"), TWO_CLASSES, augmentation=cut).history.best_epoch


def test_thresholds_are_chosen_on_the_crops_that_will_be_asked_for() -> None:
    cropped = ArchitectureSettings(name="resnet10t", test_time_crop=0.875)

    trained = fit(cropped, TWO_CLASSES)
    whole = fit(cropped.model_copy(update={"test_time_crop": None}), TWO_CLASSES)

    assert [record.val_loss for record in trained.history.epochs] == [
        record.val_loss for record in whole.history.epochs
    ]
    assert np.abs(trained.val_probabilities - whole.val_probabilities).max() > 1e-4


def test_crops_that_the_network_cannot_read_are_refused_before_training() -> None:
    with pytest.raises(UsageProblem, match="simple_cnn cannot read crops of 28 pixels"):
        fit(ArchitectureSettings(name="simple_cnn", test_time_crop=0.875), TWO_CLASSES)


def test_ten_crops_are_the_corners_the_centre_and_their_mirror_images() -> None:
    class Corner(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images[:, 0, 0, :1]

    image = torch.arange(16.0).reshape(1, 1, 4, 4)

    answer = ten_crop(Corner(), image, 2)

    # Upper left pixels of the crops at (0,0), (0,2), (2,0), (2,2), (1,1), then those of the mirrored image's.
    assert answer.tolist() == [[pytest.approx(np.mean([0, 2, 8, 10, 5, 3, 1, 11, 9, 6]))]]
