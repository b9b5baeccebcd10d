"""Finds the files to score, and what a table tells of each: which is which never leaves this process."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from data_contracts.errors import UsageProblem
from data_contracts.sources.base import DICOM_SUFFIXES, IMAGE_SUFFIXES
from models.scoring.facts import COLUMNS, day

FILE = "file"


def require_paths(paths: Sequence[Path]) -> None:
    """Raise UsageProblem for a path that is not there."""
    for path in paths:
        if not path.exists():
            raise UsageProblem(
                f"There is nothing at {path}.",
                why="A part of what was meant would be missing in silence.",
                cure="Name image files, or folders that hold them.",
            )


def find_files(paths: Sequence[Path]) -> tuple[list[Path], int]:
    """The images named or below a folder named, each file once, sorted within a folder; and how many others there are.

    A file below a folder counts as an image where its content begins like PNG, JPEG or DICOM or its name ends like
    theirs, so that a damaged one is refused with the reason; a file that is named itself always does. What is hidden
    is passed over, links to folders are not followed. Raises UsageProblem for a path that is not there.
    """
    require_paths(paths)
    found: dict[Path, None] = {}
    others = 0
    for path in paths:
        for file in _below(path) if path.is_dir() else [path]:
            if file is path or _is_image(file):
                found[_absolute(file)] = None
            else:
                others += 1
    return list(found), others


def read_facts(table: Path, files: Sequence[Path], paths: Sequence[Path]) -> tuple[pd.DataFrame, int]:
    """What a CSV table tells of the files, a row per file in their order, and how many lines name none of them.

    Columns: `file` and any of source, patient, view, age, sex, taken_on; others are not read. `file` is a path below
    the table's folder or one of the folders in `paths`, or an absolute one. Raises UsageProblem where the table cannot
    be read, has no such column, tells of one file twice, or gives a day that is none; cells are not repeated.
    """
    place = {file: position for position, file in enumerate(files)}
    bases = [table.parent, *(path for path in paths if path.is_dir())]
    rows: dict[int, dict[str, str]] = {}
    unmatched = 0
    for line, cells in _lines(table):
        try:
            taken_on = day(cells["taken_on"]) if cells.get("taken_on") else ""
        except UsageProblem:
            raise _wrong(table, f"line {line} has a taken_on that is not written like 2026-01-31") from None
        name = cells.get(FILE, "").replace("\\", "/")
        candidates = (_absolute(base / name) for base in bases)
        position = next((place[file] for file in candidates if file in place), None)
        if position is None:
            unmatched += 1
        elif position in rows:
            raise _wrong(table, f"line {line} tells of a file that an earlier line tells of")
        else:
            rows[position] = {column: cells.get(column, "") for column in COLUMNS} | {"taken_on": taken_on}
    nothing = dict.fromkeys(COLUMNS, "")
    told = [rows.get(position, nothing) for position in range(len(files))]
    return pd.DataFrame(told, columns=list(COLUMNS)), unmatched


def _below(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        plain = (Path(place, name) for name in sorted(names) if not name.startswith("."))
        yield from (path for path in plain if path.is_file())


def _is_image(path: Path) -> bool:
    if path.suffix.lower() in IMAGE_SUFFIXES | DICOM_SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            start = file.read(132)
    except OSError:
        return False
    return start.startswith((b"\x89PNG", b"\xff\xd8\xff")) or start[128:] == b"DICM"


def _absolute(path: Path) -> Path:
    return Path(os.path.realpath(path))  # unlike Path.resolve it takes links that lead in a circle


def _lines(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line numbers and stripped cells by column name, without empty lines."""
    try:
        # newline="" leaves line ends inside quotes to the reader.
        reader = csv.DictReader(io.StringIO(table.read_text(encoding="utf-8-sig"), newline=""), restval="")
        names = [(name or "").strip().casefold() for name in reader.fieldnames or []]
        if FILE not in names:
            raise _wrong(table, f"it has no column {FILE!r}")
        if repeated := sorted(name for name in (FILE, *COLUMNS) if names.count(name) > 1):
            raise _wrong(table, f"it has several columns called {', '.join(repeated)}")
        reader.fieldnames = names
        for cells in reader:
            plain = {name: cell.strip() for name, cell in cells.items() if isinstance(cell, str)}
            if any(plain.values()):
                yield reader.line_num, plain
    except OSError as error:
        raise _wrong(table, f"it cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise _wrong(table, "it is no CSV table in UTF-8") from error


def _wrong(table: Path, what: str) -> UsageProblem:
    return UsageProblem(
        f"The facts in {table} cannot be used: {what}.",
        why="Facts of the wrong image would be logged in silence.",
        cure=f"Give it a line per image in UTF-8 with a column {FILE!r} and any of {', '.join(COLUMNS)}.",
    )
