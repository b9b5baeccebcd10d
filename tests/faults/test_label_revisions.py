"""F11: a dataset was published again with other labels under the same name."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd
import pytest

from data_contracts.catalog import Catalog
from data_contracts.errors import DataGateError, UsageProblem
from data_contracts.sources.label_revisions import (
    check_pinned_table,
    check_pinned_tables,
    label_differences,
    read_labels,
)

HEADER = "Image Index,Finding Labels,Follow-up #,Patient ID,OriginalImage[Width,Height],\n"
OLD = "a.png,Mass,0,1,9,9\nb.png,Mass|Nodule,0,2,9,9\nc.png,No Finding,0,3,9,9\nd.png,Hernia,0,4,9,9\n"
NEW = "a.png,Mass,0,1,9,9\nb.png,Nodule,0,2,9,9\nc.png,Effusion,0,3,9,9\ne.png,Hernia,0,4,9,9\n"


def table(path: Path, rows: str) -> Path:
    path.write_text(HEADER + rows, encoding="utf-8")
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_f11_a_table_with_the_pinned_hash_passes(tmp_path: Path) -> None:
    pinned = table(tmp_path / "Data_Entry_2017.csv", OLD)
    check_pinned_table(pinned, sha256(pinned).upper())


def test_f11_a_table_with_another_hash_stops_the_run_and_shows_what_changed(tmp_path: Path) -> None:
    old, new = table(tmp_path / "old.csv", OLD), table(tmp_path / "new.csv", NEW)
    with pytest.raises(DataGateError) as refused:
        check_pinned_table(new, sha256(old), earlier=old)
    message = str(refused.value)
    assert refused.value.exit_code == 3
    assert sha256(old) in message
    assert sha256(new) in message
    assert "2 images have other labels (Effusion +1 -0, Mass +0 -1, No Finding +0 -1), 1 images are new" in message
    assert "1 are gone" in message


def test_f11_the_differences_are_counted_by_label(tmp_path: Path) -> None:
    old, new = (read_labels(table(tmp_path / name, rows)) for name, rows in (("o.csv", OLD), ("n.csv", NEW)))
    assert label_differences(old, new).to_numpy().tolist() == [
        ["Effusion", 0, 1, 1, 0],
        ["Mass", 2, 1, 0, 1],
        ["No Finding", 1, 0, 0, 1],
    ]
    assert label_differences(old, old).empty


def test_f11_an_earlier_catalog_serves_as_well_as_the_earlier_table(tmp_path: Path) -> None:
    new = table(tmp_path / "new.csv", NEW)
    files = {"images/a.png": "Mass", "images/b.png": "Mass|Nodule"}
    Catalog.of(pd.DataFrame({"source": "nih", "file": list(files), "raw_label": list(files.values())})).save(
        tmp_path / "catalog.parquet"
    )
    with pytest.raises(DataGateError, match=r"1 images have other labels \(Mass \+0 -1\), 2 images are new"):
        check_pinned_table(new, "0" * 64, earlier=tmp_path / "catalog.parquet")


@pytest.mark.parametrize("earlier", [None, "gone.csv"])
def test_f11_without_an_earlier_table_the_run_stops_all_the_same(tmp_path: Path, earlier: str | None) -> None:
    with pytest.raises(DataGateError, match="No earlier table is at hand"):
        check_pinned_table(
            table(tmp_path / "n.csv", NEW), "0" * 64, earlier=tmp_path / earlier if earlier else None
        )


def test_f11_other_bytes_with_the_same_labels_say_that_no_label_differs(tmp_path: Path) -> None:
    old = table(tmp_path / "old.csv", OLD)
    new = table(tmp_path / "new.csv", OLD.replace("\n", "\r\n"))
    with pytest.raises(DataGateError, match=r"Against old\.csv: no label differs"):
        check_pinned_table(new, sha256(old), earlier=old)


def test_f11_a_table_that_cannot_be_read_is_a_usage_problem(tmp_path: Path) -> None:
    page = tmp_path / "new.csv"
    page.write_bytes(b"<!DOCTYPE html>")
    with pytest.raises(UsageProblem, match=r"new\.csv cannot be read as a table of labels"):
        check_pinned_table(page, "0" * 64, earlier=table(tmp_path / "old.csv", OLD))


def test_f11_labels_of_a_table_that_passed_are_what_a_later_revision_is_compared_with(tmp_path: Path) -> None:
    table_path = tmp_path / "data" / "nih" / "Data_Entry_2017.csv"
    table_path.parent.mkdir(parents=True)
    table_path.write_text("Image Index,Finding Labels,Patient ID\n1_000.png,Mass,7\n2_000.png,No Finding,8\n")
    pinned = {table_path.name: sha256(table_path)}
    check_pinned_tables(pinned, tmp_path / "data", tmp_path / "kept")
    (kept,) = (tmp_path / "kept").iterdir()
    assert "Patient" not in kept.read_text()
    table_path.write_text(
        "Image Index,Finding Labels,Patient ID\n1_000.png,Mass|Nodule,7\n2_000.png,No Finding,8\n"
    )
    with pytest.raises(DataGateError, match=r"1 images have other labels \(Nodule \+1 -0\)"):
        check_pinned_tables(pinned, tmp_path / "data", tmp_path / "kept")


def test_f11_a_pinned_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match=r"pins labels\.csv"):
        check_pinned_tables({"labels.csv": "0" * 64}, tmp_path, tmp_path / "kept")
