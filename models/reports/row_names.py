"""Names the rows of a catalog on a page without naming a patient.

A file name is shown only where its source gives no patient ids at all. Sources that give them (NIH, the
paediatric set) write the patient into the file name, so their rows are named by the first digits of the image
id, or of the file hash where the image could not be decoded. Both are columns of the run's catalog.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from models.reports.formatting import short_hash

if TYPE_CHECKING:
    import pandas as pd


# A cell that begins with one of these is run as a formula by a spreadsheet program (OWASP, "CSV Injection"), and
# tables of a page are copied into such programs.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def inert(text: str) -> str:
    """Text of a dataset that stays text when a table is copied into a spreadsheet program."""
    return f"'{text}" if text.startswith(_FORMULA) else text


class RowNames:
    """The name of every row of a frame with the columns source, file, patient, image_id and file_sha256."""

    def __init__(self, frame: pd.DataFrame) -> None:
        sources_with_patients = set(frame.loc[frame["patient"] != "", "source"])
        self._patients = {key.partition(":")[2].lstrip("0") for key in frame["patient"]} - {""}
        self._names: dict[str, str] = {}
        self._withheld: list[str] = []
        columns = [frame[name] for name in ("source", "file", "image_id", "file_sha256")]
        for source, file, image_id, file_sha256 in zip(*columns, strict=True):
            name = inert(file)
            if source in sources_with_patients:
                name = _by_hash(source, image_id, file_sha256)
                self._withheld.extend(filter(None, (f"{source}/{file}", file)))  # a path may be missing
            self._names[file] = self._names[f"{source}/{file}"] = name

    def __call__(self, written: str) -> str:
        """The name to show for a row written as "file" or "source/file".

        A string that names no row is shown as it is, unless it holds a patient id of the catalog.
        """
        if written in self._names:
            return self._names[written]
        words = {word.lstrip("0") for word in re.split(r"[^0-9A-Za-z]+", written)}
        return "name withheld" if words & self._patients else inert(written)

    def within(self, sentence: str) -> str:
        """The sentence with the rows it mentions named as on the page."""
        # Longer names first, because one may be part of another.
        for written in sorted((name for name in self._withheld if name in sentence), key=len, reverse=True):
            sentence = sentence.replace(written, self._names[written])
        return sentence


def _by_hash(source: str, image_id: str, file_sha256: str) -> str:
    if image_id:
        return f"{source}, image {short_hash(image_id)}"
    return f"{source}, file {short_hash(file_sha256)}" if file_sha256 else f"{source}, name withheld"
