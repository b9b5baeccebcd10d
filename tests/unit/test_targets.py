"""Labels of a catalog and the table of classes a network is trained and judged by."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_contracts.catalog import Catalog
from data_contracts.errors import DataGateError
from data_contracts.labels import CONFLICT, assign_labels
from data_contracts.ontology import NIH_FINDINGS, TASKS, join_nodes
from data_contracts.targets import targets

NIH_14 = TASKS["nih-14"]
THREE_CLASSES = TASKS["covid-pneumonia-normal"]


def _catalog(nodes: list[str], **columns: object) -> Catalog:
    files = [f"i{i:06d}" for i in range(len(nodes))]
    return Catalog.of(pd.DataFrame({"source": "nih", "file": files, "nodes": nodes}).assign(**columns))


def test_a_single_label_is_one_hot() -> None:
    frame = pd.DataFrame({"label": ["normal", "covid19", "pneumonia"], "unknown_classes": ""})
    assert targets(frame, THREE_CLASSES).tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]
    assert targets(frame, THREE_CLASSES).dtype == np.int8


def test_several_labels_are_positive_unknown_or_negative() -> None:
    frame = pd.DataFrame(
        {
            "label": ["atelectasis|hernia", "none", "none"],
            "unknown_classes": ["", "", "cardiomegaly|effusion"],
        }
    )
    table = targets(frame, NIH_14)
    assert table.shape == (3, 14)
    assert np.flatnonzero(table[0] == 1).tolist() == [0, 13]
    assert not table[1].any()
    assert table[2].tolist() == [0, -1, -1] + [0] * 11


def test_no_image_gives_an_empty_table() -> None:
    frame = pd.DataFrame({"label": [], "unknown_classes": []}, dtype="str")
    assert targets(frame, NIH_14).shape == (0, 14)


@pytest.mark.parametrize(
    ("label", "unknown", "task"),
    [
        ("", "", NIH_14),
        ("normal", "", NIH_14),
        ("mass", "normal", NIH_14),
        ("mass", "mass", NIH_14),
        ("mass|", "mass", NIH_14),
        ("", "", THREE_CLASSES),
        ("none", "", THREE_CLASSES),
        ("covid19|normal", "", THREE_CLASSES),
    ],
)
def test_a_label_that_is_no_class_is_refused(label: str, unknown: str, task: object) -> None:
    frame = pd.DataFrame({"label": [label, label], "unknown_classes": unknown})
    with pytest.raises(DataGateError, match="2 images"):
        targets(frame, task)


@given(nodes=st.lists(st.sets(st.sampled_from(NIH_FINDINGS)), max_size=8), folder=st.booleans())
def test_the_table_says_what_the_labels_said(nodes: list[set[str]], folder: bool) -> None:
    cells = [join_nodes(found or {"no_finding"}) for found in nodes]
    labelled = assign_labels(_catalog(cells, label_method="folder" if folder else "report-nlp"), NIH_14)
    table = targets(labelled.frame, NIH_14)
    for row, found in zip(table, nodes, strict=True):
        absent = -1 if folder and found else 0
        assert row.tolist() == [1 if name in found else absent for name in NIH_FINDINGS]


def test_labels_follow_the_method_of_each_row_and_skip_what_is_not_kept() -> None:
    catalog = _catalog(
        ["mass", "mass", "mass", "opacity", "mass"],
        label_method=["report-nlp", "folder", "folder", "folder", "folder"],
        status=["kept", "kept", "quarantined", "kept", "kept"],
        label_conflict=[False, False, False, False, True],
    )
    frame = assign_labels(catalog, NIH_14).frame
    assert frame["label"].tolist() == ["mass", "mass", "", "", ""]
    assert [len(cell.split("|")) for cell in frame["unknown_classes"]] == [1, 13, 1, 1, 1]
    assert frame["excluded"].tolist() == ["", "", "", "no class of this task is known: opacity", CONFLICT]


def test_the_whole_of_nih_is_labelled_within_two_seconds() -> None:
    generator = np.random.default_rng(0)
    distinct = [
        join_nodes(generator.choice(NIH_FINDINGS, size=k, replace=False)) for k in range(1, 6) for _ in range(160)
    ]
    catalog = _catalog(generator.choice(distinct, size=112_120).tolist(), label_method="report-nlp")
    started = time.process_time()
    labelled = assign_labels(catalog, NIH_14)
    table = targets(labelled.frame, NIH_14)
    assert time.process_time() - started < 2
    assert table.sum() == sum(cell.count("|") + 1 for cell in catalog.frame["nodes"])
