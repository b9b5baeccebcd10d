"""The Grad-CAM sheet: which images are shown, and what their pictures look like."""

from __future__ import annotations

import base64
import io

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from data_contracts.targets import truth_table
from models.explanation.cases import Cases
from models.explanation.grad_cam import Explainer
from models.explanation.picture import BAR, GAP, TILE, WIDTH, draw_cam, peak
from models.explanation.results import CamItem
from models.explanation.sheet import choose_examples, choose_findings, draw_examples, draw_outcomes
from models.preprocessing import Preprocessing


def _frame(labels: list[str], confident_a: list[float]) -> pd.DataFrame:
    """Predictions over the classes a and b; the second column is the probability of a."""
    n = len(labels)
    return pd.DataFrame(
        {
            "image_id": [f"i{i}" for i in range(n)],
            "group_id": [f"g{i}" for i in range(n)],
            "patient": "",
            "source": "nih",
            "split": "test",
            "label": labels,
            "p_a": confident_a,
            "p_b": [1 - p for p in confident_a],
            "row": range(n),
        }
    )


def test_the_most_confident_correct_and_wrong_images_are_shown() -> None:
    frame = _frame(["a"] * 7, [0.6, 0.9, 0.8, 0.7, 0.2, 0.1, 0.4])
    chosen = choose_examples(frame, ["a", "b"], 4)
    assert list(chosen["image_id"]) == ["i1", "i2", "i5", "i4"]
    assert list(chosen["outcome"]) == ["correct", "correct", "wrong", "wrong"]
    assert list(chosen["predicted"]) == ["a", "a", "b", "b"]
    assert list(chosen["confidence"]) == [0.9, 0.8, 0.9, 0.8]


@pytest.mark.parametrize(
    ("confident_a", "expected"),
    [
        ([0.9, 0.8, 0.7, 0.6], ["i0", "i1", "i2", "i3"]),
        ([0.1, 0.2, 0.3, 0.4], ["i0", "i1", "i2", "i3"]),
        ([0.9, 0.8, 0.7, 0.1], ["i0", "i1", "i2", "i3"]),
        ([0.9, 0.1, 0.2, 0.3], ["i0", "i1", "i2", "i3"]),
    ],
)
def test_where_one_kind_runs_short_the_other_fills_in(confident_a: list[float], expected: list[str]) -> None:
    assert list(choose_examples(_frame(["a"] * 4, confident_a), ["a", "b"], 4)["image_id"]) == expected


def test_classes_keep_their_order_and_an_absent_one_shows_nothing() -> None:
    chosen = choose_examples(_frame(["b", "b"], [0.1, 0.8]), ["a", "b"], 4)
    assert list(chosen["label"]) == ["b", "b"]


def test_ties_go_by_image_id_whatever_the_order_of_rows() -> None:
    frame = _frame(["a"] * 6, [0.9] * 6)
    shuffled = frame.sample(frac=1, random_state=3)
    assert list(choose_examples(shuffled, ["a", "b"], 2)["image_id"]) == ["i0", "i1"]


def test_one_patient_does_not_fill_the_sheet() -> None:
    frame = _frame(["a"] * 4, [0.9, 0.8, 0.7, 0.6])
    frame["group_id"] = ["g0", "g0", "g0", "g1"]
    assert list(choose_examples(frame, ["a", "b"], 2)["image_id"]) == ["i0", "i3"]


def _findings() -> pd.DataFrame:
    frame = _frame(["a|b", "none", "a", "b"], [0.9, 0.8, 0.3, 0.6])
    frame["p_b"] = [0.7, 0.2, 0.9, 0.1]
    frame.insert(6, "unknown_classes", ["", "", "b", "a"])
    return frame


def test_a_finding_is_shown_by_images_called_for_it_and_known_to_be_right_or_wrong() -> None:
    chosen = choose_findings(_findings(), ["a", "b"], {"a": 0.25, "b": 0.5}, 4)
    shown = list(
        zip(chosen["predicted"], chosen["image_id"], chosen["outcome"], chosen["confidence"], strict=True)
    )
    assert shown == [
        ("a", "i0", "correct", 0.9),
        ("a", "i2", "correct", 0.3),
        ("a", "i1", "wrong", 0.8),
        ("b", "i0", "correct", 0.7),
    ]


