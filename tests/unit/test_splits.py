"""The split keeps groups whole, meets its shares in every class and source, and never depends on order."""

from __future__ import annotations

from random import Random

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from data_contracts.catalog import DUPLICATE, QUARANTINED, Catalog
from data_contracts.errors import DataGateError, UsageProblem
from data_contracts.leakage import leakage, leaking_pairs
from data_contracts.splits import (
    EXTERNAL,
    MEETS_INTERNAL,
    MEETS_OFFICIAL_TEST,
    SPLITS,
    SplitSettings,
    assign_splits,
    split_statements,
)

Row = tuple[str, str, str]  # label, source, group


def catalog_of(rows: list[Row]) -> Catalog:
    frame = pd.DataFrame(rows, columns=["label", "source", "group_id"])
    return Catalog.of(frame.assign(file=[f"{number:06d}.png" for number in range(len(rows))]))


def series(label: str, source: str, sizes: list[int]) -> list[Row]:
    """One group per size."""
    return [(label, source, f"{label}-{source}-{i}") for i, size in enumerate(sizes) for _ in range(size)]


def images_per_split(frame: pd.DataFrame) -> dict[str, int]:
    return {split: int((frame["split"] == split).sum()) for split in SPLITS}


labels = st.sampled_from(["normal", "covid19", "pneumothorax"])
sources = st.sampled_from(["nih", "radiography"])


@st.composite
def catalogs(draw: st.DrawFn) -> Catalog:
    """Groups of one to six images; a group may hold several labels and sources, as patients do."""
    images = st.lists(st.tuples(labels, sources), min_size=1, max_size=6)
    groups = draw(st.lists(images, min_size=1, max_size=40))
    return catalog_of([(*image, f"g{i}") for i, group in enumerate(groups) for image in group])


@settings(max_examples=30, deadline=None)
@given(catalog=catalogs(), seed=st.integers(0, 3))
def test_a_group_never_straddles_and_every_labelled_image_is_in_one_split(catalog: Catalog, seed: int) -> None:
    split = assign_splits(catalog, SplitSettings(seed=seed))
    assert leakage(split) == []
    assert split.frame["split"].isin(SPLITS).all()


@settings(max_examples=20, deadline=None)
@given(catalog=catalogs(), order=st.randoms(use_true_random=False))
def test_the_order_of_the_rows_changes_nothing(catalog: Catalog, order: Random) -> None:
    positions = list(range(len(catalog.frame)))
    order.shuffle(positions)
    shuffled = Catalog(catalog.frame.iloc[positions].reset_index(drop=True))
    once = assign_splits(catalog, SplitSettings())
    again = assign_splits(shuffled, SplitSettings())
    assert again.content_hash() == once.content_hash()


@settings(max_examples=30, deadline=None)
@given(sizes=st.dictionaries(labels, st.lists(st.integers(1, 20), min_size=3, max_size=30), min_size=1))
def test_a_class_of_three_groups_is_in_every_split(sizes: dict[str, list[int]]) -> None:
    rows = [row for label, groups in sizes.items() for row in series(label, "nih", groups)]
    frame = assign_splits(catalog_of(rows), SplitSettings()).frame
    assert (frame.groupby("label")["split"].nunique() == len(SPLITS)).all()


@settings(max_examples=20, deadline=None)
@given(counts=st.dictionaries(st.tuples(labels, sources), st.integers(1, 120), min_size=1))
def test_single_images_meet_the_shares_within_two_images_in_every_class_and_source(
    counts: dict[tuple[str, str], int],
) -> None:
    rows = [row for (label, source), count in counts.items() for row in series(label, source, [1] * count)]
    frame = assign_splits(catalog_of(rows), SplitSettings(train=0.6, val=0.3, test=0.1)).frame
    for (label, source), count in counts.items():
        found = images_per_split(frame[(frame["label"] == label) & (frame["source"] == source)])
        for split, share in (("train", 0.6), ("val", 0.3), ("test", 0.1)):
            assert abs(found[split] - share * count) <= 2


