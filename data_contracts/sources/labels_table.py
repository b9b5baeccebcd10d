"""Reads a team's `labels.csv`: which image shows what, and of whom where that is known.

Columns: `file` (a path below the table's folder) and `label` (findings joined by "|") are required; `patient`,
`view` (AP, PA), `age` (years; "18M" is months), `sex` (F, M) and `mask_file` are optional. An empty cell is unknown.
Of a patient only the pseudonym is kept, the same as of a DICOM header that names the same one.
"""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from data_contracts.errors import UsageProblem
from data_contracts.pseudonyms import patient_key, pseudonym
from data_contracts.sources.base import DICOM_SUFFIXES, IMAGE_SUFFIXES, Listing, is_image
from data_contracts.sources.nih import age_flag, age_in_years

TABLE = "labels.csv"
REQUIRED = ("file", "label")
OPTIONAL = ("patient", "view", "age", "sex", "mask_file")

NodeOf = Callable[[str], str | None]
Cells = dict[str, str]  # by column name


def list_labelled_images(
    folder: Path, data_dir: Path, node_of: NodeOf, listing: Listing, *, source: str, licence: str
) -> None:
    """Add a row per image below `folder`, and one per line of the table that names no file below it.

    Only files that were found below `folder` are read, whatever path a cell holds. Images that serve as masks are no
    rows. Raises UsageProblem where the table is not UTF-8 text or lacks a required column, EnvironmentProblem where it
    names patients and there is no key for their pseudonyms.
    """
    images = {path.relative_to(folder).as_posix(): path for path in _images_below(folder)}
    counts: Counter[str] = Counter()
    lines = _read_table(folder / TABLE, data_dir, listing)
    masks = {_below(cells["mask_file"]) for _, cells in lines}
    key = patient_key() if any(cells["patient"].strip() for _, cells in lines) else None
    labelled: dict[str, Cells] = {}
    for line, cells in lines:
        name = _below(cells["file"])
        if name is None:
            named = "names a file outside its folder" if cells["file"].strip() else "names no file"
            place = f"{(folder / TABLE).relative_to(data_dir).as_posix()}, line {line}"
            listing.add(problem=f"this line {named}", file=place, source=source, licence=licence)
        elif name not in images:
            counts["lines without an image on disk"] += 1
        elif name not in labelled:
            labelled[name] = cells
        else:
            counts["lines that repeat an earlier image"] += 1
            if labelled[name]["label"] != cells["label"]:
                labelled[name] = {**labelled[name], "problem": "listed twice with different labels"}
    for name, image in images.items():
        common = {"source": source, "licence": licence, "file": image.relative_to(data_dir).as_posix()}
        if name in labelled:
            cells = labelled[name]
            nodes, problem = _findings(cells["label"], node_of)
            mask = images.get(_below(cells["mask_file"]) or "")
            counts["masks not on disk"] += bool(cells["mask_file"].strip() and mask is None)
            listing.add(
                nodes=nodes,
                problem=problem or cells.get("problem", ""),
                raw_label=cells["label"],
                label_method="table",
                patient=f"{source}:{pseudonym(cells['patient'], key)}" if key and cells["patient"].strip() else "",
                view=_one_of(cells, "view", ("AP", "PA"), counts),
                age=_age(cells, counts),
                flags=age_flag(cells["age"]) if cells["age"].strip() else "",
                sex=_one_of(cells, "sex", ("F", "M"), counts),
                mask_file=mask.relative_to(data_dir).as_posix() if mask else "",
                **common,
            )
        elif name not in masks:
            listing.add(problem=f"no line in {TABLE}", **common)
    listing.notes += [f"{TABLE}: {count} {what}" for what, count in sorted(counts.items()) if count]


def _read_table(table: Path, data_dir: Path, listing: Listing) -> list[tuple[int, Cells]]:
    """Line numbers and cells by column name; an optional column that is not there is empty."""
    place = table.relative_to(data_dir).as_posix()
    try:
        # newline="" leaves line ends inside quotes to the reader.
        reader = csv.reader(io.StringIO(table.read_text(encoding="utf-8-sig"), newline=""))
        header = [name.strip().casefold() for name in next(reader, [])]
        lines = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except UnicodeDecodeError as error:
        raise UsageProblem(
            f"{place} is not UTF-8 text ({error.reason} at byte {error.start}).",
            why="Labels read in the wrong encoding would be wrong in silence.",
            cure="Save the table as UTF-8 CSV.",
        ) from error
    except csv.Error as error:
        raise UsageProblem(
            f"{place} is not a readable CSV table: {error}.",
            why="Labels of the wrong row would be wrong in silence.",
            cure="Save the table as UTF-8 CSV.",
        ) from error
    if missing := [name for name in REQUIRED if name not in header]:
        raise UsageProblem(
            f"{place} lacks the columns {', '.join(missing)}; its header begins {','.join(header)[:80]!r}.",
            why="Without them no image has a label.",
            cure=f"Give it a header with {', '.join(REQUIRED)} and, where known, {', '.join(OPTIONAL)}, by commas.",
        )
    if repeated := sorted(name for name in (*REQUIRED, *OPTIONAL) if header.count(name) > 1):
        raise UsageProblem(
            f"{place} has several columns called {', '.join(repeated)}.",
            why="It is not clear which of them is meant.",
            cure="Keep one of each.",
        )
    if ignored := [name for name in header if name not in (*REQUIRED, *OPTIONAL)]:
        listing.notes.append(f"{TABLE}: columns not read: {', '.join(ignored)[:200]}")
    by_name = [(line, dict(zip(header, cells, strict=False))) for line, cells in lines]
    return [(line, {name: cells.get(name, "") for name in (*REQUIRED, *OPTIONAL)}) for line, cells in by_name]


def _images_below(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith((".", "__")) for part in path.relative_to(folder).parts[:-1])
        if is_image(path, IMAGE_SUFFIXES | DICOM_SUFFIXES) and not hidden:
            yield path


def _below(cell: str) -> str | None:
    """The path in a cell, with "/" throughout, or None where it is empty or leads out of the folder."""
    path = PurePosixPath(cell.strip().replace("\\", "/"))
    outside = path.is_absolute() or ".." in path.parts or (path.parts[:1] and path.parts[0].endswith(":"))
    return None if outside or not path.parts else path.as_posix()


def _findings(cell: str, node_of: NodeOf) -> tuple[list[str], str]:
    """The ontology nodes of a label and, where it cannot be trusted, the reason (else "")."""
    names = [name.strip() for name in cell.split("|") if name.strip()]
    nodes = [node for name in names if (node := node_of(name))]
    if len(nodes) < len(names) or not names:
        unknown = ", ".join(name for name in names if node_of(name) is None)
        return [], "unknown label: " + repr(unknown or cell)[:80]
    if "no_finding" in nodes and len(set(nodes)) > 1:
        return [], "contradictory label: no finding together with a finding"
    return nodes, ""


def _one_of(cells: Cells, column: str, allowed: tuple[str, ...], counts: Counter[str]) -> str:
    value = cells[column].strip().upper()
    if value and value not in allowed:
        counts[f"values of {column} not understood"] += 1
    return value if value in allowed else ""


def _age(cells: Cells, counts: Counter[str]) -> float:
    age = age_in_years(cells["age"])
    counts["values of age not understood"] += bool(cells["age"].strip()) and math.isnan(age)
    return age
