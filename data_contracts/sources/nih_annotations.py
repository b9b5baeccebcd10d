"""What NIH publishes beside the findings table: the official train and test lists, and boxes around findings."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter, defaultdict
from pathlib import Path

from data_contracts.sources.base import Listing

LISTS = {"train_val_list.txt": "train_val", "test_list.txt": "test"}
BOXES = "BBox_List_2017.csv"
IN_NO_LIST = "in_no_official_list"
IN_BOTH_LISTS = "in_both_official_lists"

BOX_SIDE = 1024  # boxes are in pixels of the published images, which are squares of this side
_INSIDE = 1e-3  # how far a box may reach out, as a share of the side: coordinates are rounded averages
_OTHER_NAMES = {"infiltrate": "infiltration"}


def read_official_split(folder: Path, listing: Listing) -> dict[str, str] | None:
    """Image name -> train_val or test, or "" where both lists name it; None where a list is missing.

    With one list alone an image outside it may be in the other or in none, so neither is used.
    """
    if missing := [name for name in LISTS if not (folder / name).is_file()]:
        listing.notes.append(f"{' and '.join(missing)} not found: the official split is not known")
        return None
    split: dict[str, str] = {}
    for name, part in LISTS.items():
        for line in (folder / name).read_text(encoding="utf-8-sig", errors="replace").splitlines():
            if image := line.strip():
                split[image] = part if split.get(image, part) == part else ""
    return split


def official_split_of(image: str, split: dict[str, str] | None) -> tuple[str, str]:
    """The image's part of the official split, and the flag where there is none although the lists are there."""
    if split is None:
        return "", ""
    if image not in split:
        return "", IN_NO_LIST
    return split[image], "" if split[image] else IN_BOTH_LISTS


def read_boxes(folder: Path, nodes: dict[str, str], listing: Listing) -> dict[str, str]:
    """Image name -> JSON list of {"node", "x", "y", "w", "h"}: left, top, width and height as shares of the sides.

    nodes: casefolded finding -> ontology node. The header names four columns in one, "Bbox [x,y,w,h]", so cells are
    taken by position. Lines that hold no box are counted in the listing's notes.
    """
    table = folder / BOXES
    if not table.is_file():
        return {}
    boxes: dict[str, list[dict[str, str | float]]] = defaultdict(list)
    passed_over: Counter[str] = Counter()
    reader = csv.reader(io.StringIO(table.read_text(encoding="utf-8-sig", errors="replace"), newline=""))
    try:
        next(reader, [])
        for cells in reader:
            finding = cells[1].strip().casefold() if len(cells) > 1 else ""
            node = nodes.get(_OTHER_NAMES.get(finding, finding))
            corners = _shares(cells[2:6])
            if node is None:
                passed_over["an unknown finding"] += 1
            elif corners is None:
                passed_over["coordinates that are no box inside the image"] += 1
            else:
                boxes[cells[0].strip()].append({"node": node, **corners})
    except csv.Error as error:
        listing.notes.append(f"{BOXES} is not readable from line {reader.line_num} on: {error}")
    listing.notes += [f"{BOXES}: {count} lines with {what} ignored" for what, count in sorted(passed_over.items())]
    return {image: json.dumps(found, separators=(",", ":")) for image, found in boxes.items()}


def _shares(cells: list[str]) -> dict[str, float] | None:
    """x, y, w and h as shares, or None where they are no box inside the image."""
    try:
        x, y, w, h = (float(cell) / BOX_SIDE for cell in cells)
    except ValueError:
        return None
    inside = min(x, y) >= -_INSIDE and max(x + w, y + h) <= 1 + _INSIDE
    if not all(map(math.isfinite, (x, y, w, h))) or min(w, h) <= 0 or not inside:
        return None
    return {name: round(min(max(value, 0.0), 1.0), 6) for name, value in zip("xywh", (x, y, w, h), strict=True)}
