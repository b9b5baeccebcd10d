"""What maps are worth: each check on networks that are known to look at the right or at the wrong place."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from data_contracts.ontology import task_named
from data_contracts.sources.phantom import Disease, draw_phantom
from models.evaluation.results import Estimate
from models.explanation.cases import Cases
from models.explanation.faithfulness.deletion_insertion import measure_deletion_insertion, perturbed
from models.explanation.faithfulness.estimates import estimate, verdict_on, worst_of
from models.explanation.faithfulness.lung_energy import LungMask, energy_in, measure_lung_energy
from models.explanation.faithfulness.lung_masks import masks_of_catalog
from models.explanation.faithfulness.pointing_game import (
    boxes_of,
    needed_hits,
    play_pointing_game,
    points_at,
    share_of_picture,
)
from models.explanation.faithfulness.randomisation import (
    check_sanity,
    likeness,
    randomised,
    structural_similarity,
)
from models.explanation.grad_cam import Explainer
from models.explanation.results import LungEnergy
from models.explanation.settings import FaithfulnessSettings
from models.preprocessing import Preprocessing

SIZE = 64
TASK = task_named("pneumonia-binary")  # normal, pneumonia
SETTINGS = FaithfulnessSettings(resamples=200, perturbation_steps=8, perturbed_images=8)
PHANTOMS = [draw_phantom(Disease.BACTERIAL, seed=3, patient=i, index=i, size=SIZE, severity=1.0) for i in range(8)]


class _Seer(nn.Module):
    """Its logit for the second class is the picture's mean brightness, so its map is the picture itself."""

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        self.features = nn.Conv2d(1, 1, 1)
        self.head = nn.Linear(1, 2)
        with torch.no_grad():
            self.features.weight.fill_(1)
            self.features.bias.zero_()
            self.head.weight.copy_(torch.tensor([[-gain], [gain]]))
            self.head.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean(dim=(2, 3)))


def _explainer(images: NDArray[np.uint8], model: nn.Module | None = None) -> Explainer:
    preprocessing = Preprocessing(size=images.shape[1], mode="unit")
    return Explainer(model or _Seer(), "features", images, preprocessing, "captum")


def _cases(n: int, positive: int | None = None, **columns: object) -> Cases:
    """n images, the first `positive` of them pneumonia (all, where it is None), and all called so."""
    truth = np.zeros((n, 2), dtype=np.int8)
    truth[np.arange(n), (np.arange(n) < (n if positive is None else positive)).astype(int)] = 1
    frame = pd.DataFrame({"image_id": [f"i{i:03}" for i in range(n)], "row": np.arange(n)})
    frame = frame.assign(**{"group_id": frame["image_id"], "label": "", "mask_file": "", "boxes": "", **columns})
    return Cases(frame, truth, np.tile([0.1, 0.9], (n, 1)), TASK.class_names)


def _bright(masks: list[NDArray[np.bool_]]) -> NDArray[np.uint8]:
    return np.stack(masks).astype(np.uint8) * 255


# --- samples and estimates --------------------------------------------------------------------------------------


def test_a_sample_has_one_image_of_each_group_whatever_the_order_of_rows() -> None:
    cases = _cases(30, group_id=[f"g{i // 2}" for i in range(30)])
    chosen = cases.sample(np.arange(30) >= 4, 10, seed=1)
    assert len(set(cases.frame["group_id"].iloc[chosen])) == 10
    assert chosen.min() >= 4
    turned = Cases(cases.frame[::-1].reset_index(drop=True), cases.truth, cases.probabilities, cases.class_names)
    again = turned.sample(np.arange(30)[::-1] >= 4, 10, seed=1)
    assert list(turned.frame["image_id"].iloc[again]) == list(cases.frame["image_id"].iloc[chosen])
    assert not np.array_equal(cases.sample(np.arange(30) >= 4, 10, seed=2), chosen)