def test_a_class_whose_three_groups_come_from_three_sources_is_still_in_every_split() -> None:
    rows = [row for source in ("mendeley", "nih", "radiography") for row in series("covid19", source, [1])]
    frame = assign_splits(catalog_of(rows), SplitSettings()).frame
    assert sorted(frame["split"]) == ["test", "train", "val"]


def test_two_long_series_of_a_scarce_class_go_to_train() -> None:
    """47 images of 19 patients, two of whom have 11 each, next to an ample class."""
    rows = series("covid19", "nih", [11, 11] + [2] * 8 + [1] * 9) + series("normal", "nih", [1] * 200)
    frame = assign_splits(catalog_of(rows), SplitSettings()).frame
    scarce = frame[frame["label"] == "covid19"]
    long_series = scarce[scarce.groupby("group_id")["file"].transform("size") == 11]
    assert set(long_series["split"]) == {"train"}
    assert images_per_split(scarce) == {"train": 33, "val": 7, "test": 7}
    patients = scarce.groupby("split")["group_id"].nunique()
    assert patients["val"] >= 5
    assert patients["test"] >= 5


def test_no_single_patient_fills_the_test_set_of_a_class() -> None:
    rows = series("covid19", "nih", [14] * 3 + [1] * 58)
    test = assign_splits(catalog_of(rows), SplitSettings()).frame.query("split == 'test'")
    assert len(test) == 15
    assert test["group_id"].value_counts().max() == 1


def test_test_patients_have_as_many_images_as_train_patients() -> None:
    rows = series("normal", "nih", [20] * 40 + [5] * 100 + [1] * 500)
    frame = assign_splits(catalog_of(rows), SplitSettings()).frame
    per_patient = frame.groupby(["split", "group_id"]).size().groupby("split").mean()
    assert per_patient["test"] == pytest.approx(per_patient["train"], rel=0.1)


def test_rows_that_cannot_be_learned_from_get_no_split() -> None:
    frame = catalog_of(series("normal", "nih", [1] * 20)).frame
    frame.loc[0, "status"] = QUARANTINED
    frame.loc[1, "status"] = DUPLICATE
    frame.loc[2, "label"] = ""
    frame.loc[3, "label_conflict"] = True
    frame["split"] = "test"  # left over from an earlier split
    split = assign_splits(Catalog.of(frame), SplitSettings()).frame["split"]
    assert split[:4].tolist() == ["", "", "", ""]
    assert split[4:].isin(SPLITS).all()


def test_a_catalog_without_labels_passes_through_unsplit() -> None:
    frame = assign_splits(catalog_of([("", "nih", "g0")]), SplitSettings()).frame
    assert frame["split"].tolist() == [""]


def test_another_seed_deals_anew_but_keeps_the_shares() -> None:
    catalog = catalog_of(series("normal", "nih", [1] * 100))
    one, two = (assign_splits(catalog, SplitSettings(seed=seed)).frame for seed in (0, 1))
    assert one["split"].tolist() != two["split"].tolist()
    assert images_per_split(one) == images_per_split(two) == {"train": 70, "val": 15, "test": 15}


def test_the_same_catalog_is_split_alike_on_every_machine() -> None:
    rows = series("covid19", "nih", [3, 2, 2, 1, 1, 1]) + series("normal", "radiography", [2, 1] * 10)
    groups = assign_splits(catalog_of(rows), SplitSettings(seed=7)).frame.drop_duplicates("group_id")
    held_out = {split: groups.loc[groups["split"] == split, "group_id"].tolist() for split in ("val", "test")}
    assert held_out == {
        "val": [f"covid19-nih-{i}" for i in (3, 5)] + [f"normal-radiography-{i}" for i in (1, 7, 15, 19)],
        "test": ["covid19-nih-4"] + [f"normal-radiography-{i}" for i in (3, 12, 13, 17)],
    }


def test_a_labelled_image_without_a_group_stops_the_run() -> None:
    with pytest.raises(DataGateError, match=r"no identity group \(first: 000000\.png\)"):
        assign_splits(catalog_of([("normal", "nih", "")]), SplitSettings())