def test_a_finding_without_a_threshold_is_never_called() -> None:
    assert set(choose_findings(_findings(), ["a", "b"], {"b": 0.0}, 4)["predicted"]) == {"b"}
    assert choose_findings(_findings(), ["a", "b"], {}, 4).empty


def _tiles(png: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    picture = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(np.int64)
    assert picture.shape == (TILE, WIDTH, 3)
    return picture[:, :TILE], picture[:, TILE + GAP : 2 * TILE + GAP]


GREY = np.random.default_rng(1).integers(60, 200, size=(TILE, TILE), dtype=np.uint8)


def _bump() -> NDArray[np.float32]:
    row, column = np.mgrid[:32, :32]
    return np.exp(-((row - 8) ** 2 + (column - 20) ** 2) / 30).astype(np.float32)


def test_the_left_tile_is_the_untouched_image() -> None:
    left, _ = _tiles(draw_cam(GREY, _bump()))
    assert np.array_equal(left, np.repeat(GREY[:, :, None], 3, axis=2))


def test_weak_regions_stay_grey_and_the_strongest_is_marked() -> None:
    left, right = _tiles(draw_cam(GREY, _bump()))
    assert np.array_equal(right[110:], left[110:])
    peak_row, peak_column = (np.array([8, 20]) + 0.5) * TILE / 32
    cross = right[int(peak_row) - 2 : int(peak_row) + 3, int(peak_column) - 2 : int(peak_column) + 3]
    assert (cross == 255).all(axis=2).sum() >= 5
    coloured = (right.max(axis=2) - right.min(axis=2)) > 20
    assert 0.02 < coloured.mean() < 0.25


def test_the_contour_lies_at_half_of_the_maximum() -> None:
    grey = np.full((TILE, TILE), 128, dtype=np.uint8)
    _, right = _tiles(draw_cam(grey, _bump()))
    white = np.argwhere((right == 255).all(axis=2))
    centre = (np.array([8, 20]) + 0.5) * TILE / 32
    distance = np.linalg.norm(white - centre, axis=1)
    radius = np.sqrt(30 * np.log(2)) * TILE / 32
    assert distance[distance > 10] == pytest.approx(radius, abs=2.0)


def test_colours_are_scaled_to_the_maps_own_maximum() -> None:
    assert draw_cam(GREY, _bump()) == draw_cam(GREY, _bump() * np.float32(1024))


def test_an_all_zero_map_leaves_the_image_grey() -> None:
    left, right = _tiles(draw_cam(GREY, np.zeros((7, 7), dtype=np.float32)))
    assert np.array_equal(left, right)


class _Net(nn.Module):
    def __init__(self, head_weight: float | None = None) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 6, 3, stride=4), nn.ReLU())
        self.head = nn.Linear(6, 2)
        if head_weight is not None:
            nn.init.constant_(self.head.weight, head_weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean(dim=(2, 3)))


def _net(head_weight: float | None = None) -> _Net:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return _Net(head_weight)


IMAGES = np.random.default_rng(0).integers(256, size=(12, 32, 32), dtype=np.uint8)


def _explainer(model: nn.Module) -> Explainer:
    return Explainer.of(model, "features", IMAGES, Preprocessing(size=32, mode="half"))


def _sheet(model: nn.Module, frame: pd.DataFrame, thresholds: dict[str, float] | None = None) -> list[CamItem]:
    classes = ["a", "b"]
    if thresholds is None:
        return draw_examples(_explainer(model), choose_examples(frame, classes, 2), classes)
    return draw_examples(_explainer(model), choose_findings(frame, classes, thresholds, 2), classes)


def test_the_sheet_holds_each_chosen_image_and_is_the_same_twice() -> None:
    frame = _frame(["a", "a", "b", "b"], [0.9, 0.2, 0.7, 0.4])
    frame["row"] = [11, 3, 5, 0]
    sheet = _sheet(_net(), frame)
    assert [(item.image_id, item.truth, item.predicted, item.outcome) for item in sheet] == [
        ("i0", "a", "a", "correct"),
        ("i1", "a", "b", "wrong"),
        ("i3", "b", "b", "correct"),
        ("i2", "b", "a", "wrong"),
    ]
    assert [item.probability for item in sheet] == [0.9, 0.8, 0.6, 0.7]
    _tiles(base64.b64decode(sheet[0].picture_png_base64))
    assert _sheet(_net(), frame) == sheet


