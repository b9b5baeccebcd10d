"""Reads the spreadsheets of the COVID-19 Radiography Database that say which publication each image came from."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from data_contracts.sources.base import Listing

ORIGIN_SHEETS = "*.m*tadata.xlsx"  # older releases hold a "Viral Pneumonia.matadata.xlsx"
NAME, ORIGIN = "FILE NAME", "URL"
MAX_ROWS = 100_000  # the largest sheet has some ten thousand; a hostile one may claim any number

# What openpyxl raises on damaged workbooks: its own errors derive from these.
_WORKBOOK_ERRORS = (OSError, ValueError, TypeError, LookupError, AttributeError, SyntaxError, EOFError, zlib.error)


def origin_key(name: object) -> str:
    """A name as sheets and files share it: the sheets write other case and leave out blanks."""
    return "".join(str(name).split()).casefold()


def documented_names(folder: Path, listing: Listing) -> frozenset[str]:
    """The keys of all images to which a sheet in `folder` gives an origin; an unreadable sheet becomes a note."""
    names: set[str] = set()
    for sheet in sorted(folder.glob(ORIGIN_SHEETS)):
        try:
            names.update(_documented(sheet))
        except (*_WORKBOOK_ERRORS, zipfile.BadZipFile) as error:
            listing.notes.append(f"{sheet.name} cannot be read as a workbook: {type(error).__name__}")
    return frozenset(names)


def _documented(sheet: Path) -> Iterable[str]:
    from openpyxl import load_workbook

    workbook = load_workbook(sheet, read_only=True, data_only=True)
    try:
        rows = islice(workbook.worksheets[0].iter_rows(values_only=True), MAX_ROWS)
        header = [str(cell).strip().upper() for cell in next(rows, ())]
        name, origin = header.index(NAME), header.index(ORIGIN)
        return [
            origin_key(row[name]) for row in rows if len(row) > max(name, origin) and row[name] and row[origin]
        ]
    finally:
        workbook.close()
