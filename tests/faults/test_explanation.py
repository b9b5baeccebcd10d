"""F32: Grad-CAM over many images, of a wrong layer, and where no region raised the score."""

from __future__ import annotations

import weakref
from collections.abc import Iterator

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from data_contracts.errors import UsageProblem
from data_contracts.ontology import task_named
from models.explanation.cases import Cases
from models.explanation.faithfulness.deletion_insertion import measure_deletion_insertion
from models.explanation.faithfulness.lung_energy import measure_lung_energy
from models.explanation.faithfulness.pointing_game import play_pointing_game
from models.explanation.faithfulness.randomisation import check_sanity
from models.explanation.grad_cam import BATCH, Explainer, Method
from models.explanation.picture import draw_cam
from models.explanation.settings import FaithfulnessSettings
from models.explanation.sheet import draw_outcomes
from models.preprocessing import Preprocessing

SIZE, CHANNELS, IMAGES = 48, 32, 1000
TASK = task_named("pneumonia-binary")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Small(nn.Module):
    """A convolution, and a linear layer on its averages."""

    def __init__(self, head_weight: float | None = None) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, CHANNELS, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(CHANNELS, 2)
        if head_weight is not None:
            nn.init.constant_(self.head.weight, head_weight)

    def get_classifier(self) -> nn.Module:
        return self.head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean(dim=(2, 3)))


def explainer(images: NDArray[np.uint8], method: Method, head_weight: float | None = None) -> Explainer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Small(head_weight)
    return Explainer(model, "features", images, Preprocessing(size=SIZE, mode="half"), method)


@pytest.mark.parametrize("method", ["closed form", "captum"])
def test_f32_memory_stays_bounded_over_a_thousand_images(method: Method) -> None:
    images = np.random.default_rng(0).integers(256, size=(IMAGES, SIZE, SIZE), dtype=np.uint8)
    explaining = explainer(images, method)
    layer_maps: list[weakref.ref[Tensor]] = []
    explaining.model.features.register_forward_hook(lambda *call: layer_maps.append(weakref.ref(call[2])))
    process, used, alive = psutil.Process(), [], []
    for number, cam in enumerate(explaining.maps(np.arange(IMAGES), np.arange(IMAGES) % 2)):
        assert cam.shape == (SIZE, SIZE)
        if number % BATCH == 0:
            alive.append(sum(reference() is not None for reference in layer_maps))
            used.append(process.memory_info().rss)
    assert len(used) == -(-IMAGES // BATCH)
    assert max(alive) <= 1
    # Kept graphs or layer maps of the images after the first hundred would be 260 MB.
    assert max(used[10:]) - used[6] < 80e6


@pytest.mark.parametrize("method", ["closed form", "captum"])
def test_f32_a_wrong_layer_is_refused_by_its_name(method: Method) -> None:
    images = np.zeros((2, SIZE, SIZE), dtype=np.uint8)
    explaining = Explainer(Small(), "layer4", images, Preprocessing(size=SIZE, mode="half"), method)
    with pytest.raises(UsageProblem, match="no module 'layer4'"):
        next(explaining.maps(np.arange(2), np.arange(2)))


@pytest.mark.parametrize("method", ["closed form", "captum"])
def test_f32_a_map_without_a_positive_region_is_zero_and_flagged_and_never_nan(method: Method) -> None:
    n = 6
    images = np.random.default_rng(0).integers(256, size=(n, SIZE, SIZE), dtype=np.uint8)
    explaining = explainer(images, method, head_weight=-1.0)
    maps = np.stack([*explaining.maps(np.arange(n), np.zeros(n, dtype=np.int64))])
    assert np.array_equal(maps, np.zeros((n, SIZE, SIZE)))
    assert draw_cam(images[0], maps[0]).startswith(b"\x89PNG")

    box = '[{"node": "pneumonia", "x": 0, "y": 0, "w": 0.5, "h": 0.5}]'
    frame = pd.DataFrame({"image_id": [f"i{i}" for i in range(n)], "row": np.arange(n)})
    frame = frame.assign(group_id=frame["image_id"], label="pneumonia", mask_file="", boxes=box)
    cases = Cases(frame, np.tile(np.int8([0, 1]), (n, 1)), np.tile([0.2, 0.8], (n, 1)), TASK.class_names)
    items = draw_outcomes(explaining, cases, {"pneumonia": 0.5}, 2)
    assert [item.all_zero for item in items] == [True, True]

    settings, lungs = FaithfulnessSettings(resamples=100), np.ones((SIZE, SIZE), dtype=np.bool_)
    energy = measure_lung_energy(explaining, cases, TASK.classes[1:], lambda row: lungs, settings)
    assert (energy.verdict, energy.classes[0].all_zero) == ("not evaluated", n)
    pointing = play_pointing_game(explaining, cases, TASK, settings)
    assert pointing.classes[1].hits == 0
    sanity = check_sanity(explaining, cases, settings)
    assert sanity.verdict == "not evaluated"
    deletion = measure_deletion_insertion(explaining, cases, ["pneumonia"], "softmax", settings)
    assert deletion.verdict in ("failed", "inconclusive")
    for result in (energy, pointing, sanity, deletion):
        assert "NaN" not in result.model_dump_json()
