"""F16, F17, F18, F20: one picture in two files, under two labels, of nobody in particular, or in two splits."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data_contracts.catalog import Catalog
from data_contracts.conflicts import conflict_worklist, write_worklist
from data_contracts.errors import DataGateError
from data_contracts.identity import IdentitySettings, assign_groups
from data_contracts.image_store import ImageStoreSettings, build_image_store
from data_contracts.labels import CONFLICT, assign_labels
from data_contracts.leakage import leakage, leaking_pairs, require_no_leak
from data_contracts.ontology import task_named
from data_contracts.overlay import apply_decisions, explain_exclusions, read_decisions
from data_contracts.sources import merge
from data_contracts.sources.phantom import PhantomManifest, PhantomSettings, write_phantom_datasets
from data_contracts.splits import SplitSettings, assign_splits, split_statements

SOURCES = ("radiography", "mendeley", "nih")
TASK = task_named("covid-bacterial-pneumothorax-normal")
Collection = tuple[PhantomManifest, Catalog]


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """A small phantom with a copy under a wrong label, decoded and grouped, and the truth about it."""
    folder = tmp_path_factory.mktemp("phantom")
    manifest = write_phantom_datasets(folder / "data", PhantomSettings(images=60, size=96, flawed=True))
    return manifest, identified(folder)


def identified(folder: Path) -> Catalog:
    """The catalog of folder/data after decoding and grouping."""
    offered, _ = merge(SOURCES, folder / "data")
    (folder / "stores").mkdir(exist_ok=True)
    store = build_image_store(offered, folder / "data", ImageStoreSettings(size=96), folder / "stores")
    return assign_groups(store.catalog, store.images, IdentitySettings())


def split_of(catalog: Catalog, settings: SplitSettings | None = None) -> Catalog:
    return assign_splits(assign_labels(catalog, TASK), settings or SplitSettings())


@cache
def radiograph() -> Image.Image:
    rng = np.random.default_rng(3)
    small = Image.fromarray(rng.integers(40, 220, (12, 12), dtype=np.uint8))
    return small.resize((96, 96), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_f16_same_pixels_in_other_bytes_are_one_group_and_one_kept_image(tmp_path: Path) -> None:
    """Three encodings of one picture in three sources, one of them a PNG under the name of a JPEG."""
    manifest = write_phantom_datasets(tmp_path / "data", PhantomSettings(images=40, size=64))
    first = {source: next(e.file for e in manifest.files if e.source == source) for source in SOURCES}
    contents = [
        encoded(radiograph(), "PNG", compress_level=1),
        encoded(radiograph().convert("RGB"), "PNG"),
        encoded(radiograph(), "PNG", compress_level=9, optimize=True),
    ]
    for source, content in zip(SOURCES, contents, strict=True):
        (tmp_path / "data" / first[source]).write_bytes(content)
    frame = identified(tmp_path).frame
    copies = frame[frame["file"].isin(first.values())]
    assert copies["file_sha256"].nunique() == 3
    assert (copies["image_id"].nunique(), copies["group_id"].nunique()) == (1, 1)
    assert sorted(copies["status"]) == ["duplicate", "duplicate", "kept"]


def test_f16_planted_copies_of_the_phantom_share_groups_and_strangers_do_not(collection: Collection) -> None:
    manifest, catalog = collection
    groups = catalog.frame.set_index("file")["group_id"]
    copies = [(entry.file, entry.copy_of) for entry in manifest.files if entry.copy_of]
    assert len(copies) >= 5
    assert all(groups[copy] == groups[original] != "" for copy, original in copies)
    patients = pd.Series({entry.file: entry.patient for entry in manifest.files})
    assert patients.groupby(groups[groups != ""]).nunique().max() == 1


def test_f17_a_picture_under_two_labels_is_on_the_work_list_and_in_no_split_until_a_person_decides(
    collection: Collection, tmp_path: Path
) -> None:
    manifest, catalog = collection
    (wrong,) = [entry for entry in manifest.files if entry.flaw == "wrong label"]
    worklist = conflict_worklist(catalog)
    assert {wrong.file, wrong.copy_of} <= set(worklist["file"])
    before = split_of(catalog).frame.set_index("file")
    contested = before.loc[worklist["file"]]
    assert set(contested["split"]) == {""}
    assert set(contested.loc[contested["status"] == "kept", "excluded"]) == {CONFLICT}

    worklist["decision"] = np.where(worklist["file"] == wrong.file, "exclude", "no_finding")
    signed = worklist.assign(who="Dr A", why="the film of a healthy person", date="2026-01-31")
    write_worklist(signed, tmp_path / "conflicts.csv")
    decided = apply_decisions(catalog, read_decisions(tmp_path / "conflicts.csv"))
    after = explain_exclusions(split_of(decided)).frame.set_index("file")
    assert after.loc[wrong.copy_of, "label"] == "normal"
    assert after.loc[wrong.copy_of, "split"] in ("train", "val", "test")
    assert after.loc[wrong.file, "split"] == ""
    assert after.loc[wrong.file, "raw_label"] == "COVID-19"
    assert leakage(Catalog.of(after.reset_index())) == []


def test_f18_images_without_a_patient_are_grouped_by_picture_and_the_report_says_so(
    collection: Collection,
) -> None:
    _, catalog = collection
    split = split_of(catalog)
    unknown = split.frame[(split.frame["split"] != "") & (split.frame["patient"] == "")]
    assert (unknown["group_id"] != "").all()
    assert "test" in set(unknown["split"])
    (statement,) = split_statements(split, SplitSettings())
    in_test = (unknown["split"] == "test").sum()
    assert statement.startswith(f"{len(unknown)} images of ")
    assert f"grouped by picture alone, and {in_test} of them are in test" in statement


def test_f18_a_recipe_that_refuses_unknown_patients_has_none_in_test(collection: Collection) -> None:
    _, catalog = collection
    refusing = SplitSettings(patients_unknown_in_test="refuse")
    split = split_of(catalog, refusing)
    frame = split.frame
    unknown = (frame["split"] != "") & (frame["patient"] == "")
    assert set(frame.loc[unknown, "split"]) == {"train"}
    assert set(frame.loc[(frame["split"] != "") & ~unknown, "split"]) == {"train", "val", "test"}
    assert leakage(split) == []
    assert "are in train only, as the recipe demands" in split_statements(split, refusing)[0]


def test_f20_a_leak_forced_into_the_split_is_refused_with_exit_code_3_and_every_pair(
    collection: Collection,
) -> None:
    _, catalog = collection
    split = split_of(catalog)
    require_no_leak(split)
    frame = split.frame
    used = frame[frame["split"] != ""]
    copied = used[used["patient"] == ""].groupby("group_id").filter(lambda rows: len(rows) == 2)
    pair = copied[copied["group_id"] == copied["group_id"].iloc[0]]
    forced = Catalog.of(frame.assign(split=frame["split"].mask(frame.index == pair.index[0], "train")))
    forced = Catalog.of(
        forced.frame.assign(split=forced.frame["split"].mask(frame.index == pair.index[1], "test"))
    )
    assert leakage(forced) == [pair["group_id"].iloc[0]]
    with pytest.raises(DataGateError, match="The split leaks: 1 pairs") as refused:
        require_no_leak(forced)
    assert refused.value.exit_code == 3
    assert all(file in str(refused.value) for file in pair["file"])


def test_f20_a_patient_torn_apart_is_refused_without_naming_the_patient(collection: Collection) -> None:
    _, catalog = collection
    frame = split_of(catalog).frame
    of_nih = frame[(frame["source"] == "nih") & (frame["split"] != "")]
    series = of_nih[of_nih["patient"] == of_nih["patient"].value_counts().index[0]]
    halves = dict(zip(series.index, ["train", "test"] * len(series), strict=False))
    # Group names that hide the leak do not help: the patient is looked at itself.
    forced = Catalog.of(
        frame.assign(
            split=[halves.get(row, split) for row, split in frame["split"].items()],
            group_id=[f"g{row}" if row in halves else group for row, group in frame["group_id"].items()],
        )
    )
    pairs = leaking_pairs(forced)
    assert set(pairs["shared"]) == {"patient"}
    assert {*pairs["file_a"], *pairs["file_b"]} == set(series["file"])
    with pytest.raises(DataGateError, match="same patient") as refused:
        require_no_leak(forced)
    assert not any(Path(file).name in str(refused.value) for file in series["file"])
