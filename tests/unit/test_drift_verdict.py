"""A window's verdict: calibrated limits, persistence, and the images that moved it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from data_contracts.drift.calibration import draw_windows, limits_for
from data_contracts.drift.judge import Scorer, judge_window
from data_contracts.drift.persistence import windows_between_false_alarms
from data_contracts.drift.profile import ReferenceProfile
from data_contracts.drift.settings import MonitorSettings
from data_contracts.drift.verdict import DriftVerdict, Window
from data_contracts.errors import UsageProblem
from tests.scored_images import CLASSES, scored_images

SETTINGS = MonitorSettings(resamples=1_000)


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> ReferenceProfile:
    frame, embeddings = scored_images(600)
    return ReferenceProfile.write(tmp_path_factory.mktemp("reference") / "profile", frame, embeddings, CLASSES)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("limits")


def week(number: int, n: int = 200, issue: int = 1) -> Window:
    return Window(id=f"w{number}", since=f"2025-{number:03}", until=f"2025-{number + 1:03}", n=n, issue=issue)


def judged(
    profile: ReferenceProfile,
    scored: tuple[pd.DataFrame, NDArray[np.float32] | None],
    cache: Path,
    *,
    number: int = 1,
    issue: int = 1,
    earlier: list[DriftVerdict] | None = None,
    settings: MonitorSettings = SETTINGS,
    failed_checks: tuple[str, ...] = (),
) -> DriftVerdict:
    return judge_window(
        profile,
        *scored,
        scorer=Scorer("model", "3", "hash"),
        window=week(number, len(scored[0]), issue),
        settings=settings,
        earlier=earlier or [],
        failed_checks=failed_checks,
        cache=cache,
    )


def test_windows_are_drawn_by_whole_groups_and_fill_up_without_overflowing() -> None:
    groups = np.repeat(np.arange(40), np.tile([1, 2, 3, 4], 10))
    members = draw_windows(groups, 30, 200, np.random.default_rng(0))
    for group in range(40):
        assert (members[groups == group].all(axis=0) | ~members[groups == group].any(axis=0)).all()
    assert (members.sum(axis=0) <= 30).all()
    assert (members.sum(axis=0) > 26).all()


def test_limits_are_kept_on_disk_by_profile_size_and_settings_and_made_again_where_damaged(
    profile: ReferenceProfile, tmp_path: Path
) -> None:
    settings = MonitorSettings(resamples=1_000, layers=("descriptors",))
    first = limits_for(profile, 200, settings, tmp_path)
    (kept,) = tmp_path.iterdir()
    kept.write_text(kept.read_text(encoding="utf-8").replace('"drawn":', '"drawn":1'), encoding="utf-8")
    assert limits_for(profile, 200, settings, tmp_path).drawn != first.drawn  # it was read
    kept.write_text("{", encoding="utf-8")
    assert limits_for(profile, 200, settings, tmp_path) == first
    assert limits_for(profile, 201, settings, tmp_path) == first  # next to the same size
    assert len(list(tmp_path.iterdir())) == 1
    limits_for(profile, 290, settings, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_images_of_one_patient_widen_the_limits(tmp_path: Path) -> None:
    alone, of_patients = (
        ReferenceProfile.write(tmp_path / str(size), *scored_images(600, per_group=size), CLASSES)
        for size in (1, 12)
    )
    settings = MonitorSettings(resamples=1_000, layers=("embedding",))
    narrow, wide = (limits_for(one, 200, settings).layers["embedding"].limit(0.01) for one in (alone, of_patients))
    assert wide > 1.5 * narrow


def test_a_verdict_is_the_same_again_and_survives_json(profile: ReferenceProfile, cache: Path) -> None:
    scored = scored_images(250, seed=5)
    first, second = judged(profile, scored, cache), judged(profile, scored, cache)
    assert first.model_dump_json() == second.model_dump_json()
    assert DriftVerdict.model_validate_json(first.model_dump_json()) == first
    assert [layer.layer for layer in first.layers] == [
        "acquisition",
        "descriptors",
        "embedding",
        "outputs",
        "contract",
    ]
    assert sum(first.predicted.values()) == 250


def test_an_alarm_needs_two_of_three_windows(profile: ReferenceProfile, cache: Path) -> None:
    def shifted(number: int, shift: float, earlier: list[DriftVerdict]) -> DriftVerdict:
        scored = scored_images(220, seed=number + 5, shift=shift)
        return judged(profile, scored, cache, number=number, earlier=earlier)

    history: list[DriftVerdict] = []
    for number, shift in enumerate((0, 1, 0, 1, 0, 0, 1)):
        history.append(shifted(number, shift, history[::-1]))
    assert [one.verdict for one in history] == ["quiet", "watch", "quiet", "alarm", "quiet", "quiet", "watch"]
    assert [one.severity for one in history][:4] == ["log", "notify", "log", "hold promotion"]


def test_windows_that_were_issued_again_or_belong_to_another_reference_do_not_count_twice(
    profile: ReferenceProfile, cache: Path
) -> None:
    drifted = scored_images(220, seed=9, shift=1)
    before = judged(profile, drifted, cache, number=1)
    assert judged(profile, drifted, cache, number=1, issue=2, earlier=[before]).verdict == "watch"
    assert judged(profile, drifted, cache, number=2, earlier=[before]).verdict == "alarm"
    other = before.model_copy(update={"profile": "another"})
    assert judged(profile, drifted, cache, number=2, earlier=[other]).verdict == "watch"
    calm = judged(profile, scored_images(220, seed=10), cache, number=1, issue=2)
    assert judged(profile, drifted, cache, number=2, earlier=[calm, before]).verdict == "watch"
    assert judged(
        profile, drifted, cache, number=1, earlier=[judged(profile, drifted, cache, number=2)]
    ).verdict == ("watch")


def test_a_failed_critical_check_is_a_matter_for_a_person(profile: ReferenceProfile, cache: Path) -> None:
    scored = scored_images(220, seed=6)
    first = judged(profile, scored, cache, number=1, failed_checks=("probabilities_sum",))
    assert (first.outcome, first.verdict) == ("exceeded", "watch")
    second = judged(profile, scored, cache, number=2, earlier=[first], failed_checks=("probabilities_sum",))
    assert (second.verdict, second.severity) == ("alarm", "route to a person")
    assert "probabilities_sum" in second.reasons[0]


def test_refused_images_show_in_the_contract_and_are_named_as_movers(
    profile: ReferenceProfile, cache: Path
) -> None:
    frame, embeddings = scored_images(240, seed=7)
    frame["refused"] = np.where(np.arange(240) < 20, "looks inverted", "")
    verdict = judged(profile, (frame, embeddings[20:]), cache)
    contract = verdict.layer("contract")
    assert contract is not None
    assert contract.outcome == "exceeded"
    assert contract.value == pytest.approx(20 / 240)
    assert verdict.refused == {"looks inverted": 20}
    assert sum(verdict.predicted.values()) == 220
    assert {mover.image_id for mover in verdict.movers} <= set(frame["image_id"][:20])
    assert all("looks inverted" in mover.why for mover in verdict.movers)


def test_the_ten_images_that_were_changed_are_the_ones_that_moved_the_verdict(
    profile: ReferenceProfile, cache: Path
) -> None:
    frame, embeddings = scored_images(200, seed=8)
    changed = frame.index[:40]
    frame.loc[changed, ["mean", "p50", "p99"]] += 120
    verdict = judged(profile, (frame, embeddings), cache)
    descriptors = verdict.layer("descriptors")
    assert descriptors is not None
    assert descriptors.outcome == "exceeded"
    assert {feature.name for feature in descriptors.features if feature.drifted} == {"mean", "p50", "p99"}
    assert len(verdict.movers) == 10
    assert {mover.image_id for mover in verdict.movers} <= set(frame.loc[changed, "image_id"])
    assert all(mover.why for mover in verdict.movers)
    assert sum(mover.share for mover in verdict.movers) <= 1


def test_a_patient_with_forty_films_is_no_drift(profile: ReferenceProfile, cache: Path) -> None:
    frame, embeddings = scored_images(220, seed=6)
    looks = frame.columns[frame.columns.get_loc("mean") : frame.columns.get_loc("border_energy") + 1]
    frame.loc[:39, looks] = frame.loc[0, looks].to_numpy(np.float64) + 40
    frame["patient"] = ["site:1"] * 40 + [""] * 180
    assert judged(profile, (frame, embeddings), cache).outcome == "quiet"
    assert judged(profile, (frame.drop(columns="patient"), embeddings), cache).outcome == "exceeded"


def test_one_percent_of_brightness_is_no_drift_and_twenty_percent_is(
    profile: ReferenceProfile, cache: Path
) -> None:
    frame, embeddings = scored_images(250, seed=12)
    for percent, outcome in ((1, "quiet"), (20, "exceeded")):
        brighter = frame.assign(
            saturated=0.0, **{c: frame[c] + 2.55 * percent for c in ("mean", "p01", "p50", "p99")}
        )
        assert judged(profile, (brighter, embeddings), cache).outcome == outcome


def test_a_place_that_the_reference_never_heard_of_is_judged_by_its_images_and_not_by_its_name(
    profile: ReferenceProfile, cache: Path
) -> None:
    frame, embeddings = scored_images(300, seed=9)
    elsewhere = judged(profile, (frame.assign(source="a hospital of its own"), embeddings), cache)

    assert elsewhere.verdict == "quiet"
    source = next(one for one in elsewhere.layer("acquisition").features if one.name == "source")
    assert source.value is None
    assert "none of the window's sources" in source.note


def test_embeddings_of_another_window_are_refused(profile: ReferenceProfile, cache: Path) -> None:
    frame, embeddings = scored_images(220, seed=6)
    with pytest.raises(UsageProblem, match="embeddings"):
        judged(profile, (frame, embeddings[1:]), cache)


@pytest.mark.parametrize(("rate", "confirmations", "windows"), [(0.2, 2, 3), (0.3, 1, 1), (0.4, 3, 5)])
def test_the_run_length_is_what_a_simulation_waits(rate: float, confirmations: int, windows: int) -> None:
    rng = np.random.default_rng(0)
    lengths = []
    for _ in range(1_500):
        seen: list[bool] = []
        while sum(seen[-windows:]) < confirmations:
            seen.append(bool(rng.random() < rate))
        lengths.append(len(seen))
    expected = windows_between_false_alarms(rate, confirmations, windows)
    assert np.mean(lengths) == pytest.approx(expected, abs=4 * float(np.std(lengths)) / np.sqrt(1_500))


def test_two_of_three_windows_of_a_hundredth_each_wait_for_thousands() -> None:
    assert windows_between_false_alarms(0.01, 1, 1) == pytest.approx(100)
    assert windows_between_false_alarms(0.01, 2, 3) == pytest.approx(5_100, rel=0.02)


def test_settings_that_cannot_be_kept_are_refused() -> None:
    for wrong in ({"confirmations": 3, "windows": 2}, {"resamples": 200}, {"layers": ("outputs", "outputs")}):
        with pytest.raises(ValidationError):
            MonitorSettings(**wrong)  # type: ignore[arg-type]