def test_the_sheet_of_findings_explains_the_finding_and_keeps_all_that_is_true() -> None:
    sheet = _sheet(_net(), _findings(), {"a": 0.5, "b": 0.5})
    assert [(item.image_id, item.truth, item.predicted, item.outcome) for item in sheet] == [
        ("i0", "a|b", "a", "correct"),
        ("i1", "none", "a", "wrong"),
        ("i0", "a|b", "b", "correct"),
    ]
    assert sheet[0].picture_png_base64 != sheet[2].picture_png_base64


def test_the_sheet_flags_maps_without_a_positive_region() -> None:
    sheet = _sheet(_net(head_weight=-1.0), _frame(["a"], [0.9]))
    assert [item.all_zero for item in sheet] == [True]


def test_a_split_without_images_gives_an_empty_sheet() -> None:
    assert _sheet(_net(), _frame([], [])) == []


def _cases(frame: pd.DataFrame, *, multi_label: bool = False) -> Cases:
    unknown = frame["unknown_classes"] if multi_label else pd.Series("", index=frame.index)
    truth = truth_table(frame["label"], unknown, ["a", "b"], multi_label=multi_label)
    return Cases(frame, truth, frame[["p_a", "p_b"]].to_numpy(), ["a", "b"])


def test_each_outcome_at_the_operating_point_shows_its_middle_image() -> None:
    frame = _frame(["a"] * 5 + ["b"] * 4, [0.9, 0.7, 0.8, 0.2, 0.4, 0.6, 0.1, 0.3, 0.2])
    items = draw_outcomes(_explainer(_net()), _cases(frame), {"a": 0.5}, 1)
    assert [(item.outcome, item.image_id, item.of, item.probability) for item in items] == [
        ("true positive", "i2", 3, 0.8),
        ("false positive", "i5", 1, 0.6),
        ("false negative", "i4", 2, 0.4),
        ("true negative", "i8", 3, 0.2),
    ]
    assert {(item.class_name, item.threshold) for item in items} == {("a", 0.5)}


def test_an_image_of_which_a_finding_is_unknown_is_no_outcome_for_it() -> None:
    items = draw_outcomes(_explainer(_net()), _cases(_findings(), multi_label=True), {"a": 0.5, "b": 0.5}, 3)
    assert [(item.class_name, item.outcome, item.image_id, item.truth) for item in items] == [
        ("a", "true positive", "i0", "a|b"),
        ("a", "false positive", "i1", "none"),
        ("a", "false negative", "i2", "a"),
        ("b", "true positive", "i0", "a|b"),
        ("b", "false negative", "i3", "b"),
        ("b", "true negative", "i1", "none"),
    ]


def test_no_outcomes_are_drawn_without_operating_points_or_images() -> None:
    assert draw_outcomes(_explainer(_net()), _cases(_frame(["a"], [0.9])), {}, 1) == []
    assert draw_outcomes(_explainer(_net()), _cases(_frame([], [])), {"a": 0.5}, 1) == []


def test_the_bar_runs_from_the_maximum_to_grey_with_the_contour_in_the_middle() -> None:
    picture = np.asarray(Image.open(io.BytesIO(draw_cam(GREY, _bump()))).convert("RGB")).astype(np.int64)
    bar = picture[:, -BAR:]
    assert (bar == bar[:, :1]).all()
    assert bar[0, 0].tolist() == pytest.approx([209, 195, 68], abs=2)  # viridis' yellow over mid grey
    assert (bar[-TILE // 4 :] == 128).all()
    (white,) = np.flatnonzero((bar[:, 0] == 255).all(axis=1))
    assert white == pytest.approx(TILE / 2, abs=1)


def test_the_peak_of_a_plateau_is_its_middle() -> None:
    cam = np.zeros((9, 9), dtype=np.float32)
    cam[2:7, 6:9] = 1
    assert peak(cam) == (4, 7)


def test_the_peak_of_two_equal_maxima_is_one_of_them() -> None:
    cam = np.zeros((9, 9), dtype=np.float32)
    cam[1, 1] = cam[7, 7] = 1
    assert peak(cam) == (1, 1)
