"""Sources that are known to share radiographs are named together with what was found of it."""

from __future__ import annotations

import pandas as pd

from data_contracts.catalog import QUARANTINED, Catalog
from data_contracts.known_overlaps import KNOWN_OVERLAPS, overlap_statements
from data_contracts.sources import SOURCES


def catalog_of(*rows: tuple[str, str], status: str = "kept") -> Catalog:
    frame = pd.DataFrame(rows, columns=["source", "group_id"])
    return Catalog.of(frame.assign(file=[f"{number}.png" for number in range(len(rows))], status=status))


def test_every_known_overlap_is_of_two_sources_lungline_reads_and_stated_once() -> None:
    pairs = [frozenset(overlap.sources) for overlap in KNOWN_OVERLAPS]
    assert all(len(pair) == 2 and pair <= set(SOURCES) for pair in pairs)
    assert len(set(pairs)) == len(pairs)


def test_a_known_overlap_is_stated_with_the_groups_found() -> None:
    (statement,) = overlap_statements(catalog_of(("nih", "a"), ("radiography", "a"), ("nih", "b")))
    assert statement.startswith("nih and radiography are known to share RSNA films taken from NIH")
    assert statement.endswith("1 identity group holds images of both here.")


def test_a_known_overlap_of_which_nothing_was_found_is_said_too() -> None:
    (statement,) = overlap_statements(catalog_of(("nih", "a"), ("radiography", "b")))
    assert "none was found here" in statement


def test_an_overlap_nobody_knew_of_is_stated_and_strangers_are_not() -> None:
    catalog = catalog_of(("image-folder", "a"), ("nih", "a"), ("mendeley", "b"))
    (statement,) = overlap_statements(catalog)
    assert statement.startswith("image-folder and nih are not known to overlap, yet 1 identity group")


def test_a_single_source_and_quarantined_rows_say_nothing() -> None:
    assert overlap_statements(catalog_of(("nih", "a"), ("nih", "a"))) == []
    assert overlap_statements(catalog_of(("nih", "a"), ("radiography", "a"), status=QUARANTINED)) == []
