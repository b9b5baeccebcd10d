"""Contradicting labels become a work-list; what a person decides on it holds, and nothing that is unclear does."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_contracts.catalog import DUPLICATE, Catalog
from data_contracts.conflicts import WORKLIST_COLUMNS, conflict_worklist, write_worklist
from data_contracts.errors import UsageProblem
from data_contracts.identity import IdentitySettings, find_conflicts
from data_contracts.labels import assign_labels
from data_contracts.ontology import task_named
from data_contracts.overlay import (
    EXCLUDED,
    apply_decisions,
    explain_exclusions,
    overlay_decisions,
    read_decisions,
)
from data_contracts.spreadsheet import from_spreadsheet, to_spreadsheet

TASK = task_named("pneumonia-binary")
SIGNED = {"who": "Dr A", "why": "read again", "date": "2026-01-31"}


def hash_at(bits: int) -> str:
    """A perceptual hash that differs from hash_at(0) in so many bits."""
    return f"{(1 << bits) - 1:064x}"


def contested(*extra: dict[str, Any]) -> Catalog:
    """Three copies of one picture, one of them under another label, and an image nobody disputes."""
    rows = [
        {"source": "nih", "file": "n.png", "nodes": "no_finding", "patient": "nih:5"},
        {"source": "radiography", "file": "r.png", "nodes": "no_finding"},
        {"source": "mendeley", "file": "=m().jpg", "nodes": "covid19", "raw_label": "+COVID"},
        *extra,
    ]
    marked = [{"group_id": "g", "label_conflict": True, "phash": hash_at(0), **row} for row in rows]
    marked.append(
        {"source": "nih", "file": "z.png", "nodes": "pneumonia", "group_id": "h", "label_conflict": False}
    )
    frame = pd.DataFrame(marked)
    return Catalog.of(frame.assign(image_id=frame.get("image_id", frame["file"]).fillna(frame["file"])))


def overlay_of(path: Path, *lines: dict[str, str]) -> Path:
    """A CSV overlay of these lines."""
    columns = list(dict.fromkeys(key for line in lines for key in line))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(lines)
    return path


def decide(catalog: Catalog, path: Path, **by_file: str) -> pd.DataFrame:
    """The labelled frame, by file stem, after decisions on the files whose stems are given."""
    files = {Path(file).stem.strip("=()"): file for file in catalog.frame["file"]}
    lines = [{"file": files[stem], "decision": decision, **SIGNED} for stem, decision in by_file.items()]
    decided = apply_decisions(catalog, read_decisions(overlay_of(path, *lines)))
    frame = explain_exclusions(assign_labels(decided, TASK)).frame
    return frame.set_index(frame["file"].map(lambda file: Path(file).stem.strip("=()")))


@pytest.fixture
def overlay(tmp_path: Path) -> Path:
    return tmp_path / "decisions.csv"


# --- the work-list ----------------------------------------------------------------------------------------------


def test_the_work_list_names_every_contested_image_its_other_side_and_what_most_copies_say() -> None:
    lines = conflict_worklist(contested()).set_index("source")
    assert list(lines.index) == ["mendeley", "nih", "radiography"]
    assert lines.loc["mendeley", "other_side"] == "nih: no_finding (n.png); radiography: no_finding (r.png)"
    assert lines.loc["nih", "other_side"] == "mendeley: covid19 (=m().jpg)"
    assert set(lines["suggestion"]) == {"no_finding"}
    assert (lines[["decision", "who", "why", "date"]] == "").all(axis=None)


def test_copies_that_are_evenly_split_are_suggested_for_exclusion() -> None:
    frame = contested().frame
    assert set(conflict_worklist(Catalog.of(frame[frame["file"] != "r.png"]))["suggestion"]) == {"exclude"}


def test_without_conflicts_the_work_list_has_its_header_alone(tmp_path: Path) -> None:
    frame = contested().frame
    empty = conflict_worklist(Catalog.of(frame[~frame["label_conflict"]]))
    assert list(empty.columns) == list(WORKLIST_COLUMNS)
    write_worklist(empty, tmp_path / "conflicts.csv")
    assert read_decisions(tmp_path / "conflicts.csv") == []
    assert [entry.name for entry in tmp_path.iterdir()] == ["conflicts.csv"]


def test_a_patient_with_two_contested_pictures_has_two_contradictions_and_not_four() -> None:
    second = {"group_id": "g", "phash": hash_at(120)}
    catalog = contested(
        {"source": "nih", "file": "n2.png", "nodes": "pneumothorax", "patient": "nih:5", **second},
        {"source": "radiography", "file": "r2.png", "nodes": "no_finding", **second},
    )
    pairs = find_conflicts(catalog)[["file_a", "file_b"]].to_numpy().tolist()
    assert sorted(sorted(pair) for pair in pairs) == [
        ["=m().jpg", "n.png"],
        ["=m().jpg", "r.png"],
        ["n2.png", "r2.png"],
    ]


@given(st.lists(st.text(st.sampled_from("=+-@'\t\r\n\",;a"), max_size=6), min_size=1, max_size=4))
def test_no_cell_begins_a_formula_and_all_are_read_back(cells: list[str]) -> None:
    text = to_spreadsheet(pd.DataFrame({"cell": cells}, dtype="str"))
    _, *lines = csv.reader(io.StringIO(text, newline=""))
    assert not [line for line in lines if line[0].startswith(("=", "+", "-", "@", "\t", "\r", "\n"))]
    assert [from_spreadsheet(line[0]) for line in lines] == [cell.strip() for cell in cells]


# --- decisions --------------------------------------------------------------------------------------------------


def test_a_filled_in_work_list_is_an_overlay(overlay: Path) -> None:
    catalog = contested()
    worklist = conflict_worklist(catalog)
    worklist["decision"] = worklist["suggestion"]
    write_worklist(worklist.assign(**SIGNED), overlay)
    decided = apply_decisions(catalog, read_decisions(overlay)).frame
    copies = decided[decided["group_id"] == "g"]
    assert not copies["label_conflict"].any()
    assert (set(copies["nodes"]), set(copies["flags"])) == ({"no_finding"}, {"label_resolved"})
    assert decided.loc[decided["source"] == "mendeley", "raw_label"].tolist() == ["+COVID"]


def test_one_decision_that_ends_the_contradiction_frees_the_other_copies(overlay: Path) -> None:
    frame = decide(contested(), overlay, m="no_finding")
    assert frame["label"].to_dict() == {"m": "normal", "n": "normal", "r": "normal", "z": "pneumonia"}
    assert frame["flags"].to_dict() == {
        "m": "label_resolved",
        "n": "label_resolved",
        "r": "label_resolved",
        "z": "",
    }


def test_leaving_the_wrong_copy_out_frees_the_others_and_says_why_it_is_out(overlay: Path) -> None:
    frame = decide(contested(), overlay, m="exclude")
    assert frame["label"].to_dict() == {"m": "", "n": "normal", "r": "normal", "z": "pneumonia"}
    assert frame.loc["m", "excluded"] == EXCLUDED
    assert frame.loc["m", "flags"] == "label_excluded|label_resolved"


def test_copies_that_still_contradict_the_decided_one_stay_out(overlay: Path) -> None:
    frame = decide(contested(), overlay, m="covid19")
    assert frame["label_conflict"].to_dict() == {"m": False, "n": True, "r": True, "z": False}
    assert frame.loc["m", "label"] == "pneumonia"


def test_a_decision_holds_for_every_file_of_the_same_pixels(overlay: Path) -> None:
    catalog = contested({"source": "mendeley", "file": "copy.jpg", "nodes": "covid19", "image_id": "=m().jpg"})
    frame = catalog.frame
    catalog = Catalog.of(frame.assign(status=np.where(frame["file"] == "copy.jpg", DUPLICATE, frame["status"])))
    assert decide(catalog, overlay, m="no_finding").loc["copy", "nodes"] == "no_finding"


def test_a_duplicate_that_contradicts_its_own_pixels_stays_out_whatever_is_decided_elsewhere(
    overlay: Path,
) -> None:
    twin = {"group_id": "t", "phash": hash_at(200), "image_id": "twin"}
    frame = contested({"source": "a", "file": "x.png", "nodes": "mass", **twin}).frame
    repeats = frame[frame["file"] == "x.png"].assign(
        source="b", file="y.png", nodes="no_finding", status=DUPLICATE
    )
    catalog = Catalog.of(pd.concat([frame, repeats]))
    assert decide(catalog, overlay, m="no_finding").loc[["x", "y"], "label_conflict"].all()
    assert not decide(catalog, overlay, x="mass").loc[["x", "y"], "label_conflict"].any()


def test_an_undisputed_label_may_be_corrected_too(overlay: Path) -> None:
    frame = decide(contested(), overlay, z="no_finding")
    assert (frame.loc["z", "label"], frame.loc["z", "flags"]) == ("normal", "label_resolved")
    assert frame["label_conflict"].sum() == 3


def test_an_empty_catalog_has_nothing_to_explain() -> None:
    assert explain_exclusions(Catalog.of(pd.DataFrame())).frame.empty


def test_without_decisions_nothing_changes(overlay: Path) -> None:
    catalog = contested()
    undecided = read_decisions(overlay_of(overlay, {"file": "n.png", "decision": ""}))
    assert apply_decisions(catalog, undecided).content_hash() == catalog.content_hash()
    assert overlay_decisions(IdentitySettings(), overlay.parent) == []


def test_yaml_says_the_same_as_csv(tmp_path: Path) -> None:
    written = tmp_path / "decisions.yaml"
    written.write_text(
        "# two readers\n- {file: z.png, decision: no_finding, who: Dr A, why: read again, date: 2026-01-31}\n"
        "- {file: n.png, decision:}\n"
    )
    table = overlay_of(tmp_path / "decisions.csv", {"file": "z.png", "decision": "no_finding", **SIGNED})
    assert read_decisions(written) == read_decisions(table)
    assert overlay_decisions(IdentitySettings(overlay="decisions.yaml"), tmp_path) == read_decisions(table)


def test_a_spreadsheet_that_writes_semicolons_is_read(overlay: Path) -> None:
    overlay.write_text("file;decision;who;why;date\nz.png;exclude;Dr A;blurred;2026-01-31\n", encoding="utf-8-sig")
    assert [decision.nodes for decision in read_decisions(overlay)] == [""]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decision": "covid"}, "line 3: decision 'covid' is neither"),
        ({"decision": "no_finding|mass"}, "line 3: decision .* says no_finding together with a finding"),
        ({"who": ""}, "line 3 decides without who"),
        ({"date": "31.1.2026"}, "line 3: date '31.1.2026' is not of the form"),
        ({"file": ""}, "line 3 names no image"),
        ({"verdict": "x"}, "'verdict' is no column"),
        ({"file": "unknown.png"}, "line 3: the file it names is not among the readable images"),
        ({"image_id": "0" * 64}, "line 3: image 0000000000000000 is not among the readable images"),
        ({"image_id": "r.png"}, "line 3: its image_id and its file are of different pictures"),
        ({"file": "m", "decision": "covid19"}, "lines 2 and 3 decide differently about one image"),
        (
            {"file": "n.png", "decision": "no_finding"},
            "lines 2 and 3 decide differently about copies of one picture",
        ),
    ],
)
def test_a_line_that_is_unclear_is_refused_by_its_number(
    overlay: Path, change: dict[str, str], message: str
) -> None:
    first = {"file": "=m().jpg", "decision": "bacterial", **SIGNED}
    line = {"file": "n.png", "decision": "exclude", **SIGNED, **change}
    line["file"] = {"m": "=m().jpg"}.get(line["file"], line["file"])
    with pytest.raises(UsageProblem, match=message):
        apply_decisions(contested(), read_decisions(overlay_of(overlay, first, line)))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.yaml", b"- [1, 2", "not readable YAML"),
        ("x.yaml", b"decision: exclude", "not a list of decisions"),
        ("x.yaml", b"\n- exclude", "line 2 is not a decision"),
        ("x.csv", b"file,who\na.png,b\n", "line 2 has no decision"),
        ("x.csv", b"file,decision\na,b,c\n", "line 2 has more cells than the header"),
        ("x.csv", b'file,decision\n"a"b,c\n', "line 2 is not CSV"),
        ("x.csv", b"\xff\xfe\x00", "not UTF-8"),
    ],
)
def test_a_file_that_is_no_list_of_decisions_is_refused(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageProblem, match=message):
        read_decisions(tmp_path / name)


def test_a_recipe_that_names_a_missing_overlay_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match=r"gone\.csv cannot be read"):
        overlay_decisions(IdentitySettings(overlay="gone.csv"), tmp_path)
