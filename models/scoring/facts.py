"""What is known of images besides their pixels: told by the caller or by DICOM headers, patients as pseudonyms only."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import pandas as pd

from data_contracts.dicom_header import PERSON, read_elements
from data_contracts.errors import UsageProblem
from data_contracts.images import UnreadableImage
from data_contracts.pseudonyms import patient_key, pseudonym
from data_contracts.sources.nih import age_flag, age_in_years

if TYPE_CHECKING:
    from pydicom import Dataset

# Element of a DICOM header -> its text; empty for other files. Holds the identifier of a patient: never log it.
Header = Mapping[str, str]

COLUMNS = ("source", "patient", "view", "age", "sex", "taken_on")
_SOURCE = re.compile(r"[\w .-]{0,64}")  # no path fits


@dataclass(frozen=True, slots=True)
class Facts:
    """Of one image. patient: "<source>:<pseudonym>" or "". view: AP, PA or "". age: years or nan. sex: F, M or "".

    taken_on: YYYY-MM-DD or "". flags: "age_implausible" or "".
    """

    source: str
    patient: str
    view: str
    age: float
    sex: str
    taken_on: str
    flags: str


def facts_of(
    told: pd.DataFrame | None, headers: Sequence[Header], *, taken_on: str = "", key: bytes | None = None
) -> list[Facts]:
    """The facts of each image: what was told, and from a DICOM header what was not.

    told: any of COLUMNS, a row per image in their order; None or NaN is not known. patient is the identifier as the
    hospital writes it. headers: as `read_header` gives them. taken_on: where no day is told.
    key: of the pseudonyms; by default that of this machine, read only when there is a patient. A view, age or sex that
    is not understood counts as not known. Raises UsageProblem for another number of rows, a day that is none, or a
    source that looks like a path; EnvironmentProblem where the key cannot be read.
    """
    if told is not None and len(told) != len(headers):
        raise _wrong(f"{len(told)} rows of facts for {len(headers)} images")
    rows = [{}] * len(headers) if told is None else told.to_dict("records")
    hidden = _Pseudonyms(key)
    return [
        _facts({str(k): v for k, v in row.items()}, header, taken_on, hidden)
        for row, header in zip(rows, headers, strict=True)
    ]


def read_header(given: object) -> Header:
    """What a DICOM file, or its content, says of person and view; empty for anything else. Never raises."""
    try:
        if isinstance(given, bytes):
            return _elements(io.BytesIO(given))
        if isinstance(given, Path) and given.is_file():
            with given.open("rb") as file:
                return _elements(file)
    except (OSError, UnreadableImage):
        pass  # decoding gives the reason
    return {}


def _elements(file: BinaryIO) -> Header:
    if file.read(132)[128:] != b"DICM":
        return {}
    file.seek(0)
    elements = read_elements(file, PERSON, stop_before_pixels=True)
    return {keyword: _text(elements, keyword) for keyword in PERSON}


def _text(elements: Dataset, keyword: str) -> str:
    try:
        value = elements.get(keyword)
    except Exception:  # pydicom raises nearly anything on damaged values, and quotes them
        return ""
    return value.strip("\0 \t\r\n") if isinstance(value, str) else ""


def day(text: str) -> str:
    """The day as YYYY-MM-DD. Raises UsageProblem where it is none."""
    try:
        return date.fromisoformat(text.strip()).isoformat()
    except ValueError:
        raise _wrong("a day that is not written like 2026-01-31") from None


class _Pseudonyms:
    """Makes pseudonyms with a key that is fetched when the first is needed."""

    def __init__(self, key: bytes | None) -> None:
        self._key = key

    def of(self, identifier: str) -> str:
        if not identifier:
            return ""
        if self._key is None:
            self._key = patient_key()
        return pseudonym(identifier, self._key)


def _facts(told: dict[str, object], header: Header, taken_on: str, hidden: _Pseudonyms) -> Facts:
    cells = {name: _cell(told.get(name)) for name in COLUMNS}
    source = cells["source"]
    if not _SOURCE.fullmatch(source):
        raise _wrong("a source that is no plain name")
    age = cells["age"] or header.get("PatientAge", "")
    patient = hidden.of(cells["patient"] or header.get("PatientID", ""))
    given_day = cells["taken_on"] or taken_on
    return Facts(
        source=source,
        patient=f"{source}:{patient}" if patient else "",
        view=_one_of(("AP", "PA"), cells["view"], header.get("ViewPosition", "")),
        age=age_in_years(age),
        sex=_one_of(("F", "M"), cells["sex"], header.get("PatientSex", "")),
        taken_on=day(given_day) if given_day else "",
        flags="age_implausible" if age_flag(age) == "age_implausible" else "",
    )


def _cell(value: object) -> str:
    unknown = value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value)
    return "" if unknown else str(value).strip()


def _one_of(allowed: tuple[str, ...], *cells: str) -> str:
    return next((cell.upper() for cell in cells if cell.upper() in allowed), "")


def _wrong(what: str) -> UsageProblem:
    return UsageProblem(
        f"The facts about the images cannot be used: {what}.",
        why="Windows are cut by day and compared by source; a wrong one would be counted elsewhere in silence.",
        cure="Give a row per image; taken_on as YYYY-MM-DD; source as letters, digits, blanks, '.', '_' and '-'.",
    )