def test_leakage_lists_the_groups_that_straddle() -> None:
    frame = catalog_of(series("normal", "nih", [2, 2, 2])).frame
    frame["split"] = ["train", "test", "val", "val", "train", "val"]
    assert leakage(Catalog.of(frame)) == ["normal-nih-0", "normal-nih-2"]


@pytest.mark.parametrize(
    ("given_settings", "message"),
    [
        ({"train": 0.8}, r"sum to 1\.1; they must sum to 1"),
        ({"train": 1.0, "val": 0.0, "test": 0.0}, "greater than 0|less than 1"),
        ({"holdout": 0.1}, "Extra inputs are not permitted"),
    ],
)
def test_impossible_shares_are_refused(given_settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SplitSettings.model_validate(given_settings)


def test_leaking_pairs_say_what_the_two_sides_share() -> None:
    frame = catalog_of(series("normal", "nih", [2, 2, 2])).frame
    frame["split"] = ["train", "test", "val", "val", "train", "val"]
    frame["image_id"] = ["a", "b", "c", "d", "e", "e"]
    frame["patient"] = ["nih:1", "nih:1", "nih:2", "nih:3", "", ""]
    frame["group_id"] = ["g", "g", "h", "h", "i", "j"]  # the last two are one picture under two group names
    assert leaking_pairs(Catalog.of(frame)).to_numpy().tolist() == [
        ["000000.png", "train", "000001.png", "test", "g", "patient"],
        ["000004.png", "train", "000005.png", "val", "i", "picture"],
    ]


# --- published lists and external sources -----------------------------------------------------------------------


def published(rows: list[Row], test_rows: set[int]) -> Catalog:
    """The rows with those at `test_rows` on the published test list and the others on that of train and val."""
    frame = catalog_of(rows).frame
    number = frame["file"].str.removesuffix(".png").astype(int)
    return Catalog.of(frame.assign(official_split=number.isin(test_rows).map({True: "test", False: "train_val"})))


def test_a_published_test_list_is_the_test_split_and_the_rest_is_dealt_in_proportion() -> None:
    catalog = published(series("normal", "nih", [1] * 100), set(range(15)))
    frame = assign_splits(catalog, SplitSettings(train=0.6, val=0.2, test=0.2, official=True)).frame
    assert (frame["split"] == "test").tolist() == [True] * 15 + [False] * 85
    assert images_per_split(frame)["val"] == pytest.approx(85 / 4, abs=1)


def test_without_the_key_published_lists_are_of_no_account() -> None:
    rows = series("normal", "nih", [1] * 40)
    listed = assign_splits(published(rows, {0, 1, 2}), SplitSettings()).frame["split"]
    assert listed.tolist() == assign_splits(catalog_of(rows), SplitSettings()).frame["split"].tolist()


def test_a_copy_of_an_official_test_image_is_neither_learned_from_nor_added_to_the_test() -> None:
    rows = [*series("normal", "nih", [1] * 30), ("normal", "radiography", "normal-nih-0")]
    frame = assign_splits(published(rows, {0, 1, 2}), SplitSettings(official=True)).frame
    copy = frame[frame["source"] == "radiography"].iloc[0]
    assert (copy["split"], copy["label"], copy["excluded"]) == ("", "", MEETS_OFFICIAL_TEST)
    assert images_per_split(frame)["test"] == 3


def test_asking_for_a_published_list_that_is_not_there_stops_the_run() -> None:
    with pytest.raises(DataGateError, match="no usable image is on a published test list"):
        assign_splits(catalog_of(series("normal", "nih", [1] * 10)), SplitSettings(official=True))


@pytest.mark.parametrize("given_settings", [{"external": ["nih"]}, {"hold_out_source": "nih"}])
def test_an_external_source_is_never_learned_from(given_settings: dict[str, object]) -> None:
    internal = series("normal", "radiography", [1] * 40)
    frame = assign_splits(
        catalog_of(internal + series("normal", "nih", [2] * 10)), SplitSettings.model_validate(given_settings)
    ).frame
    assert set(frame.loc[frame["source"] == "nih", "split"]) == {EXTERNAL}
    alone = assign_splits(catalog_of(internal), SplitSettings()).frame
    assert frame.loc[frame["source"] == "radiography", "split"].tolist() == alone["split"].tolist()


@pytest.mark.parametrize("status", ["kept", DUPLICATE])
def test_an_external_image_whose_patient_or_picture_is_internal_is_not_used(status: str) -> None:
    rows = [*series("normal", "radiography", [1] * 10), ("covid19", "nih", "normal-radiography-3")]
    frame = catalog_of(rows).frame
    frame.loc[frame["file"] == "000003.png", "status"] = status
    frame = assign_splits(Catalog.of(frame), SplitSettings(external=["nih"])).frame
    row = frame[frame["source"] == "nih"].iloc[0]
    assert (row["split"], row["label"], row["excluded"]) == ("", "", MEETS_INTERNAL)


@settings(max_examples=15, deadline=None)
@given(catalog=catalogs(), seed=st.integers(0, 3))
def test_external_sources_and_published_lists_never_leak(catalog: Catalog, seed: int) -> None:
    frame = catalog.frame
    official = frame["group_id"].isin(["g0", "g1", "g2"]).map({True: "test", False: "train_val"})
    both = set(frame["source"]) == {"nih", "radiography"}
    chosen = SplitSettings(seed=seed, external=["radiography"] if both else [], official=True)
    if not (official.eq("test") & ~frame["source"].isin(chosen.external)).any():
        return
    split = assign_splits(Catalog.of(frame.assign(official_split=official)), chosen)
    assert leaking_pairs(split).empty
    assert ((split.frame["label"] == "") == (split.frame["split"] == "")).all()


@pytest.mark.parametrize(
    ("external", "message"), [(["nihh"], "nihh is to be external"), (["nih"], "every source is external")]
)
def test_external_sources_that_make_no_sense_are_refused(external: list[str], message: str) -> None:
    with pytest.raises(UsageProblem, match=message):
        assign_splits(catalog_of(series("normal", "nih", [1] * 10)), SplitSettings(external=external))


def test_a_source_is_named_external_once() -> None:
    with pytest.raises(ValidationError, match="name a source twice"):
        SplitSettings(external=["nih"], hold_out_source="nih")


def test_statements_tell_what_the_split_rests_on() -> None:
    rows = series("normal", "nih", [1] * 30) + series("normal", "mendeley", [1] * 5)
    rows += [("normal", "radiography", "normal-nih-0"), ("normal", "mendeley", "normal-nih-9")]
    chosen = SplitSettings(official=True, external=["mendeley"])
    statements = split_statements(assign_splits(published(rows, {0, 1, 2}), chosen), chosen)
    assert statements[:2] == [
        "The test split is the published list of nih: 3 images. Not used because the same patient or picture is in "
        "it: 1 image.",
        "Never learned from: mendeley, with 5 images in the external split. Not used because the same patient or "
        "picture is internal too: 1 image.",
    ]
    assert statements[2].startswith("30 images of 30 in train, val and test have no patient id;")


# --- several classes per image ----------------------------------------------------------------------------------


def test_every_class_of_a_multi_label_task_meets_its_shares() -> None:
    cells = ["mass", "mass|nodule", "nodule", "effusion|mass", "none"]
    rows = [(cells[i % 5], "nih", f"g{i}") for i in range(500)] + [
        ("hernia|mass", "nih", f"h{i}") for i in range(9)
    ]
    frame = assign_splits(catalog_of(rows), SplitSettings()).frame
    classes = frame.assign(label=frame["label"].str.split("|")).explode("label", ignore_index=True)
    shares = pd.crosstab(classes["label"], classes["split"], normalize="index")
    assert shares.loc[["mass", "nodule", "effusion", "none"], "train"].to_numpy() == pytest.approx(0.7, abs=0.03)
    assert (shares.loc["hernia"] > 0).all()
    assert images_per_split(frame)["test"] == pytest.approx(0.15 * len(rows), abs=5)
