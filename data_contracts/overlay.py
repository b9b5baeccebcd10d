"""Decisions of a named person about labels, laid over what the sources say; the raw data stay as they are.

The file is a filled-in work-list (conflicts.csv) or any CSV or YAML list with the same keys. Each line names an image
by `image_id` or `file` and says what it shows: ontology nodes joined by "|", or "exclude". A decision counts with who
made it, why and on what date. Lines whose decision is empty are still to be decided and change nothing.
"""

from __future__ import annotations

import csv
import datetime
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from data_contracts.catalog import KEPT, QUARANTINED, Catalog
from data_contracts.conflicts import DECISION_COLUMNS, EXCLUDE, WORKLIST_COLUMNS
from data_contracts.errors import UsageProblem
from data_contracts.identity import IdentitySettings, find_conflicts, incompatible
from data_contracts.ontology import PARENT, join_nodes, split_nodes
from data_contracts.spreadsheet import from_spreadsheet

RESOLVED = "label_resolved"  # flag of a row whose label a person decided, or whose conflict that decision ended
LEFT_OUT = "label_excluded"  # flag of a row that a person decided not to use
EXCLUDED = "excluded by a person's decision"

_NO_GUESSING = "A decision about a label must not be guessed at."


class Decision(BaseModel):
    """What one line of the file decides. nodes: as the catalog's column; "" excludes the image.

    Either image_id or file may be "". line: where in the file it stands, from 1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    line: int
    image_id: str
    file: str
    nodes: str
    who: str
    why: str
    date: datetime.date


def overlay_decisions(settings: IdentitySettings, data_dir: Path) -> list[Decision]:
    """The decisions that a recipe names; none where it names no file."""
    return read_decisions(data_dir / settings.overlay) if settings.overlay else []


def read_decisions(path: Path) -> list[Decision]:
    """The decided lines of a CSV or YAML file.

    Raises UsageProblem naming file and line where a line is not what it should be.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageProblem(
            f"The label decisions {path.name} cannot be read: {_reason(error)}.",
            why="The recipe names them, and without them other images would be learned from.",
            cure="Put the file below the data folder as UTF-8 text, or take identity.overlay out of the recipe.",
        ) from error
    read = _yaml_lines if path.suffix in (".yaml", ".yml") else _csv_lines
    decisions = [_decision(path.name, line, cells) for line, cells in read(path.name, text)]
    return [decision for decision in decisions if decision is not None]


def apply_decisions(catalog: Catalog, decisions: Sequence[Decision]) -> Catalog:
    """The catalog with the decided labels; needs the columns that identity fills.

    A decision holds for all rows with the pixels it names. They get its nodes and the flag label_resolved, and carry
    no label conflict any more; raw_label stays. A copy that was not decided about carries none either as soon as
    it agrees with every copy it contradicted and that is not excluded. Excluded images have no nodes;
    `explain_exclusions` gives them their reason after labelling.

    Raises UsageProblem naming the line where an image is not in the catalog, or two lines contradict each other.
    """
    if not decisions:
        return catalog
    frame = catalog.frame
    decided = _by_image(frame, decisions)
    pairs = find_conflicts(catalog)
    mine = frame["image_id"].isin(decided)
    nodes = frame["image_id"].map({image: decision.nodes for image, decision in decided.items()})
    nodes = nodes.where(mine, frame["nodes"])
    for pair in pairs.to_dict("records"):
        _require_agreement(decided.get(pair["image_a"]), decided.get(pair["image_b"]))
    contested = frame["label_conflict"] & ~mine & _still_contradicted(frame.assign(nodes=nodes), pairs)
    flags = _with_flag(frame["flags"], RESOLVED, mine | (frame["label_conflict"] & ~contested))
    flags = _with_flag(flags, LEFT_OUT, mine & (nodes == ""))
    return Catalog.of(frame.assign(nodes=nodes, flags=flags, label_conflict=contested))


def explain_exclusions(catalog: Catalog) -> Catalog:
    """The labelled catalog with the reason given for kept images that a person excluded."""
    frame = catalog.frame
    by_person = (frame["status"] == KEPT) & frame["flags"].str.split("|").map(lambda flags: LEFT_OUT in flags)
    return Catalog.of(frame.assign(excluded=frame["excluded"].mask(by_person, EXCLUDED)))


def _with_flag(flags: pd.Series, flag: str, where: pd.Series) -> pd.Series:
    return flags.mask(where, flags.map(lambda cell: join_nodes([*split_nodes(cell), flag])))


def _still_contradicted(frame: pd.DataFrame, pairs: pd.DataFrame) -> NDArray[np.bool_]:
    """Whether each row still contradicts a copy, or stands beside a contradiction of its group that is left without
    ever having been a side of one."""
    keys = list(zip(frame["source"], frame["file"], strict=True))
    nodes = dict(zip(keys, frame["nodes"], strict=True))
    ever, left, open_groups = set(), set(), set()
    for pair in pairs.to_dict("records"):
        sides = [(pair[f"source_{side}"], pair[f"file_{side}"]) for side in "ab"]
        ever.update(sides)
        if incompatible(*(split_nodes(nodes[side]) for side in sides)):
            left.update(sides)
            open_groups.add(pair["group_id"])
    rows = zip(keys, frame["group_id"], strict=True)
    return np.array([key in left or (key not in ever and group in open_groups) for key, group in rows], dtype=bool)


