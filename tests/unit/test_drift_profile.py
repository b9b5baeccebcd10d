"""The reference profile is the same for the same images, holds no patient and notices damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_contracts.drift.profile import PROJECTION, REFERENCE, ReferenceProfile, few_of_each, groups_of
from data_contracts.errors import ModelGateError, UsageProblem
from tests.scored_images import CLASSES, scored_images


def test_equal_images_give_equal_bytes(tmp_path: Path) -> None:
    frame, embeddings = scored_images(120)
    first, second = (ReferenceProfile.write(tmp_path / name, frame, embeddings, CLASSES) for name in "ab")
    assert first.content_hash == second.content_hash
    assert (first.folder / PROJECTION).read_bytes() == (second.folder / PROJECTION).read_bytes()
    other = ReferenceProfile.write(tmp_path / "c", frame.iloc[1:], embeddings[1:], CLASSES)
    assert other.content_hash != first.content_hash


def test_a_profile_knows_groups_and_no_patients(tmp_path: Path) -> None:
    frame, embeddings = scored_images(80)
    profile = ReferenceProfile.write(tmp_path / "p", frame.assign(patient="site:NAME"), embeddings, CLASSES)
    assert "patient" not in profile.frame
    assert b"site:NAME" not in (tmp_path / "p" / REFERENCE).read_bytes()
    assert profile.frame["group_id"].tolist() == frame["group_id"].tolist()


def test_writing_twice_changes_nothing_and_another_profile_is_refused(tmp_path: Path) -> None:
    frame, embeddings = scored_images(80)
    ReferenceProfile.write(tmp_path / "p", frame, embeddings, CLASSES)
    ReferenceProfile.write(tmp_path / "p", frame, embeddings, CLASSES)
    with pytest.raises(ModelGateError, match="something else"):
        ReferenceProfile.write(tmp_path / "p", frame.iloc[1:], embeddings[1:], CLASSES)
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


@pytest.mark.parametrize("damage", [REFERENCE, PROJECTION, "profile.json"])
def test_a_damaged_profile_is_refused(tmp_path: Path, damage: str) -> None:
    frame, embeddings = scored_images(80)
    folder = ReferenceProfile.write(tmp_path / "p", frame, embeddings, CLASSES).folder
    data = (folder / damage).read_bytes()
    (folder / damage).write_bytes(data[:-7])
    with pytest.raises(ModelGateError, match="cannot be used"):
        ReferenceProfile.open(folder)


def test_rows_and_embeddings_must_fit_each_other(tmp_path: Path) -> None:
    frame, embeddings = scored_images(80)
    with pytest.raises(UsageProblem):
        ReferenceProfile.write(tmp_path / "p", frame, embeddings[1:], CLASSES)
    with pytest.raises(UsageProblem, match="p_sick"):
        ReferenceProfile.write(tmp_path / "p", frame.drop(columns="p_sick"), embeddings, CLASSES)


def test_the_projection_is_fitted_on_images_that_windows_are_not_compared_with(tmp_path: Path) -> None:
    """Of pure noise the fitted images seem to spread more than all others, and a fitted reference would alarm."""
    frame, _ = scored_images(600)
    noise = np.random.default_rng(0).normal(size=(1_200, 256)).astype(np.float32)
    profile = ReferenceProfile.write(tmp_path / "p", frame, noise[:600], CLASSES)
    fitted, compared = profile.projected[profile.fitted], profile.projected[~profile.fitted]
    new = profile.project(noise[600:])
    assert fitted.var() > 1.5 * compared.var()
    assert compared.var() == pytest.approx(new.var(), rel=0.05)
    groups = pd.Series(profile.fitted).groupby(profile.frame["group_id"].tolist()).nunique()
    assert (groups == 1).all()


def test_images_without_a_group_are_groups_of_their_own() -> None:
    frame = pd.DataFrame({"group_id": ["a", "", "a", "", "b", None]})
    assert groups_of(frame).tolist() == [0, 1, 0, 2, 3, 4]
    assert groups_of(frame.drop(columns="group_id")).tolist() == list(range(6))
    assert groups_of(frame[:0]).tolist() == []


def test_of_a_group_a_few_images_take_part() -> None:
    assert few_of_each(np.array([0, 1, 0, 0, 0, 2, 0])).tolist() == [True, True, True, True, False, True, False]


def test_embeddings_may_be_missing_or_partly_unknown(tmp_path: Path) -> None:
    frame, embeddings = scored_images(80)
    without = ReferenceProfile.write(tmp_path / "none", frame, np.empty((80, 0), np.float32), CLASSES)
    assert without.projected.shape == (80, 0)
    embeddings[3] = np.nan
    partly = ReferenceProfile.write(tmp_path / "partly", frame, embeddings, CLASSES)
    assert np.isnan(partly.projected[3]).all()
    assert np.isfinite(np.delete(partly.projected, 3, axis=0)).all()
