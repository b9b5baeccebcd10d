"""NIH ChestX-ray14: a findings table beside image folders, with patients, ages and views; labels mined from reports."""

from __future__ import annotations

import csv
import io
import math
import re
from pathlib import Path

from data_contracts.errors import UsageProblem
from data_contracts.ontology import join_nodes
from data_contracts.sources.base import Listing, SourceDescription, folders_below, is_image
from data_contracts.sources.label_revisions import describe_differences, read_labels
from data_contracts.sources.nih_annotations import official_split_of, read_boxes, read_official_split

NODES = {
    "no finding": "no_finding",
    "atelectasis": "atelectasis",
    "cardiomegaly": "cardiomegaly",
    "consolidation": "consolidation",
    "edema": "edema",
    "effusion": "effusion",
    "emphysema": "emphysema",
    "fibrosis": "fibrosis",
    "hernia": "hernia",
    "infiltration": "infiltration",
    "mass": "mass",
    "nodule": "nodule",
    "pleural_thickening": "pleural_thickening",
    "pneumonia": "pneumonia",
    "pneumothorax": "pneumothorax",
}
TABLES = ("Data_Entry_2017.csv", "Data_Entry_2017_v2020.csv")
REQUIRED = ("Image Index", "Finding Labels", "Patient ID", "Patient Age", "Patient Gender", "View Position")


class Nih:
    """Reads the table and `images_0xx/images/*.png` (Kaggle) or `images/*.png` (the original archives)."""

    description = SourceDescription(
        name="nih",
        title="NIH ChestX-ray14",
        handle="kaggle: nih-chest-xrays/data",
        licence="NIH Clinical Center: free use with a link to the download site and citation",
        citation="Wang et al., CVPR 2017, 3462–3471",
        expected_images=112_120,
    )

    def find(self, data_dir: Path) -> Path | None:
        return next((f for f in folders_below(data_dir) if any((f / t).is_file() for t in TABLES)), None)

    def read(self, folder: Path, data_dir: Path) -> Listing:
        listing = Listing()
        table, *others = [folder / name for name in TABLES if (folder / name).is_file()]
        rows = _read_table(table, listing)
        for other in others:
            listing.notes.append(_compared(other, table))
        boxes, lists = read_boxes(folder, NODES, listing), read_official_split(folder, listing)
        images = _images_by_name(folder, listing)
        release = "v2020" if table.name.endswith("v2020.csv") else "2017"
        for name, image in sorted(images.items()):
            row = rows.pop(name, None)
            official_split, list_flag = official_split_of(name, lists)
            common = {
                "source": self.description.name,
                "release": release,
                "file": image.relative_to(data_dir).as_posix(),
                "label_method": "report-nlp",
                "official_split": official_split,
                "boxes": boxes.get(name, ""),
                "licence": self.description.licence,
            }
            if row is None:
                listing.add(problem=f"no row in {table.name}", flags=list_flag, **common)
                continue
            nodes, problem = findings(row["Finding Labels"])
            listing.add(
                nodes=nodes,
                problem=problem or row.get("problem", ""),
                raw_label=row["Finding Labels"],
                patient=f"nih:{row['Patient ID'].strip()}",
                view=_one_of(row["View Position"], ("AP", "PA")),
                age=age_in_years(row["Patient Age"]),
                flags=join_nodes(filter(None, (age_flag(row["Patient Age"]), list_flag))),
                sex=_one_of(row["Patient Gender"], ("F", "M")),
                **common,
            )
        if rows:
            listing.notes.append(f"{len(rows)} rows of {table.name} have no image on disk")
        return listing


def findings(cell: str) -> tuple[list[str], str]:
    """The ontology nodes of a `|`-separated cell and, where it cannot be trusted, the reason (else "")."""
    names = [name.strip() for name in cell.split("|") if name.strip()]
    unknown = [name for name in names if name.casefold() not in NODES]
    if unknown or not names:
        return [], "unknown label: " + repr(", ".join(unknown) or cell)[:80]
    nodes = [NODES[name.casefold()] for name in names]
    if "no_finding" in nodes and len(set(nodes)) > 1:
        return [], "contradictory label: No Finding together with a finding"
    return nodes, ""


def age_in_years(cell: str) -> float:
    """Years from "57", "058Y" or "12M" (months); NaN for what cannot be an age (the 2017 table holds 414)."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([YMWD]?)\s*", cell, flags=re.IGNORECASE)
    if match is None:
        return math.nan
    per_year = {"": 1.0, "Y": 1.0, "M": 12.0, "W": 52.1775, "D": 365.2425}[match[2].upper()]
    years = float(match[1]) / per_year
    return years if years <= 120 else math.nan


def age_flag(cell: str) -> str:
    """What the catalog's `flags` say of an age that is not usable: "age_missing", "age_implausible", else ""."""
    if not math.isnan(age_in_years(cell)):
        return ""
    return "age_missing" if cell.strip().casefold() in ("", "nan") else "age_implausible"


def _compared(other: Path, table: Path) -> str:
    """A note that two releases of the table are here, and how their labels differ."""
    try:
        difference = describe_differences(read_labels(table), read_labels(other)) or "no label differs"
    except UsageProblem as error:
        difference = error.what
    return f"{table.name} is used and {other.name} is here too; going by the latter {difference}"


def _one_of(cell: str, allowed: tuple[str, ...]) -> str:
    value = cell.strip().upper()
    return value if value in allowed else ""


def _read_table(table: Path, listing: Listing) -> dict[str, dict[str, str]]:
    """Rows by image name. Square brackets in the header hold commas, so columns are taken by position of their name."""
    try:
        text = table.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageProblem(
            f"{table.name} is not UTF-8 text ({error.reason} at byte {error.start}).",
            why="Labels read in the wrong encoding would be wrong in silence.",
            cure="Save the table as UTF-8 CSV, or fetch the original again.",
        ) from error
    try:
        # newline="" leaves line ends inside quotes to the reader.
        header, *lines = list(csv.reader(io.StringIO(text, newline=""))) or [[]]
    except csv.Error as error:
        raise UsageProblem(
            f"{table.name} is not a readable CSV table: {error}.",
            why="Labels of the wrong row would be wrong in silence.",
            cure="Fetch the original table again.",
        ) from error
    header = [name.strip() for name in header]
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        raise UsageProblem(
            f"{table.name} lacks the columns {', '.join(missing)}; its header begins {','.join(header)[:80]!r}.",
            why="Without them images have no label or patient.",
            cure="Use the original comma-separated table of the dataset.",
        )
    position = {name: header.index(name) for name in REQUIRED}
    rows: dict[str, dict[str, str]] = {}
    short = repeated = 0
    for cells in lines:
        if len(cells) <= max(position.values()):
            short += 1
            continue
        row = {name: cells[index] for name, index in position.items()}
        name = row["Image Index"].strip()
        if name not in rows:
            rows[name] = row
            continue
        repeated += 1
        if rows[name]["Finding Labels"] != row["Finding Labels"]:
            rows[name]["problem"] = "listed twice with different labels"
    if not rows:
        listing.notes.append(f"{table.name} has a header and no rows")
    if short:
        listing.notes.append(f"{short} rows of {table.name} have too few columns and were ignored")
    if repeated:
        listing.notes.append(f"{repeated} rows of {table.name} repeat an earlier image")
    return rows


def _images_by_name(folder: Path, listing: Listing) -> dict[str, Path]:
    images: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if not is_image(path):
            continue
        if path.name in images:
            listing.notes.append(f"{path.name} lies in two folders; the first is used")
            continue
        images[path.name] = path
    return images
