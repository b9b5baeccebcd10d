"""Performance of a window: what probabilities expect of themselves, and what labels say when they arrive."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from data_contracts.drift.performance import ClassFigures, Figure
from data_contracts.drift.performance_estimate import estimate_performance
from data_contracts.drift.performance_outcome import measure_performance
from data_contracts.errors import UsageProblem

CLASSES = ("covid19", "normal", "pneumothorax")
THRESHOLDS = {"covid19": 0.3, "normal": 0.4, "pneumothorax": 0.25}


def calibrated(n: int, *, seed: int, sharpness: float = 2.0, per_patient: int = 1) -> pd.DataFrame:
    """Images whose probabilities are the truth's own distribution, so that they are calibrated by construction."""
    rng = np.random.default_rng(seed)
    logits = np.repeat(rng.normal(0, sharpness, (n // per_patient, len(CLASSES))), per_patient, axis=0)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    label = [CLASSES[rng.choice(len(CLASSES), p=row)] for row in p]
    frame = pd.DataFrame({f"p_{name}": p[:, k] for k, name in enumerate(CLASSES)})
    for name, threshold in THRESHOLDS.items():
        frame[f"call_{name}"] = np.where(frame[f"p_{name}"] >= threshold, "positive", "negative")
    patients = [f"site:{row // per_patient:05d}" for row in range(len(p))]
    ids = [f"{row:064x}" for row in range(len(p))]
    return frame.assign(label=label, patient=patients, image_id=ids, refused="")


def by_name(figures: tuple[ClassFigures, ...]) -> dict[str, ClassFigures]:
    return {row.name: row for row in figures}


def within(truth: float, figure: Figure) -> bool:
    assert figure.low is not None
    assert figure.high is not None
    return figure.low - 0.02 <= truth <= figure.high + 0.02


def test_expected_confusion_of_four_images_is_what_a_pencil_finds() -> None:
    p = [0.9, 0.6, 0.2, 0.1]  # called from 0.5: expected positives 1.8, of which 1.5 are called
    window = pd.DataFrame({"p_sick": p, "p_well": [1 - x for x in p]})
    found = estimate_performance(window[:0], window, ("sick", "well"), operating_points={"sick": 0.5})
    sick = by_name(found.classes)["sick"]
    assert sick.sensitivity.value == pytest.approx(1.5 / 1.8)
    assert sick.specificity.value == pytest.approx(1.7 / 2.2)
    assert (sick.positives, sick.called) == (pytest.approx(1.8), 2)
    assert found.accuracy.value == pytest.approx((0.9 + 0.6 + 0.8 + 0.9) / 4)
    assert by_name(found.classes)["well"].sensitivity.undefined == "the class has no operating point"


def test_the_estimate_agrees_with_the_truth_when_only_the_mix_of_images_has_changed() -> None:
    reference, window = calibrated(3000, seed=1), calibrated(3000, seed=2, sharpness=1.0)
    estimate = estimate_performance(reference, window, CLASSES)
    truth = measure_performance(window, window[["image_id", "label"]], CLASSES)
    for name, measured in by_name(truth.classes).items():
        expected = by_name(estimate.classes)[name]
        assert measured.sensitivity.value is not None
        assert measured.specificity.value is not None
        assert within(measured.sensitivity.value, expected.sensitivity)
        assert within(measured.specificity.value, expected.specificity)
    assert truth.accuracy.value is not None
    assert within(truth.accuracy.value, estimate.accuracy)
    # On the reference it was clearly more accurate: the estimate has followed the window.
    easy = measure_performance(reference, reference[["image_id", "label"]], CLASSES).accuracy.value
    assert easy is not None
    assert easy - truth.accuracy.value > 0.1


def test_the_threshold_of_atc_leaves_as_many_below_as_were_wrong() -> None:
    # Garg et al. 2022, eq. 1: two of five are wrong, so the two least confident lie below the threshold.
    reference = pd.DataFrame(
        {"p_a": [0.95, 0.9, 0.8, 0.7, 0.6], "p_b": [0.05, 0.1, 0.2, 0.3, 0.4], "label": ["a", "b", "a", "a", "b"]}
    )
    window = pd.DataFrame({"p_a": [0.85, 0.75, 0.65, 0.1], "p_b": [0.15, 0.25, 0.35, 0.9]})
    found = estimate_performance(reference, window, ("a", "b"))
    assert found.atc_threshold == pytest.approx(0.8)
    assert found.atc.value == pytest.approx(2 / 4)


def test_atc_on_its_own_reference_gives_back_the_accuracy() -> None:
    reference = calibrated(2000, seed=3)
    found = estimate_performance(reference, reference, CLASSES)
    truth = measure_performance(reference, reference[["image_id", "label"]], CLASSES).accuracy.value
    assert found.atc.value == pytest.approx(truth, abs=1e-3)


def test_the_assumption_is_part_of_every_estimate() -> None:
    found = estimate_performance(calibrated(50, seed=4), calibrated(50, seed=5), CLASSES)
    assert "Invalid under concept shift" in found.assumption
    assert "assumption" in found.model_dump(mode="json")


def test_a_reference_on_which_the_estimate_fails_is_pointed_out() -> None:
    reference = calibrated(1000, seed=6)
    reference["label"] = np.where(reference["p_covid19"] > 0.5, "normal", reference["label"])
    found = estimate_performance(reference, calibrated(200, seed=7), CLASSES)
    assert any("sensitivity for covid19 was estimated as" in note for note in found.notes)
    assert by_name(found.reference_measured)["covid19"].sensitivity.value is not None


def test_images_of_one_patient_widen_the_interval() -> None:
    reference = calibrated(500, seed=8)
    grouped = calibrated(600, seed=9, per_patient=6)
    alone = grouped.assign(patient="")
    widths = []
    for window in (grouped, alone):
        accuracy = estimate_performance(reference, window, CLASSES).accuracy
        assert accuracy.low is not None
        assert accuracy.high is not None
        widths.append(accuracy.high - accuracy.low)
    assert widths[0] > 1.7 * widths[1]


def test_the_same_seed_gives_the_same_bytes() -> None:
    reference, window = calibrated(300, seed=10), calibrated(300, seed=11)
    one, other = (estimate_performance(reference, window, CLASSES, seed=5) for _ in range(2))
    assert one.model_dump_json() == other.model_dump_json()


def test_f43_a_window_without_a_scored_image_is_undefined_with_a_reason() -> None:
    reference = calibrated(100, seed=12)
    refused = calibrated(5, seed=13).assign(refused="blank", **{f"p_{name}": np.nan for name in CLASSES})
    for window in (refused, refused[:0], pd.DataFrame({"image_id": ["a"]})):
        found = estimate_performance(reference, window, CLASSES)
        assert found.n == 0
        assert found.accuracy.undefined == "no scored image in the window"
        assert found.classes[0].sensitivity.value is None
        measured = measure_performance(window, pd.DataFrame(columns=["image_id", "label"]), CLASSES)
        assert measured.accuracy.undefined == "no image of the window has a label yet"


def test_one_image_has_an_estimate_but_no_interval() -> None:
    found = estimate_performance(calibrated(100, seed=14), calibrated(1, seed=15), CLASSES)
    assert found.accuracy.value is not None
    assert found.accuracy.low is None
    assert found.classes[0].sensitivity.undefined == "fewer than one image of the class expected"


def test_with_several_classes_at_once_there_is_no_accuracy() -> None:
    frame = calibrated(40, seed=16)
    frame["label"] = np.where(frame["label"] == "normal", "none", "covid19|pneumothorax")
    frame["unknown_classes"] = ""
    found = estimate_performance(frame, frame, CLASSES, multi_label=True)
    assert found.accuracy.undefined == "several classes may be true at once"
    assert found.classes[0].sensitivity.value is not None
    rows = pd.DataFrame({"image_id": ["a", "a", "b"], "label": ["covid19", "pneumothorax", "none"]})
    window = frame[:3].assign(image_id=["a", "b", "c"])
    measured = measure_performance(window, rows, CLASSES, multi_label=True)
    assert [row.positives for row in measured.classes] == [1, 0, 1]
    assert (measured.n, measured.awaiting) == (2, 1)


def test_sensitivity_with_labels_has_the_published_wilson_interval() -> None:
    # Newcombe 1998, Statistics in Medicine 17:857, method 3: 81 of 263 is 0.2553 to 0.3662.
    window = pd.DataFrame(
        {
            "image_id": [str(row) for row in range(300)],
            "p_sick": 0.5,
            "p_well": 0.5,
            "call_sick": ["positive"] * 81 + ["negative"] * 219,
        }
    )
    labels = pd.DataFrame({"image_id": window["image_id"], "label": ["sick"] * 263 + ["well"] * 37})
    sick = measure_performance(window, labels, ("sick", "well")).classes[0]
    assert (sick.sensitivity.n, sick.sensitivity.method) == (263, "wilson")
    assert sick.sensitivity.low == pytest.approx(0.2553, abs=5e-5)
    assert sick.sensitivity.high == pytest.approx(0.3662, abs=5e-5)
    assert sick.specificity.value == 1
    assert sick.specificity.method == "clopper-pearson"


def test_labels_that_cannot_be_used_are_counted_and_named() -> None:
    window = calibrated(5, seed=17)
    ids = window["image_id"].tolist()
    labels = pd.DataFrame(
        {
            "image_id": [ids[0], ids[1], ids[1], ids[2], "elsewhere"],
            "label": ["covid19", "covid19", "normal", "fracture", "normal"],
        }
    )
    found = measure_performance(window, labels, CLASSES)
    assert (found.n, found.awaiting, found.elsewhere) == (1, 4, 1)
    assert "1 labels were left out: 'fracture' is no class of the model." in found.notes
    assert "1 images were left out: they were given two different labels." in found.notes
    assert any("1 of 5 scored images have a label" in note for note in found.notes)


def test_a_table_of_labels_without_its_columns_says_what_to_give() -> None:
    with pytest.raises(UsageProblem, match=r"no column label"):
        measure_performance(calibrated(3, seed=18), pd.DataFrame({"image_id": ["a"]}), CLASSES)
