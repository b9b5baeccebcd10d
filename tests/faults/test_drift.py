"""Faults of drift monitoring: hostile windows, a year without drift, and shifts that must be seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from data_contracts.drift.judge import Scorer, judge_window
from data_contracts.drift.profile import ReferenceProfile
from data_contracts.drift.settings import MonitorSettings
from data_contracts.drift.verdict import DriftVerdict, FeatureDrift, Window
from tests.scored_images import CLASSES, scored_images

SETTINGS = MonitorSettings(resamples=1_000)


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> ReferenceProfile:
    return ReferenceProfile.write(tmp_path_factory.mktemp("f43") / "profile", *scored_images(600), CLASSES)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("limits")


def judged(
    profile: ReferenceProfile,
    frame: pd.DataFrame,
    embeddings: NDArray[np.float32] | None,
    cache: Path,
    week: int = 0,
    earlier: tuple[DriftVerdict, ...] = (),
) -> DriftVerdict:
    verdict = judge_window(
        profile,
        frame,
        embeddings,
        scorer=Scorer("model", "1", "hash"),
        window=Window(id=f"{week:03}", since=f"{week:03}", until=f"{week + 1:03}", n=len(frame)),
        settings=SETTINGS,
        earlier=earlier,
        cache=cache,
    )
    assert DriftVerdict.model_validate_json(verdict.model_dump_json()) == verdict
    return verdict


def feature(verdict: DriftVerdict, name: str) -> FeatureDrift:
    return next(one for layer in verdict.layers for one in layer.features if one.name == name)


@pytest.mark.parametrize("n", [0, 1, 5, 199])
def test_f43_a_window_of_too_few_images_is_insufficient(profile: ReferenceProfile, cache: Path, n: int) -> None:
    frame, embeddings = scored_images(200, seed=1)
    verdict = judged(profile, frame[:n], embeddings[:n], cache)
    assert verdict.verdict == verdict.outcome == "insufficient"
    assert {layer.outcome for layer in verdict.layers} == {"insufficient"}
    assert all("200 are needed" in layer.why for layer in verdict.layers)


def test_f43_a_window_without_a_single_column_is_no_crash(profile: ReferenceProfile, cache: Path) -> None:
    assert judged(profile, pd.DataFrame(), None, cache).verdict == "insufficient"
    verdict = judged(profile, pd.DataFrame(index=range(250)), None, cache)
    assert {layer.outcome for layer in verdict.layers if layer.layer != "contract"} == {"not evaluated"}
    assert feature(verdict, "mean").note == "not in the window"


@pytest.mark.parametrize("column", ["age", "mean", "view", "source", "p_sick"])
def test_f43_an_empty_column_carries_a_note_and_takes_no_other_column_along(
    profile: ReferenceProfile, cache: Path, column: str
) -> None:
    frame, embeddings = scored_images(220, seed=2)
    whole = judged(profile, frame, embeddings, cache)
    frame[column] = "" if frame[column].dtype == "str" else np.nan
    verdict = judged(profile, frame, embeddings, cache)
    assert feature(verdict, column).value is None
    assert feature(verdict, column).note == "known for no images of the window"
    others = [
        (one.name, one.value)
        for layer in verdict.layers
        for one in layer.features
        if one.name not in (column, "entropy", "predicted")
    ]
    expected = {one.name: one.value for layer in whole.layers for one in layer.features}
    assert all(expected[name] == value for name, value in others)


def test_f43_constant_columns_and_infinite_and_impossible_numbers_are_compared_or_noted(
    profile: ReferenceProfile, cache: Path
) -> None:
    frame, embeddings = scored_images(220, seed=2)
    frame["mean"], frame["width"], frame["std"] = 100.0, 0, np.inf
    frame["age"] = frame["age"].astype(object)
    frame.loc[3, "age"] = "fifty"
    embeddings[5] = np.inf
    verdict = judged(profile, frame, embeddings, cache)
    assert feature(verdict, "mean").drifted
    assert feature(verdict, "width").note == "known for no images of the window"
    assert feature(verdict, "std").note == "known for no images of the window"
    assert "unknown for 1 of 220 images" in feature(verdict, "age").note
    assert "1 images have no finite embedding" in feature(verdict, "linear classifier").note


def test_f43_columns_that_are_constant_on_both_sides_say_so(profile: ReferenceProfile, cache: Path) -> None:
    verdict = judged(profile, *scored_images(220, seed=2), cache)
    assert feature(verdict, "mode").note == "one value only"
    assert not feature(verdict, "mode").drifted


def test_f43_a_column_the_reference_lacks_is_noted(tmp_path: Path) -> None:
    frame, embeddings = scored_images(300)
    without = ReferenceProfile.write(tmp_path / "p", frame.drop(columns=["sex"]), embeddings, CLASSES)
    verdict = judged(without, *scored_images(220, seed=2), tmp_path)
    assert feature(verdict, "sex").note == "not in the reference"
    assert verdict.layers[0].outcome == "quiet"


def test_f43_categories_never_seen_before_are_found_and_never_crash(
    profile: ReferenceProfile, cache: Path
) -> None:
    frame, embeddings = scored_images(220, seed=2)
    frame.loc[:11, "format"] = "DICOM"
    verdict = judged(profile, frame, embeddings, cache)
    assert verdict.layers[0].outcome == "exceeded"
    assert "DICOM" in feature(verdict, "format").note
    assert {mover.image_id for mover in verdict.movers} <= set(frame.loc[:11, "image_id"])
    frame["format"] = "PNG"
    frame.loc[0, "format"] = "GIF"  # one odd file in a window is no drift
    assert judged(profile, frame, embeddings, cache).layers[0].outcome == "quiet"


def test_f43_embeddings_of_another_width_are_not_compared(profile: ReferenceProfile, cache: Path) -> None:
    frame, embeddings = scored_images(220, seed=2)
    layer = judged(profile, frame, embeddings[:, :3], cache).layer("embedding")
    assert layer is not None
    assert layer.outcome == "not evaluated"
    assert "(220, 3)" in layer.why


def test_f43_a_reference_too_small_to_calibrate_on_is_said(tmp_path: Path) -> None:
    small = ReferenceProfile.write(tmp_path / "p", *scored_images(30), CLASSES)
    verdict = judged(small, *scored_images(220, seed=2), tmp_path)
    assert verdict.verdict == "insufficient"
    assert "30 images" in verdict.reasons[0]


def test_f44_a_year_without_drift_alarms_no_more_often_than_stated(profile: ReferenceProfile, cache: Path) -> None:
    history: tuple[DriftVerdict, ...] = ()
    for week in range(52):
        history += (judged(profile, *scored_images(200, seed=100 + week), cache, week, history[-3:]),)
    # More than this happens in fewer than one of a thousand years at the stated rate.
    assert sum(one.outcome == "exceeded" for one in history) <= binom.isf(0.001, 52, SETTINGS.false_alarm_rate)
    assert "alarm" not in {one.verdict for one in history}
    assert all(layer.outcome != "insufficient" for one in history for layer in one.layers)


@pytest.mark.parametrize("shift", ["contrast", "inversion", "new source"])
def test_f45_a_true_shift_alarms_in_the_second_window(profile: ReferenceProfile, cache: Path, shift: str) -> None:
    history: tuple[DriftVerdict, ...] = ()
    for week in range(2):
        frame, embeddings = scored_images(200, seed=20 + week)
        if shift == "contrast":
            frame["std"] *= 0.8
        elif shift == "inversion":  # a twentieth of the images, which scoring refuses
            frame["refused"] = np.where(np.arange(200) % 20 == 0, "looks inverted", "")
            embeddings = embeddings[frame["refused"] == ""]
        else:
            frame.loc[:20, "source"] = "another hospital"
        history += (judged(profile, frame, embeddings, cache, week, history),)
    assert [one.verdict for one in history] == ["watch", "alarm"]
    expected = {"contrast": "descriptors", "inversion": "contract", "new source": "acquisition"}[shift]
    assert [layer.layer for layer in history[1].layers if layer.outcome == "exceeded"] == [expected]


def test_f45_a_window_that_is_refused_whole_still_alarms(profile: ReferenceProfile, cache: Path) -> None:
    frame, _ = scored_images(200, seed=3)
    frame["refused"] = "looks inverted"
    verdict = judged(profile, frame, np.empty((0, 24), np.float32), cache)
    assert verdict.outcome == "exceeded"
    assert verdict.layer("outputs").outcome == "insufficient"  # type: ignore[union-attr]
