"""The audit's parts: verdicts by interval, probes that leak no group, changes that change what they say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from models.audit import changes, probes
from models.audit.areas import compare_areas
from models.audit.descriptions import DESCRIPTIONS
from models.audit.items import item, unevaluated
from models.audit.model_tests import paediatric_probe, source_probe
from models.audit.results import LIMITS, RELATIVE_TO_MODEL, REQUIRED, Limits, Verdict, overall
from models.audit.sample import Sample, answers_to, flips, moves
from models.audit.settings import AuditSettings
from models.audit.verdicts import judge, judge_without_disease
from models.evaluation.predictions import sealed_probabilities
from models.evaluation.results import Estimate
from models.preprocessing import Preprocessing
from tests.unit.test_bundle import make_spec

SETTINGS = AuditSettings(bootstrap_resamples=200)


def estimate(low: float, high: float) -> Estimate:
    return Estimate(value=(low + high) / 2, low=low, high=high, n=100, method="group-bootstrap")


NOTHING = Estimate(value=None, n=0, undefined="nobody knows")
EXACT = Estimate(value=0.95, n=9, method="no interval: all resamples give the same value")
UNSURE = Estimate(value=0.5, n=9, method="no interval: 300 of 1000 resamples lack a class")


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (estimate(0.50, 0.65), "pass"),
        (estimate(0.65, 0.85), "pass"),
        (estimate(0.70, 0.80), "warn"),
        (estimate(0.60, 0.95), "warn"),  # from passing to failing: cannot tell
        (estimate(0.85, 0.99), "warn"),  # not all of it fails
        (estimate(0.90, 0.99), "fail"),
        (EXACT, "fail"),
        (NOTHING, "not evaluated"),
        (UNSURE, "not evaluated"),
    ],
)
def test_a_verdict_needs_the_whole_interval(found: Estimate, verdict: Verdict) -> None:
    assert judge(found, Limits(warn_from=0.70, fail_from=0.90))[0] == verdict


def test_what_cannot_fail_warns_at_most() -> None:
    limits = LIMITS["paediatric_probe"]
    assert judge(estimate(0.95, 0.99), limits)[0] == "warn"
    assert judge(estimate(0.80, 0.99), limits)[0] == "pass"


@pytest.mark.parametrize(
    ("auc", "share", "verdict"),
    [
        (estimate(0.45, 0.58), estimate(-0.2, 0.3), "pass"),
        (estimate(0.62, 0.70), estimate(0.20, 0.40), "warn"),  # a small share, but clearly something
        (estimate(0.62, 0.80), estimate(0.55, 0.90), "fail"),
        (estimate(0.52, 0.70), estimate(0.55, 0.90), "warn"),  # a large share of little
        (estimate(0.52, 0.58), estimate(0.10, 0.60), "warn"),
        (estimate(0.50, 0.58), NOTHING, "not evaluated"),  # the network itself knows nothing
        (estimate(0.70, 0.90), NOTHING, "warn"),
        (NOTHING, NOTHING, "not evaluated"),
    ],
)
def test_skill_without_lungs_is_held_against_the_network(auc: Estimate, share: Estimate, verdict: Verdict) -> None:
    assert judge_without_disease(auc, share, LIMITS["border_only"])[0] == verdict


def test_every_test_has_a_description_and_limits() -> None:
    assert set(DESCRIPTIONS) == set(LIMITS)
    assert {*REQUIRED, *RELATIVE_TO_MODEL} <= set(LIMITS)


def test_there_is_no_pass_without_the_tests_that_any_images_allow() -> None:
    passed = [item(name, estimate(0, 0.01), ("pass", "")) for name in REQUIRED]
    rest = [unevaluated(name, "one source") for name in LIMITS if name not in REQUIRED]
    assert overall([*passed, *rest]) == "pass"
    assert overall([*passed[1:], unevaluated(passed[0].name, "too few")]) == "not evaluated"
    assert overall([*passed, item("source_swap", estimate(0, 1), ("warn", ""))]) == "warn"
    assert overall([*rest, item("source_swap", estimate(0, 1), ("fail", ""))]) == "fail"
    assert overall([]) == "not evaluated"


def sample(truth: np.ndarray, **columns: object) -> Sample:
    n = len(truth)
    frame = pd.DataFrame({"group_id": [f"g{i}" for i in range(n)], "source": "a", "nodes": "", "age": np.nan})
    return Sample(frame.assign(**columns), truth, np.full(truth.shape, 0.5))


def test_the_source_probe_sees_only_differences_within_a_class() -> None:
    """Features that tell the class, and with it nearly the source, tell no source once the class is known."""
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], 200)
    source = np.where(rng.random(400) < np.where(label == 0, 0.8, 0.2), "a", "b")
    found = sample(np.eye(2, dtype=np.int8)[label], source=source)
    noise = rng.normal(size=(400, 6)).astype(np.float32)
    of_class, of_source = noise.copy(), noise.copy()
    of_class[:, 0] += 4 * label
    of_source[:, 0] += 4 * (source == "a")
    harmless = source_probe(of_class, found, ["one", "two"], SETTINGS)
    harmful = source_probe(of_source, found, ["one", "two"], SETTINGS)
    assert harmless.estimate.value == pytest.approx(0.5, abs=0.1)
    assert (harmless.verdict, harmful.verdict) == ("pass", "fail")
    assert set(harmful.also) == {"by class: one", "by class: two"}


def test_probes_never_learn_from_the_group_they_score() -> None:
    """Each patient has a look and a label of their own by chance: across patients there is nothing to learn."""
    rng = np.random.default_rng(1)
    look, label = rng.normal(size=(60, 40)), rng.integers(0, 2, 60)
    patient = np.repeat(np.arange(60), 6)
    features = (look[patient] + 0.05 * rng.normal(size=(360, 40))).astype(np.float32)
    truth = label[patient].astype(np.int8)[:, None]
    groups = patient.astype(np.str_)
    scores = probes.out_of_fold(features, truth, groups, seed=0)
    assert compare_areas(truth, scores, scores, groups, SETTINGS).auc.value == pytest.approx(0.5, abs=0.2)
    each_alone = np.arange(360).astype(np.str_)
    leaking = probes.out_of_fold(features, truth, each_alone, seed=0)
    leak = compare_areas(truth, leaking, leaking, groups, SETTINGS).auc.value
    assert leak is not None
    assert leak > 0.7


def test_children_are_looked_for_among_normal_images_with_an_age() -> None:
    rng = np.random.default_rng(2)
    age = np.concatenate([rng.uniform(1, 10, 40), rng.uniform(30, 80, 40), np.full(40, np.nan)])
    features = rng.normal(size=(120, 4)).astype(np.float32)
    features[:40, 0] += 6
    found = sample(np.ones((120, 1), dtype=np.int8), age=age, nodes="no_finding")
    assert paediatric_probe(features, found, SETTINGS).verdict == "warn"
    ill = sample(np.ones((120, 1), dtype=np.int8), age=age, nodes="covid19")
    assert paediatric_probe(features, ill, SETTINGS).verdict == "not evaluated"


def test_metadata_alone_can_give_a_class_away() -> None:
    n = 200
    label = np.arange(n) % 2
    frame = pd.DataFrame({"mode": np.where(label, "L", "RGB"), "format": "PNG", "view": "", "sex": ""})
    frame = frame.assign(width=300, height=300, age=np.nan)
    truth = np.eye(2, dtype=np.int8)[label]
    groups = np.arange(n).astype(np.str_)
    half = np.arange(n) < n // 2

    def auc(rows: pd.DataFrame) -> float | None:
        features = [probes.metadata(rows[part], rows[half]) for part in (half, ~half)]
        scores = probes.learned_from_training(features[0], truth[half], groups[half], features[1], seed=0)
        return compare_areas(truth[~half], scores, scores, groups[~half], SETTINGS).auc.value

    assert auc(frame) == 1
    assert auc(frame.assign(mode="L")) == 0.5
    assert auc(frame.assign(mode="L", width=np.where(label, 300, 299))) == 1
    assert auc(frame.assign(mode="L", age=np.where(label, np.nan, 40.0))) == 1


def test_a_value_never_seen_in_training_is_no_column() -> None:
    training = pd.DataFrame({"mode": ["L"], "format": ["PNG"], "view": ["PA"], "sex": ["F"]})
    training = training.assign(width=300, height=300, age=40.0)
    asked = training.assign(mode="RGBA", width=9999)
    assert probes.metadata(asked, training).shape == probes.metadata(training, training).shape


@pytest.mark.parametrize("size", [32, 64, 224])
def test_markers_stay_in_the_corners(size: int) -> None:
    image = np.full((1, size, size), 100, dtype=np.uint8)
    image[0, size // 2 - 2 : size // 2 + 2] = 7
    for kind in changes.MARKERS:
        changed = changes.marked(image, kind)[0] != image[0]
        assert changed.any(), kind
        assert not changed[size // 5 : -size // 5].any(), kind
    assert not changes.marked(image, "R pasted")[0, :, size // 2 :].max() > 100
    assert not changes.marked(image, "L pasted")[0, :, : size // 2].max() > 100


def test_the_black_centre_has_its_share_of_the_area() -> None:
    assert changes.centre_mask(224).mean() == pytest.approx(changes.CENTRE, abs=0.01)
    image = np.full((1, 50, 50), 9, dtype=np.uint8)
    assert set(np.unique(changes.black_centre(image))) == {0, 9}
    assert changes.black_centre(image)[0, 0].all()


def test_geometry_moves_the_picture_as_it_says() -> None:
    image = np.random.default_rng(0).integers(0, 256, (2, 40, 40)).astype(np.uint8)
    identity = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    np.testing.assert_array_equal(changes.moved(image, identity), image)
    mirrored = changes.geometries(mirrored=True)["mirrored"]
    np.testing.assert_array_equal(changes.moved(image, mirrored), image[:, :, ::-1])
    assert "mirrored" not in changes.geometries(mirrored=False)


def test_a_matched_image_has_the_wanted_histogram_and_keeps_its_order_of_levels() -> None:
    rng = np.random.default_rng(0)
    dark, bright = (rng.normal(level, 20, (1, 96, 96)).clip(0, 255).astype(np.uint8) for level in (80, 150))
    (wanted,) = changes.histograms(bright)
    matched = changes.with_histogram(dark, [wanted])
    assert abs(matched.mean() - bright.mean()) < 2
    assert abs(matched.std() - bright.std()) < 2
    order = np.argsort(dark.ravel(), kind="stable")
    assert (np.diff(matched.ravel()[order].astype(int)) >= 0).all()
    itself = changes.with_histogram(dark, list(changes.histograms(dark)))
    assert np.abs(itself.astype(int) - dark).max() <= 1


def test_a_flip_is_another_answer_and_a_move_is_that_of_the_first_answer() -> None:
    before = np.array([[0.6, 0.4], [0.55, 0.45]])
    after = np.array([[0.9, 0.1], [0.4, 0.6]])
    assert flips(before, after, None).tolist() == [False, True]
    np.testing.assert_allclose(moves(before, after), [0.3, 0.15])
    # Several classes at once: a call at its own threshold.
    assert flips(before, after, np.array([0.7, 0.05])).tolist() == [True, False]


def test_a_change_that_changes_nothing_moves_no_answer() -> None:
    """The network is asked again at the temperature that its predictions were made with."""
    images = np.random.default_rng(0).integers(0, 256, (70, 16, 16), dtype=np.uint8)
    rows = np.arange(len(images))[::-1].copy()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(256, 4))
    spec = make_spec(image_size=16, preprocessing=Preprocessing(size=16, mode="unit"), temperature=0.2)
    before = sealed_probabilities(model, spec, images, rows)
    after = answers_to(lambda unchanged, _: unchanged, model, spec, images, rows)
    assert moves(before, after).max() == pytest.approx(0, abs=1e-6)


def test_a_network_no_better_than_chance_has_no_skill_to_lose() -> None:
    rng = np.random.default_rng(0)
    truth = np.eye(2, dtype=np.int8)[np.arange(200) % 2]
    areas = compare_areas(
        truth, truth.astype(float), rng.random((200, 2)), np.arange(200).astype(np.str_), SETTINGS
    )
    assert areas.auc.value == 1
    assert "not shown to be better than chance" in areas.share.undefined
    assert areas.loss.undefined == areas.share.undefined


def test_a_class_of_few_images_is_left_out() -> None:
    truth = np.zeros((100, 3), dtype=np.int8)
    truth[np.arange(100), np.r_[np.zeros(48, int), np.ones(47, int), np.full(5, 2)]] = 1
    scores = truth.astype(float)
    scores[:, 2] = 1 - scores[:, 2]  # always wrong about the class of five
    groups = np.arange(100).astype(np.str_)
    assert compare_areas(truth, scores, scores, groups, SETTINGS).auc.value == 1
    nothing = compare_areas(truth[:30], scores[:30], scores[:30], groups[:30], SETTINGS)
    assert "no class has 20 images" in nothing.auc.undefined
