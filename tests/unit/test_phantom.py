"""The phantom picture: deterministic, honest about its masks, and told apart by looking only."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import ndimage
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from data_contracts.sources.phantom import (
    AcquisitionShift,
    Disease,
    PhantomImage,
    PhantomSettings,
    ShortcutKind,
    ShortcutSettings,
    draw_phantom,
)
from data_contracts.sources.phantom.plan import plan_collection

SICK = [disease for disease in Disease if disease is not Disease.NORMAL]


def draw(disease: Disease, number: int, size: int = 96, **options: object) -> PhantomImage:
    return draw_phantom(disease, seed=5, patient=number, index=number, size=size, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("disease", list(Disease))
def test_a_picture_depends_on_its_arguments_and_not_on_what_was_drawn_before(disease: Disease) -> None:
    first = draw(disease, 4)
    draw(Disease.COVID19, 9)
    again = draw(disease, 4)
    assert np.array_equal(first.pixels, again.pixels)
    assert np.array_equal(first.lesion_mask, again.lesion_mask)
    assert first.severity == again.severity


def test_seed_patient_and_image_each_change_the_picture() -> None:
    base = {"seed": 5, "patient": 1, "index": 1, "size": 64}
    pictures = [draw_phantom(Disease.NORMAL, **base).pixels.tobytes()]
    pictures += [
        draw_phantom(Disease.NORMAL, **{**base, name: 2}).pixels.tobytes() for name in ("seed", "patient", "index")
    ]
    assert len(set(pictures)) == 4


@pytest.mark.parametrize("size", [64, 75, 301])
def test_any_size_shows_the_same_patient(size: int) -> None:
    picture, reference = draw(Disease.OPACITY, 3, size=size), draw(Disease.OPACITY, 3, size=128)
    assert picture.pixels.shape == picture.lung_mask.shape == picture.lesion_mask.shape == (size, size)
    assert picture.pixels.dtype == np.uint8
    assert picture.lung_mask.mean() == pytest.approx(reference.lung_mask.mean(), abs=0.02)
    assert picture.severity == reference.severity


def test_lungs_are_two_dark_fields_and_the_right_one_is_the_larger() -> None:
    pictures = [draw(Disease.NORMAL, number) for number in range(24)]
    shares = np.array([picture.lung_mask.mean() for picture in pictures])
    assert shares.min() > 0.15
    assert shares.max() < 0.5
    assert 0.2 < np.median(shares) < 0.45
    right_larger = 0
    for picture in pictures:
        labels, count = ndimage.label(picture.lung_mask)
        areas = np.sort(ndimage.sum_labels(picture.lung_mask, labels, range(1, count + 1)))[::-1]
        assert count >= 2
        assert areas[:2].sum() > 0.98 * areas.sum()
        half = picture.lung_mask.shape[1] // 2
        right_larger += picture.lung_mask[:, :half].sum() > picture.lung_mask[:, half:].sum()
        bone_and_heart = picture.pixels[:, half - 4 : half + 4].mean()
        assert picture.pixels[picture.lung_mask].mean() < bone_and_heart - 20
    assert right_larger > 18


@pytest.mark.parametrize("disease", SICK)
def test_a_lesion_lies_in_the_lungs_and_its_box_encloses_it(disease: Disease) -> None:
    for number in range(8):
        picture = draw(disease, number, severity=0.5)
        assert picture.lesion_mask.any()
        assert (picture.lesion_mask & picture.lung_mask).sum() == picture.lesion_mask.sum()
        left, top, width, height = picture.lesion_box or (0, 0, 0, 0)
        boxed = picture.lesion_mask[top : top + height, left : left + width]
        assert boxed.sum() == picture.lesion_mask.sum()
        assert boxed.any(axis=0)[[0, -1]].all()
        assert boxed.any(axis=1)[[0, -1]].all()


def test_a_normal_picture_has_no_lesion() -> None:
    picture = draw(Disease.NORMAL, 1)
    assert not picture.lesion_mask.any()
    assert picture.lesion_box is None
    assert picture.severity == 0


@pytest.mark.parametrize("disease", SICK)
def test_a_disease_changes_nothing_far_from_the_lungs(disease: Disease) -> None:
    healthy, ill = draw(Disease.NORMAL, 6), draw(disease, 6, severity=1.0)
    assert np.array_equal(healthy.lung_mask, ill.lung_mask)
    far = ~ndimage.binary_dilation(healthy.lung_mask, iterations=8)
    far &= np.abs(np.arange(96) - 48)[None, :] > 24  # lung lies behind the heart, too
    change = np.abs(healthy.pixels.astype(int) - ill.pixels)
    assert change[far].max() <= 1
    assert change[healthy.lung_mask].max() > 12


@pytest.mark.parametrize("disease", [Disease.COVID19, Disease.BACTERIAL, Disease.VIRAL, Disease.OPACITY])
def test_opacities_brighten_the_lung_and_more_so_with_severity(disease: Disease) -> None:
    for number in range(4):
        healthy = draw(Disease.NORMAL, number).pixels.astype(float)
        lung = draw(disease, number, severity=1.0).lung_mask
        gains = [
            (draw(disease, number, severity=severity).pixels - healthy)[lung].sum() for severity in (0.1, 0.5, 1.0)
        ]
        assert 0 < gains[0] < gains[1] < gains[2]


def test_covid_is_on_both_sides_and_lobar_pneumonia_on_one() -> None:
    for number in range(8):
        covid, bacterial = (draw(d, number, severity=0.8) for d in (Disease.COVID19, Disease.BACTERIAL))
        sides = [(mask[:, :48].sum(), mask[:, 48:].sum()) for mask in (covid.lesion_mask, bacterial.lesion_mask)]
        assert min(sides[0]) > 0
        assert min(sides[1]) == 0


def test_beyond_the_pleural_line_the_lung_is_darker_and_without_markings() -> None:
    """Same patient, pose, exposure and noise with and without the pneumothorax."""
    smoother = []
    for number in range(10):
        healthy = draw(Disease.NORMAL, number, size=192).pixels.astype(float)
        collapsed = draw(Disease.PNEUMOTHORAX, number, size=192, severity=0.8)
        inner = ndimage.binary_erosion(collapsed.lesion_mask, iterations=3)
        assert inner.sum() > 100
        assert collapsed.pixels[inner].mean() < healthy[inner].mean() - 2
        texture = [
            (picture - ndimage.gaussian_filter(picture, 2.0))[inner].std()
            for picture in (collapsed.pixels.astype(float), healthy)
        ]
        smoother.append(texture[0] < texture[1])
    assert sum(smoother) >= 8


def test_effusion_fills_the_base_of_one_lung() -> None:
    dry, wet = draw(Disease.NORMAL, 2), draw(Disease.NORMAL, 2, effusion=0.8)
    rows = np.nonzero(wet.lesion_mask)[0]
    lung_rows = np.nonzero(wet.lung_mask)[0]
    assert rows.mean() > np.percentile(lung_rows, 75)
    assert wet.pixels[wet.lesion_mask].mean() > dry.pixels[wet.lesion_mask].mean() + 30


def test_grey_level_statistics_alone_do_not_tell_the_diseases_apart() -> None:
    task = [Disease.BACTERIAL, Disease.COVID19, Disease.NORMAL, Disease.PNEUMOTHORAX]
    labels = np.arange(140) % 4
    pictures = [draw(task[label], number, size=64).pixels for number, label in enumerate(labels)]
    statistics = [[p.mean(), p.std(), *np.percentile(p, [1, 5, 25, 50, 75, 95, 99])] for p in pictures]
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    accuracy = cross_val_score(probe, np.array(statistics), labels, cv=5).mean()
    assert accuracy < 0.45  # 0.25 by chance, about 0.85 by looking


@pytest.mark.parametrize("kind", [ShortcutKind.MARKER, ShortcutKind.BORDER, ShortcutKind.COLLIMATOR])
def test_a_shortcut_is_visible_at_the_edge_and_leaves_the_chest_alone(kind: ShortcutKind) -> None:
    plain, first, second = (
        draw(Disease.NORMAL, 2, mark=mark) for mark in ((ShortcutKind.NONE, 0), (kind, 1), (kind, 2))
    )
    for marked in (first, second):
        changed = marked.pixels != plain.pixels
        assert changed.any()
        assert not changed[20:-20, 20:-20].any()
    assert not np.array_equal(first.pixels, second.pixels)


def test_the_shortcut_follows_the_source_or_the_disease_as_strictly_as_asked() -> None:
    def variants(**rule: object) -> list[tuple[str, Disease, int]]:
        settings = PhantomSettings(images=200, shortcut=ShortcutSettings(kind=ShortcutKind.MARKER, **rule))  # type: ignore[arg-type]
        return [(plate.source, plate.disease, plate.variant) for plate in plan_collection(settings)]

    assert len({(source, variant) for source, _, variant in variants()}) == 3
    assert len({(disease, variant) for _, disease, variant in variants(follows="disease")}) == len(Disease)
    assert len({(source, variant) for source, _, variant in variants(strength=0.5)}) > 10


def test_shortcut_shift_and_flaws_are_off_by_default() -> None:
    settings = PhantomSettings()
    assert settings.shortcut.kind is ShortcutKind.NONE
    assert settings.shift == AcquisitionShift()
    assert not any(plate.flaw for plate in plan_collection(settings))
    plain = draw(Disease.NORMAL, 1)
    assert np.array_equal(plain.pixels, draw(Disease.NORMAL, 1, shift=AcquisitionShift()).pixels)


def test_each_acquisition_shift_does_what_its_name_says() -> None:
    plain = draw(Disease.BACTERIAL, 1, severity=0.9)

    def shifted(**change: object) -> PhantomImage:
        return draw(Disease.BACTERIAL, 1, severity=0.9, shift=AcquisitionShift(**change))  # type: ignore[arg-type]

    assert shifted(offset=30).pixels.mean() > plain.pixels.mean() + 15
    assert shifted(gain=0.5).pixels.std() < 0.6 * plain.pixels.std()
    assert shifted(gamma=2.0).pixels.mean() < plain.pixels.mean() - 15
    assert (
        ndimage.laplace(shifted(blur=2.0).pixels.astype(float)).std()
        < 0.3 * ndimage.laplace(plain.pixels.astype(float)).std()
    )
    noise = shifted(noise=10).pixels.astype(float) - plain.pixels
    assert noise[plain.lung_mask].std() == pytest.approx(10, rel=0.15)
    assert np.array_equal(shifted(inverted=True).pixels, 255 - plain.pixels)
    turned = shifted(quarter_turns=1)
    assert np.array_equal(turned.pixels, np.rot90(plain.pixels))
    assert np.array_equal(turned.lesion_mask, np.rot90(plain.lesion_mask))
    cropped = shifted(crop=0.1)
    assert cropped.pixels.shape == plain.pixels.shape
    assert cropped.lung_mask.mean() > plain.lung_mask.mean()


@pytest.mark.parametrize("change", [{"gain": 0}, {"crop": 0.6}, {"quarter_turns": 5}, {"brightness": 1}])
def test_an_impossible_or_unknown_shift_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        AcquisitionShift(**change)  # type: ignore[arg-type]
