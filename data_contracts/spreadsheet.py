"""Tables that a person opens in a spreadsheet program: written so that no cell becomes a formula, and read back."""

from __future__ import annotations

import csv

import pandas as pd

# A cell that begins with one of these is run as a formula, or hides one behind it (OWASP, "CSV Injection"). The
# quotation mark itself is among them so that reading back is exact.
_DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n", "'")


def to_spreadsheet(frame: pd.DataFrame) -> str:
    """CSV text of a frame of text columns: all cells quoted, dangerous ones with a leading quotation mark."""
    guarded = frame.map(lambda cell: f"'{cell}" if str(cell).startswith(_DANGEROUS) else cell)
    return guarded.to_csv(index=False, quoting=csv.QUOTE_ALL, lineterminator="\n")


def from_spreadsheet(cell: str) -> str:
    """A cell as it was before `to_spreadsheet`, without blanks around it."""
    guarded = cell.startswith("'") and cell[1:].startswith(_DANGEROUS)
    return (cell[1:] if guarded else cell).strip()
