"""The catalog keeps every row, says the same thing in the same bytes, and refuses what it does not know."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from data_contracts.catalog import COLUMNS, Catalog
from data_contracts.errors import DataGateError
from data_contracts.labels import CONFLICT, assign_labels
from data_contracts.ontology import TASKS

ROWS = pd.DataFrame(
    {
        "source": ["nih", "mendeley", "nih"],
        "file": ["b.png", "a.png", "a.png"],
        "nodes": ["no_finding", "bacterial", "mass"],
        "status": ["kept", "kept", "quarantined"],
        "age": [58.0, float("nan"), 0.5],
        "label_conflict": [False, True, False],
    }
)


def test_rows_are_sorted_and_every_column_is_there() -> None:
    catalog = Catalog.of(ROWS)
    assert list(catalog.frame.columns) == list(COLUMNS)
    assert catalog.frame[["source", "file"]].to_numpy().tolist() == [
        ["mendeley", "a.png"],
        ["nih", "a.png"],
        ["nih", "b.png"],
    ]


def test_counts_add_up() -> None:
    assert Catalog.of(ROWS).counts() == {"offered": 3, "kept": 2, "quarantined": 1, "duplicate": 0}


def test_a_catalog_survives_its_file_and_the_same_catalog_gives_the_same_bytes(tmp_path: Path) -> None:
    catalog = Catalog.of(ROWS)
    catalog.save(tmp_path / "one.parquet")
    Catalog.load(tmp_path / "one.parquet").save(tmp_path / "two.parquet")
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
    assert Catalog.load(tmp_path / "two.parquet").content_hash() == catalog.content_hash()


def test_the_hash_does_not_depend_on_the_order_of_rows_but_on_every_cell() -> None:
    catalog = Catalog.of(ROWS)
    assert Catalog.of(ROWS.iloc[::-1]).content_hash() == catalog.content_hash()
    assert Catalog.of(ROWS.assign(age=[58.0, float("nan"), 0.6])).content_hash() != catalog.content_hash()


def test_an_unknown_column_is_refused() -> None:
    with pytest.raises(DataGateError, match="hospital"):
        Catalog.of(ROWS.assign(hospital="x"))


def test_a_file_of_another_schema_version_is_refused(tmp_path: Path) -> None:
    Catalog.of(ROWS).save(tmp_path / "catalog.parquet")
    table = pq.read_table(tmp_path / "catalog.parquet").replace_schema_metadata({"lungline_catalog": "99"})
    pq.write_table(table, tmp_path / "catalog.parquet")
    with pytest.raises(DataGateError, match="schema version 99"):
        Catalog.load(tmp_path / "catalog.parquet")


def test_only_kept_images_without_conflict_get_a_label() -> None:
    labelled = assign_labels(Catalog.of(ROWS), TASKS["covid-bacterial-pneumothorax-normal"]).frame
    assert labelled["label"].tolist() == ["", "", "normal"]
    assert labelled["excluded"].tolist() == [CONFLICT, "", ""]
