"""The tables and notes beside the pictures of the raw layouts, byte for byte the same each time."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
from openpyxl import Workbook
from openpyxl.packaging.core import DocumentProperties
from openpyxl.xml.functions import tostring

from data_contracts.sources.phantom.anatomy import Anatomy
from data_contracts.sources.phantom.plan import FOLDERS, Plate
from data_contracts.sources.phantom.randomness import Stream, random_stream

METADATA_HEADER = ("FILE NAME", "FORMAT", "SIZE", "URL")
# As published in 2017: the brackets hold unquoted commas, and every line ends with one.
ENTRY_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)
BOX_HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,"
BOX_SIDE = 1024  # boxes are in the coordinates of the original pictures
_DETECTORS = (
    (2500, 2048, 0.168),
    (2048, 2500, 0.168),
    (3056, 2544, 0.139),
    (2992, 2991, 0.14300000000000002),
)
_BOX_NAMES = {"Infiltration": "Infiltrate"}
_THEN = datetime(2020, 1, 1)  # noqa: DTZ001 - office documents carry no zone; read as UTC
_README = """PHANTOM CHEST X-RAYS

These pictures are drawn by a program. They show no patient and are not part of any public collection; only
the folders, file names and tables follow the layout of the 2021 release of the COVID-19 Radiography Database.
Use them to try software, never to judge a person or a model for medical use.

"""


def write_workbook(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """One sheet named Sheet1. The library stamps the present time into the file; it is put back to a fixed one."""
    workbook = Workbook()
    sheet = workbook.active
    sheet.title = "Sheet1"
    for row in (header, *rows):
        sheet.append(list(row))
    stamped = io.BytesIO()
    workbook.save(stamped)
    properties = DocumentProperties(creator="lungline phantom", created=_THEN, modified=_THEN)
    with zipfile.ZipFile(stamped) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in sorted(old.namelist()):
            content = tostring(properties.to_tree()) if name == "docProps/core.xml" else old.read(name)
            entry = zipfile.ZipInfo(name, date_time=_THEN.timetuple()[:6])
            new.writestr(entry, content, zipfile.ZIP_DEFLATED)


def write_radiography_tables(root: Path, plates: Sequence[Plate]) -> None:
    """A workbook per class and the note beside them."""
    folder = root / FOLDERS["radiography"]
    by_label: dict[str, list[Plate]] = {}
    for plate in plates:
        if plate.source == "radiography":
            by_label.setdefault(plate.label, []).append(plate)
    for label, members in by_label.items():
        stems = [Path(plate.file).stem for plate in members]
        if label == "Normal":
            stems = [stem.replace("Normal", "NORMAL") for stem in stems]  # spelled so in the original table
        rows = [(stem, "PNG", "256*256", "https://phantom.invalid/") for stem in stems]
        write_workbook(folder / f"{label}.metadata.xlsx", METADATA_HEADER, rows)
    counts = "".join(f"{label}: {len(members)} images\n" for label, members in by_label.items())
    (folder / "README.md.txt").write_text(_README + counts, encoding="utf-8", newline="\n")


def write_nih_tables(
    root: Path, plates: Sequence[Plate], boxes: Mapping[str, tuple[int, int, int, int]], seed: int
) -> None:
    """Findings, boxes and the two lists split by patient.

    boxes: file -> (left, top, width, height) in its pixels.
    """
    folder = root / FOLDERS["nih"]
    rng = random_stream(seed, Stream.PLAN, 1)
    rows = [plate for plate in plates if plate.source == "nih"]
    in_test = {patient: rng.random() < 0.2 for patient in sorted({plate.patient for plate in rows})}
    entries, box_rows = io.StringIO(newline=""), io.StringIO(newline="")
    entries.write(ENTRY_HEADER + "\n")
    box_rows.write(BOX_HEADER + "\n")
    entry_writer, box_writer = (csv.writer(table, lineterminator="\n") for table in (entries, box_rows))
    for plate in rows:
        name = Path(plate.file).name
        person = Anatomy.of_patient(seed, plate.patient)
        width, height, spacing = _DETECTORS[int(rng.integers(len(_DETECTORS)))]
        facts = (plate.followup, plate.patient, person.age + plate.followup // 2, person.sex, plate.view)
        entry_writer.writerow((name, plate.label, *facts, width, height, spacing, spacing, ""))
        finding = plate.label.split("|")[-1]
        boxed = rng.random() < 0.5
        if boxed and plate.file in boxes and not plate.effusion:
            corners = np.array(boxes[plate.file]) * BOX_SIDE / plate.side
            box_writer.writerow((name, _BOX_NAMES.get(finding, finding), *(float(x) for x in corners)))
    lists = {"train_val_list.txt": False, "test_list.txt": True}
    for list_name, test in lists.items():
        names = [Path(plate.file).name + "\n" for plate in rows if in_test[plate.patient] == test]
        (folder / list_name).write_text("".join(names), encoding="utf-8", newline="\n")
    for table_name, table in (("Data_Entry_2017.csv", entries), ("BBox_List_2017.csv", box_rows)):
        (folder / table_name).write_text(table.getvalue(), encoding="utf-8", newline="\n")