@pytest.mark.parametrize("n", [1, 2, 7, 12])
def test_the_bootstrapped_median_is_the_median(n: int) -> None:
    values = np.random.default_rng(n).random(n).round(1)
    found = estimate("median", values, SETTINGS, "none")
    assert found.value == pytest.approx(np.median(values))
    if found.low is not None and found.high is not None:
        assert values.min() <= found.low <= found.value <= found.high <= values.max()


@pytest.mark.parametrize(
    ("value", "low", "high", "n", "verdict"),
    [
        (1.6, 1.4, 2.0, 9, "passed"),
        (1.1, 1.0, 1.2, 9, "failed"),
        (1.3, 1.2, 1.4, 9, "inconclusive"),
        (1.6, None, None, 9, "inconclusive"),
        (0.0, None, None, 9, "failed"),
        (1.6, 1.4, 2.0, 4, "inconclusive"),
        (1.1, 1.0, 1.2, 4, "inconclusive"),
    ],
)
def test_a_verdict_needs_the_whole_interval_of_enough_images(
    value: float, low: float | None, high: float | None, n: int, verdict: str
) -> None:
    assert verdict_on(Estimate(value=value, low=low, high=high, n=n), at_least=1.3) == verdict


def test_what_was_not_evaluated_neither_passes_nor_fails_the_rest() -> None:
    assert worst_of(["not evaluated", "passed"]) == "passed"
    assert worst_of(["passed", "inconclusive", "failed"]) == "failed"
    assert worst_of([]) == worst_of(["not evaluated"]) == "not evaluated"


# --- lung energy ------------------------------------------------------------------------------------------------


def test_a_map_without_preference_has_as_much_in_the_lungs_as_they_fill() -> None:
    mask = PHANTOMS[0].lung_mask
    energy, area = energy_in(np.ones((SIZE, SIZE), dtype=np.float32), mask)
    assert energy == pytest.approx(area) == pytest.approx(mask.mean())


def test_energy_is_what_lies_inside_and_a_mask_of_another_size_is_enlarged() -> None:
    mask = np.array([[True, False], [False, False]])
    cam = np.ones((8, 8), dtype=np.float32)
    cam[:4, :4] = 3
    assert energy_in(cam, mask) == pytest.approx((48 / 96, 1 / 4))


def test_an_all_zero_map_has_no_energy_rather_than_none_of_it_in_the_lungs() -> None:
    energy, area = energy_in(np.zeros((4, 4), dtype=np.float32), np.ones((4, 4), dtype=np.bool_))
    assert np.isnan(energy)
    assert area == 1


def _lung_energy(images: NDArray[np.uint8], lung_mask: LungMask | None = None) -> LungEnergy:
    masks = [phantom.lung_mask for phantom in PHANTOMS]
    return measure_lung_energy(
        _explainer(images), _cases(8), [TASK.classes[1]], lung_mask or (lambda row: masks[row]), SETTINGS
    )