def _by_image(frame: pd.DataFrame, decisions: Sequence[Decision]) -> dict[str, Decision]:
    """The decision for each image id."""
    rows = frame[(frame["status"] != QUARANTINED) & (frame["image_id"] != "")]
    image_of = dict(zip(rows["file"], rows["image_id"], strict=True))
    known = set(rows["image_id"])
    decided: dict[str, Decision] = {}
    for decision in decisions:
        image = decision.image_id or image_of.get(decision.file, "")
        if image not in known:
            what = f"image {decision.image_id[:16]}" if decision.image_id else "the file it names"
            raise _refused(f"line {decision.line}: {what} is not among the readable images of these sources")
        if decision.file and image_of.get(decision.file, image) != image:
            raise _refused(f"line {decision.line}: its image_id and its file are of different pictures")
        earlier = decided.setdefault(image, decision)
        if earlier.nodes != decision.nodes:
            raise _refused(f"lines {earlier.line} and {decision.line} decide differently about one image")
    return decided


def _require_agreement(first: Decision | None, second: Decision | None) -> None:
    if first and second and incompatible(split_nodes(first.nodes), split_nodes(second.nodes)):
        lines = sorted((first.line, second.line))
        raise _refused(f"lines {lines[0]} and {lines[1]} decide differently about copies of one picture")


def _csv_lines(name: str, text: str) -> Iterator[tuple[int, dict[str, str]]]:
    # Spreadsheet programs set to some languages write semicolons.
    header = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter="," if "," in header else ";", strict=True)
    try:
        columns = [from_spreadsheet(cell) for cell in next(reader, [])]
        for cells in reader:
            if len(cells) > len(columns):
                raise _refused(f"line {reader.line_num} has more cells than the header", name)
            if any(cells):
                named = zip(columns, (from_spreadsheet(cell) for cell in cells), strict=False)
                yield reader.line_num, dict(named)
    except csv.Error as error:
        raise _refused(f"line {reader.line_num} is not CSV: {error}", name) from error


def _yaml_lines(name: str, text: str) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        entries = yaml.safe_load(text) or []
    except yaml.YAMLError as error:
        raise _refused(f"not readable YAML: {' '.join(str(error).split())}", name) from error
    if not isinstance(entries, list):
        raise _refused("it is not a list of decisions", name)
    for entry, node in zip(entries, root.value if isinstance(root, yaml.SequenceNode) else [], strict=True):
        line = node.start_mark.line + 1
        if not isinstance(entry, dict):
            raise _refused(f"line {line} is not a decision with keys and values", name)
        yield line, {str(key): "" if value is None else str(value).strip() for key, value in entry.items()}


def _decision(name: str, line: int, cells: Mapping[str, str]) -> Decision | None:
    """The decision of a line, or None where it is still to be made."""
    if unknown := sorted(set(cells) - set(WORKLIST_COLUMNS)):
        raise _refused(f"line {line}: {unknown[0]!r} is no column; allowed: {', '.join(WORKLIST_COLUMNS)}", name)
    if "decision" not in cells:
        raise _refused(f"line {line} has no decision", name)
    if not cells["decision"]:
        return None
    if missing := [key for key in DECISION_COLUMNS if not cells.get(key)]:
        raise _refused(f"line {line} decides without {', '.join(missing)}", name)
    if not (cells.get("image_id") or cells.get("file")):
        raise _refused(f"line {line} names no image: image_id and file are empty", name)
    try:
        date = datetime.date.fromisoformat(cells["date"])
    except ValueError as error:
        raise _refused(f"line {line}: date {cells['date']!r} is not of the form 2026-01-31", name) from error
    return Decision(
        line=line,
        image_id=cells.get("image_id", ""),
        file=cells.get("file", ""),
        nodes=_nodes(name, line, cells["decision"]),
        who=cells["who"],
        why=cells["why"],
        date=date,
    )


def _nodes(name: str, line: int, decision: str) -> str:
    if decision == EXCLUDE:
        return ""
    nodes = [node.strip() for node in decision.split("|")]
    if unknown := [node for node in nodes if node not in PARENT]:
        raise _refused(
            f"line {line}: decision {unknown[0]!r} is neither {EXCLUDE!r} nor a finding; "
            f"findings are {', '.join(PARENT)}",
            name,
        )
    if "no_finding" in nodes and len(set(nodes)) > 1:
        raise _refused(f"line {line}: decision {decision!r} says no_finding together with a finding", name)
    return join_nodes(nodes)


def _refused(what: str, name: str = "") -> UsageProblem:
    return UsageProblem(
        f"Label decisions{f' {name}' if name else ''}: {what}.",
        why=_NO_GUESSING,
        cure="Mend that line; conflicts.csv of the latest `lungline data build` shows the form.",
    )


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror or "unreadable") if isinstance(error, OSError) else "it is not UTF-8 text"
