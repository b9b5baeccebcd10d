"""Fills in what the headers of DICOM files say of patient, view, age and sex where a listing does not say it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from data_contracts.dicom_header import DicomFacts, read_facts
from data_contracts.picture import UnreadableImage
from data_contracts.pseudonyms import patient_key
from data_contracts.sources.base import DICOM_SUFFIXES, Listing
from data_contracts.sources.nih import age_flag, age_in_years


def fill_from_headers(listing: Listing, data_dir: Path, source: str) -> None:
    """Complete the rows of DICOM files in place; headers only, no pixel is read.

    What a table says stays. A file whose header cannot be read is left as it is: decoding gives the reason.
    """
    rows = [row for row in listing.rows if PurePosixPath(str(row["file"])).suffix.lower() in DICOM_SUFFIXES]
    if not rows:
        return
    key, root = patient_key(), data_dir.resolve()
    unread = 0
    for row in rows:
        path = (root / str(row["file"])).resolve()
        try:
            facts = read_facts(path, key) if path.is_relative_to(root) else None
        except UnreadableImage:
            facts = None
        if facts is None:
            unread += 1
        else:
            _fill(row, facts, source)
    if unread:
        listing.notes.append(
            f"{unread} DICOM headers cannot be read; nothing is known of patient, view, age and sex"
        )


def _fill(row: dict[str, object], facts: DicomFacts, source: str) -> None:
    if facts.patient and not row.get("patient"):
        row["patient"] = f"{source}:{facts.patient}"
    row["view"] = row.get("view") or facts.view
    row["sex"] = row.get("sex") or facts.sex
    age = row.get("age")
    if facts.age and not (isinstance(age, float) and age == age):  # NaN is the age that is not known
        row["age"] = age_in_years(facts.age)
        row["flags"] = row.get("flags") or age_flag(facts.age)