def test_a_network_that_looks_at_the_lungs_passes_and_one_that_looks_around_them_fails() -> None:
    lungs = [phantom.lung_mask for phantom in PHANTOMS]
    inside, outside = _lung_energy(_bright(lungs) // 2 + 1), _lung_energy(_bright([~mask for mask in lungs]))
    assert (inside.verdict, outside.verdict) == ("passed", "failed")
    (of_class,) = inside.classes
    assert of_class.energy.value == pytest.approx(1, abs=0.05)
    assert of_class.lung_area == pytest.approx(np.mean(lungs), abs=1e-6)
    assert of_class.lift.value == pytest.approx(np.median([1 / mask.mean() for mask in lungs]), rel=0.05)
    assert "passed for Pneumonia" in inside.statement


def test_without_masks_lung_energy_is_not_evaluated_and_says_why() -> None:
    measured = _lung_energy(_bright([phantom.lung_mask for phantom in PHANTOMS]), lambda row: None)
    assert measured.verdict == "not evaluated"
    assert measured.statement == (
        "Lung energy not evaluated: no image with a lung mask and a map that is not all zero."
    )


def test_all_zero_maps_are_counted_and_left_out() -> None:
    images = _bright([phantom.lung_mask for phantom in PHANTOMS])
    images[:3] = 0
    (of_class,) = _lung_energy(images).classes
    assert (of_class.all_zero, of_class.energy.n) == (3, 5)


def test_masks_are_read_safely_from_the_data_folder(tmp_path: Path) -> None:
    mask = PHANTOMS[0].lung_mask
    Image.fromarray(mask.astype(np.uint8) * 255).convert("RGB").save(tmp_path / "good.png")
    Image.fromarray(np.zeros((SIZE, SIZE), dtype=np.uint8)).save(tmp_path / "empty.png")
    (tmp_path / "torn.png").write_bytes((tmp_path / "good.png").read_bytes()[:60])
    (tmp_path / "page.png").write_text("<html>")
    files = ["good.png", "empty.png", "torn.png", "page.png", "gone.png", ""]
    kept = pd.DataFrame({"row": np.arange(6), "mask_file": files})
    found = [masks_of_catalog(kept, tmp_path)(row) for row in range(6)]
    assert np.array_equal(found[0], mask)
    assert found[1:] == [None] * 5
    assert masks_of_catalog(kept, None)(0) is None


# --- pointing game ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "chance", "bound"), [(98, 0.052, 0.092), (120, 0.094, 0.142)])
def test_better_than_chance_begins_above_the_published_bounds(n: int, chance: float, bound: float) -> None:
    # NIH's 98 pneumothorax and 120 pneumonia boxes.
    assert (needed_hits(n, chance) - 1) / n == pytest.approx(bound, abs=5e-4)


def test_the_maximum_points_and_an_all_zero_map_points_nowhere() -> None:
    cam = np.zeros((10, 20), dtype=np.float32)
    assert not points_at(cam, [(0, 0, 1, 1)])
    cam[2, 15] = 1
    assert points_at(cam, [(0.0, 0.0, 0.1, 0.1), (0.7, 0.2, 0.2, 0.1)])
    assert not points_at(cam, [(0.2, 0.7, 0.1, 0.2)])


def test_overlapping_boxes_are_counted_once() -> None:
    assert share_of_picture([(0.0, 0.0, 0.5, 0.5), (0.25, 0.0, 0.5, 0.5)]) == pytest.approx(0.375, abs=0.005)


def test_a_box_belongs_to_the_class_its_finding_implies() -> None:
    cell = json.dumps([{"node": "bacterial", "x": 0, "y": 0, "w": 0.5, "h": 0.5}, {"node": "mass", **_BOX}])
    assert boxes_of(cell, TASK.classes[1]) == [(0, 0, 0.5, 0.5)]
    assert boxes_of(cell, TASK.classes[0]) == boxes_of("", TASK.classes[1]) == []


_BOX = {"x": 0.1, "y": 0.1, "w": 0.2, "h": 0.2}


def _boxes() -> list[str]:
    boxes = [phantom.lesion_box for phantom in PHANTOMS]
    shares = [dict(zip("xywh", (side / SIZE for side in box or ()), strict=True)) for box in boxes]
    return [json.dumps([{"node": "pneumonia", **share}]) for share in shares]


def test_pointing_at_the_phantoms_lesions_beats_chance_and_pointing_elsewhere_does_not() -> None:
    lesions = np.stack([phantom.lesion_mask for phantom in PHANTOMS])
    cells = _boxes()
    found = play_pointing_game(_explainer(_bright([*lesions])), _cases(8, boxes=cells), TASK, SETTINGS)
    none, pneumonia = found.classes
    assert (none.verdict, none.p_value) == ("not evaluated", None)
    chance = np.mean([share_of_picture(boxes_of(cell, TASK.classes[1])) for cell in cells])
    assert pneumonia.chance == pytest.approx(chance)
    assert (pneumonia.hit_rate.n, found.verdict) == (8, "passed")
    assert pneumonia.hits >= (pneumonia.needed or 9)
    corner = np.zeros((8, SIZE, SIZE), dtype=np.uint8)
    corner[:, :4, :4] = 255
    elsewhere = play_pointing_game(_explainer(corner), _cases(8, boxes=cells), TASK, SETTINGS)
    assert (elsewhere.verdict, elsewhere.classes[1].hits, elsewhere.classes[1].p_value) == ("failed", 0, 1.0)
    assert elsewhere.statement == "Pointing game failed for Pneumonia. Passed is what beats a random point."


def test_one_box_proves_nothing_and_none_is_not_evaluated() -> None:
    images, cells = _bright([phantom.lesion_mask for phantom in PHANTOMS]), _boxes()
    wide = json.dumps([{"node": "pneumonia", "x": 0, "y": 0, "w": 1, "h": 0.5}])
    one = play_pointing_game(_explainer(images), _cases(8, boxes=[wide, *[""] * 7]), TASK, SETTINGS)
    assert one.verdict == "inconclusive"
    without = play_pointing_game(_explainer(images), _cases(8, 0, boxes=cells), TASK, SETTINGS)
    assert (without.verdict, without.reason) == ("not evaluated", "no image with a box of a reader")


# --- deletion and insertion -------------------------------------------------------------------------------------


def test_pixels_go_in_the_order_of_the_map_from_the_whole_image_to_the_blurred_one_and_back() -> None:
    image, saliency = PHANTOMS[0].pixels, np.random.default_rng(0).random((SIZE, SIZE)).astype(np.float32)
    deletion, insertion = perturbed(image, saliency, 4, np.random.default_rng(0))
    blurred = deletion[4]
    assert np.array_equal(deletion[0], image)
    assert np.array_equal(insertion[0], blurred)
    assert np.array_equal(insertion[4], image)
    assert blurred.std() < image.std()
    most_salient = saliency > np.quantile(saliency, 0.5)
    assert np.array_equal(deletion[2], np.where(most_salient, blurred, image))
    assert np.array_equal(insertion[2], np.where(most_salient, image, blurred))


def _blobs() -> NDArray[np.uint8]:
    """One bright blob off the centre on a picture that is otherwise dark."""
    images = np.zeros((8, 32, 32), dtype=np.uint8)
    for i, (row, column) in enumerate([(2, 2), (2, 24), (24, 2), (24, 24), (2, 13), (13, 2), (24, 13), (13, 24)]):
        images[i, row : row + 6, column : column + 6] = 250
    return images


class _Peaks(_Seer):
    """Sees only pixels brighter than 0.7, which blurring leaves none of."""

    def __init__(self, gain: float) -> None:
        super().__init__(gain)
        self.features = nn.Sequential(self.features, nn.ReLU())
        nn.init.constant_(self.features[0].bias, -0.7)


def test_a_map_of_what_the_answer_hangs_on_beats_both_controls() -> None:
    measured = measure_deletion_insertion(
        _explainer(_blobs(), _Peaks(gain=100)), _cases(8), ["pneumonia"], "softmax", SETTINGS
    )
    assert measured.verdict == "passed"
    by_name = {one.saliency: one for one in measured.saliencies}
    assert [*by_name] == ["Grad-CAM", "random", "centre"]
    for control in ("random", "centre"):
        assert (by_name["Grad-CAM"].deletion.value or 1) < (by_name[control].deletion.value or 0)
        assert (by_name["Grad-CAM"].insertion.value or 0) > (by_name[control].insertion.value or 1)


def test_a_map_that_says_nothing_of_the_answer_does_not_pass() -> None:
    # An all-zero map: pixels go at random.
    measured = measure_deletion_insertion(
        _explainer(_blobs(), _Peaks(gain=-100)), _cases(8), ["pneumonia"], "softmax", SETTINGS
    )
    assert measured.verdict in ("failed", "inconclusive")


def test_without_an_image_called_a_finding_nothing_is_deleted() -> None:
    measured = measure_deletion_insertion(_explainer(_blobs()), _cases(8), ["normal"], "softmax", SETTINGS)
    assert (measured.verdict, measured.reason) == ("not evaluated", "no test image is called a finding")
    left_out = SETTINGS.model_copy(update={"perturbed_images": 0})
    measured = measure_deletion_insertion(_explainer(_blobs()), _cases(8), ["pneumonia"], "softmax", left_out)
    assert measured.reason == "left out by the recipe"


# --- sanity check -----------------------------------------------------------------------------------------------


def test_likeness_is_one_for_equal_maps_and_says_nothing_of_flat_ones() -> None:
    cam = np.random.default_rng(0).random((16, 16)).astype(np.float32)
    assert likeness(cam, cam * 7) == pytest.approx((1, 1), abs=1e-6)
    spearman, ssim = likeness(cam, np.zeros_like(cam))
    assert spearman == 0
    assert ssim < 0.1
    assert likeness(cam, cam.max() - cam)[0] == pytest.approx(-1)


def test_ssim_of_two_even_pictures_is_the_published_luminance_term() -> None:
    first, second = np.full((9, 9), 0.2), np.full((9, 9), 0.6)
    expected = (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)
    assert structural_similarity(first, second) == pytest.approx(expected)


class _Deep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 5, padding=2), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()
        )
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean(dim=(2, 3)))


