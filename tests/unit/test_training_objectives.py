"""What training minimises: published weights, torch's own losses as reference, and one optimiser step."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from data_contracts.errors import DataGateError, UsageProblem
from models.output import Output
from models.training.class_balance import ClassBalance, class_balance
from models.training.device import Compute
from models.training.objectives import Losses, Objective
from models.training.settings import TrainingSettings
from models.training.step import training_step

CPU = torch.device("cpu")
NAMES = ["covid", "opacity", "normal", "viral"]


def one_hot(counts: list[int]) -> np.ndarray:
    return np.repeat(np.eye(len(counts), dtype=np.int8), counts, axis=0)


def objective(
    output: Output, positive: list[float], negative: list[float] | None = None, **more: float
) -> Objective:
    balance = ClassBalance(output, np.array(positive), np.array(negative or [1.0] * len(positive)))
    return Objective.of(balance, CPU, **more)


def test_balanced_weights_are_those_published_for_the_radiography_split() -> None:
    balance = class_balance(one_hot([2531, 4208, 7134, 941]), NAMES, "softmax", "balanced")

    expected = [1.4632556301856974, 0.8801093155893536, 0.5191337258200168, 3.9357066950053134]
    np.testing.assert_allclose(balance.positive, expected, rtol=1e-15)


def test_the_weight_of_a_positive_is_negatives_over_positives() -> None:
    balance = class_balance(one_hot([1341, 3875]), ["normal", "pneumonia"], "binary", "balanced")

    assert balance.positive == pytest.approx([1341 / 3875])  # the 0.346 of reference system 4
    assert balance.negative == [1]


def test_unknown_answers_count_on_neither_side() -> None:
    targets = np.array([[1, -1], [0, 1], [0, 0], [-1, 0]], dtype=np.int8)

    assert class_balance(targets, ["a", "b"], "sigmoid", "balanced").positive.tolist() == [2, 2]


def test_weights_are_those_the_recipe_names_and_one_elsewhere() -> None:
    targets = one_hot([2, 2, 2, 2])

    assert class_balance(targets, NAMES, "softmax", {"viral": 1.3}).positive.tolist() == [1, 1, 1, 1.3]
    assert class_balance(targets, NAMES, "softmax", "none").positive.tolist() == [1, 1, 1, 1]
    with pytest.raises(UsageProblem, match="flu"):
        class_balance(targets, NAMES, "softmax", {"flu": 2})


def test_sampling_that_balances_leaves_nothing_to_weigh() -> None:
    shares = np.repeat([0.25 / 4, 0.25 / 2, 0.25, 0.25], [4, 2, 1, 1])

    assert class_balance(one_hot([4, 2, 1, 1]), NAMES, "softmax", "balanced", shares).positive == pytest.approx(1)


@pytest.mark.parametrize(("output", "missing"), [("softmax", "of class viral"), ("sigmoid", "of class viral")])
def test_a_class_without_training_images_stops_at_the_data_gate(output: Output, missing: str) -> None:
    with pytest.raises(DataGateError, match=f"No training image {missing}"):
        class_balance(one_hot([2, 2, 2, 0]), NAMES, output, "none")


def test_a_finding_that_no_image_is_known_to_lack_stops_at_the_data_gate() -> None:
    with pytest.raises(DataGateError, match="known to be without class b"):
        class_balance(np.array([[1, 1], [0, -1]], dtype=np.int8), ["a", "b"], "sigmoid", "balanced")


@pytest.mark.parametrize(
    ("loss", "multi_label", "classes", "output"),
    [
        ("auto", False, 4, "softmax"),
        ("auto", True, 4, "sigmoid"),
        ("cross_entropy", False, 2, "softmax"),
        ("binary_cross_entropy", False, 2, "binary"),
        ("binary_cross_entropy", True, 3, "sigmoid"),
        ("binary_cross_entropy", False, 3, None),
        ("cross_entropy", True, 3, None),
    ],
)
def test_the_loss_decides_what_the_networks_numbers_mean(
    loss: str, multi_label: bool, classes: int, output: Output | None
) -> None:
    settings = TrainingSettings.model_validate({"loss": loss})

    if output is None:
        with pytest.raises(UsageProblem, match="does not fit"):
            settings.output(NAMES[:classes], multi_label=multi_label)
    else:
        assert settings.output(NAMES[:classes], multi_label=multi_label) == output


def test_a_binary_loss_is_torchs_with_its_pos_weight() -> None:
    logits, truth = torch.tensor([[0.3], [-2.0], [1.5]]), torch.tensor([1, 0, 1])
    targets = torch.nn.functional.one_hot(truth, 2).to(torch.int8)

    losses, weights = objective("binary", [0.346]).entries(logits, targets)

    expected = binary_cross_entropy_with_logits(
        logits[:, 0], truth.float(), pos_weight=torch.tensor(0.346), reduction="none"
    )
    torch.testing.assert_close((losses * weights)[:, 0], expected)


def test_an_unknown_answer_has_no_loss_and_no_gradient() -> None:
    logits = torch.tensor([[2.0, -1.0], [0.5, 3.0]], requires_grad=True)
    targets = torch.tensor([[1, -1], [-1, 0]], dtype=torch.int8)

    losses = objective("sigmoid", [2.0, 5.0])(nn.Identity(), logits, targets)
    losses.total.sum().backward()

    known = binary_cross_entropy_with_logits(
        torch.tensor([2.0, 3.0]), torch.tensor([1.0, 0.0]), reduction="none"
    ) * torch.tensor([2.0, 1.0])
    torch.testing.assert_close(losses.total, known / 2)
    assert losses.weight.tolist() == [2, 1]
    assert logits.grad is not None
    assert (logits.grad == 0).tolist() == [[False, True], [True, False]]


class Answer(NamedTuple):
    logits: torch.Tensor
    reconstruction: torch.Tensor
    latent: torch.Tensor


class HalvesTheImage(nn.Module):
    """Reconstructs half of every grey level, and answers with the mean level."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.asked += 1
        level = images.mean(dim=(1, 2, 3))
        return torch.stack([level, -level], dim=1)

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        return images

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        return latent / 2

    def reconstruct(self, images: torch.Tensor) -> Answer:
        return Answer(self(images), self.decode(images), images)