def _deep(seed: int = 0) -> _Deep:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _Deep().eval()


def test_weights_are_drawn_anew_from_the_output_to_the_input_in_a_copy() -> None:
    model = _deep()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    changed = []
    for down_to, copied in randomised(model, 4, seed=1):
        values = copied.state_dict()
        changed.append(
            (down_to, {name.rpartition(".")[0] for name in before if (values[name] != before[name]).any()})
        )
    assert [down_to for down_to, _ in changed] == ["head", "features.3", "features.2", "features.0"]
    assert changed[0][1] == {"head"}
    assert {"head", "features.2"} <= changed[2][1]
    assert "features.0" not in changed[2][1]
    assert "features.0" in changed[3][1]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    *_, (_, first) = randomised(model, 2, seed=1)
    *_, (_, second) = randomised(model, 2, seed=1)
    assert torch.equal(first.head.weight, second.head.weight)


def _alike_images() -> NDArray[np.uint8]:
    """Chest films are aligned: here one texture with a little noise."""
    generator = np.random.default_rng(0)
    texture = generator.integers(40, 210, (32, 32))
    return np.stack([texture + generator.integers(-20, 20, (32, 32)) for _ in range(8)]).astype(np.uint8)


def test_maps_that_change_with_the_weights_pass_the_sanity_check() -> None:
    checked = check_sanity(_explainer(_alike_images(), _deep()), _cases(8), SETTINGS)
    assert checked.verdict == "passed"
    assert [stage.down_to for stage in checked.stages] == ["head", "features.3", "features.2", "features.0"]
    assert (checked.baseline_spearman or 0) > 0.5
    assert checked == check_sanity(_explainer(_alike_images(), _deep()), _cases(8), SETTINGS)


def test_maps_that_stay_the_same_without_what_was_learnt_are_called_failed() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.ReLU()
            self.head = nn.Linear(1, 2)

        def forward(self, x: Tensor) -> Tensor:
            pooled = self.features(x).mean(dim=(2, 3))
            return torch.cat([-pooled, pooled], dim=1) + 0 * self.head(pooled)

    images = np.random.default_rng(0).integers(256, size=(8, 32, 32), dtype=np.uint8)
    checked = check_sanity(_explainer(images, Fixed()), _cases(8), SETTINGS)
    assert checked.verdict == "failed"
    assert checked.stages[-1].spearman.value == pytest.approx(1)
    assert checked.statement.startswith("Sanity check failed")
    assert "do not read anything into them" in checked.statement


def test_all_zero_maps_leave_nothing_to_check() -> None:
    checked = check_sanity(_explainer(_blobs() * 0), _cases(8), SETTINGS)
    assert checked.verdict == "not evaluated"
    assert "not all zero" in checked.reason