def test_the_joint_loss_is_nine_parts_classification_and_one_part_reconstruction() -> None:
    images = torch.full((2, 1, 4, 4), 0.8)
    targets = torch.tensor([[1, 0], [0, 1]], dtype=torch.int8)
    model = HalvesTheImage()

    losses: Losses = objective("softmax", [1.0, 1.0], reconstruction_weight=0.1)(model, images, targets)

    classification = cross_entropy(model(images), torch.tensor([0, 1]), reduction="none")
    torch.testing.assert_close(losses.reconstruction, torch.full((2,), 0.16))
    torch.testing.assert_close(losses.classification, classification)
    torch.testing.assert_close(losses.total, 0.9 * classification + 0.1 * 0.16)


def test_a_stage_that_only_reconstructs_does_not_ask_the_classifier() -> None:
    model = HalvesTheImage()

    losses = objective("softmax", [1.0, 1.0], reconstruction_weight=1)(
        model, torch.full((1, 1, 4, 4), 0.8), torch.tensor([[1, 0]])
    )

    assert model.asked == 0
    assert losses.total.tolist() == pytest.approx([0.16])


def test_a_network_that_cannot_reconstruct_is_told_so() -> None:
    with pytest.raises(UsageProblem, match="Identity cannot reconstruct"):
        objective("softmax", [1.0], reconstruction_weight=0.1)(nn.Identity(), torch.ones(1, 1), torch.ones(1, 1))


def step(parts: int = 1, clip: float | None = 0.1) -> tuple[nn.Module, list[float], list[float]]:
    """One SGD step on three images: the network, the measured sums, and how far the weights moved."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    nn.init.constant_(model[1].weight, 0.01)
    nn.init.constant_(model[1].bias, 0.0)
    before = torch.cat([p.detach().flatten() for p in model.parameters()])
    measures = training_step(
        model,
        torch.optim.SGD(model.parameters(), lr=1.0),
        objective("softmax", [3.0, 0.5]),
        torch.arange(12.0).reshape(3, 1, 2, 2),
        torch.tensor([[1, 0], [0, 1], [0, 1]], dtype=torch.int8),
        gradient_clip=clip,
        compute=Compute(CPU, "fp32"),
        parts=parts,
    )
    after = torch.cat([p.detach().flatten() for p in model.parameters()])
    return model, measures.sums.tolist(), (after - before).tolist()


def test_a_step_weighs_classes_divides_by_images_and_clips_the_gradient() -> None:
    model, sums, moved = step()
    _, _, unclipped = step(clip=None)

    assert sums[:3] == pytest.approx([4 * np.log(2), 4, 0], rel=1e-3)  # weights 3, .5 and .5
    assert sums[3] == pytest.approx(sums[0])
    assert np.linalg.norm(moved) == pytest.approx(0.1, rel=1e-3)
    assert np.linalg.norm(unclipped) == pytest.approx(sums[4], rel=1e-5)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_batch_in_two_halves_has_the_same_gradient() -> None:
    _, whole, moved = step(clip=None)
    _, halves, moved_in_halves = step(parts=2, clip=None)

    assert halves == pytest.approx(whole, rel=1e-5)
    assert moved_in_halves == pytest.approx(moved, rel=1e-4)
