"""Whether a dataset's label table is the one a recipe was written for, and what changed where it is not.

Datasets are published again with other labels under the same name: the NIH table of 2017 and that of 2020 differ.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import pandas as pd

from data_contracts.catalog import Catalog
from data_contracts.errors import DataGateError, UsageProblem
from data_contracts.sources.base import folders_below

Labels = Mapping[str, frozenset[str]]  # image file name -> labels as the source writes them

DIFFERENCE_COLUMNS = ("label", "earlier", "now", "added", "removed")
_IMAGE_COLUMNS = ("Image Index", "Image_Index", "file")
_LABEL_COLUMNS = ("Finding Labels", "Finding_Labels", "label")
_LISTED = 12


def read_labels(path: Path) -> Labels:
    """The labels of a table (NIH, or a team's labels.csv) or of a catalog written earlier (.parquet).

    Raises UsageProblem where the file is neither.
    """
    if path.suffix == ".parquet":
        frame = Catalog.load(path).frame
        return {
            PurePosixPath(file).name: _names(label)
            for file, label in zip(frame["file"], frame["raw_label"], strict=True)
        }
    try:
        reader = csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline=""))
        header = [cell.strip() for cell in next(reader, [])]
        # Both columns stand before the one whose name holds commas, so their positions are right.
        image = next(header.index(name) for name in _IMAGE_COLUMNS if name in header)
        label = next(header.index(name) for name in _LABEL_COLUMNS if name in header)
        return {row[image].strip(): _names(row[label]) for row in reader if len(row) > max(image, label)}
    except (OSError, UnicodeDecodeError, csv.Error, StopIteration) as error:
        raise UsageProblem(
            f"{path.name} cannot be read as a table of labels.",
            why="Its labels cannot be compared with the pinned ones.",
            cure=f"Give a UTF-8 CSV with the columns {_IMAGE_COLUMNS[0]} and {_LABEL_COLUMNS[0]}, or a catalog.",
        ) from error


def label_differences(earlier: Labels, now: Labels) -> pd.DataFrame:
    """How often each label occurs in two tables, and how many of the images in both got or lost it.

    Returns DIFFERENCE_COLUMNS, sorted by label, only labels that differ in any of the counts.
    """
    both = earlier.keys() & now.keys()
    counts = [Counter(label for labels in table.values() for label in labels) for table in (earlier, now)] + [
        Counter(label for image in both for label in one[image] - other[image])
        for one, other in ((now, earlier), (earlier, now))
    ]
    rows = [(label, *(count[label] for count in counts)) for label in sorted(set().union(*counts))]
    changed = [row for row in rows if row[1] != row[2] or row[3] or row[4]]
    return pd.DataFrame(changed, columns=list(DIFFERENCE_COLUMNS))


def describe_differences(earlier: Labels, now: Labels) -> str:
    """The differences of two tables in a sentence, or "" where images and labels agree."""
    changed = sum(earlier[image] != now[image] for image in earlier.keys() & now.keys())
    gone, new = len(earlier.keys() - now.keys()), len(now.keys() - earlier.keys())
    if not (changed or gone or new):
        return ""
    table = label_differences(earlier, now)
    moves = [f"{row[0]} +{row[3]} -{row[4]}" for row in table.to_numpy().tolist() if row[3] or row[4]]
    by_label = f" ({', '.join(moves[:_LISTED])}{', …' if len(moves) > _LISTED else ''})" if moves else ""
    return f"{changed:,} images have other labels{by_label}, {new:,} images are new and {gone:,} are gone"


def check_pinned_table(path: Path, sha256: str, earlier: Path | None = None) -> None:
    """Raise DataGateError unless the file's bytes have this sha256, saying how its labels differ from `earlier`.

    sha256: 64 hex digits. earlier: the pinned table or a catalog made from it, where there still is one.
    """
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found == sha256.casefold():
        return
    if earlier is None or not earlier.is_file():
        difference = "No earlier table is at hand to compare its labels with"
    else:
        said = describe_differences(read_labels(earlier), read_labels(path))
        difference = f"Against {earlier.name}: {said or 'no label differs'}"
    raise DataGateError(
        f"{path.name} has sha256 {found}, and the recipe pins {sha256}. {difference}.",
        why="With other labels under the same name, results would not be comparable with earlier ones.",
        cure="Put the pinned table back, or pin the new one after looking at what changed.",
    )


def check_pinned_tables(pinned: Mapping[str, str], data_dir: Path, kept: Path) -> None:
    """Hold each pinned table below `data_dir` against its sha256, and keep the labels of those that pass.

    pinned: file name -> 64 hex digits. kept: a folder for the labels of tables that passed, so that a later revision
    can be compared with them; of a table it holds image names and labels, nothing else. Raises DataGateError where a
    table differs and UsageProblem where none of that name is there.
    """
    for name, sha256 in sorted(pinned.items()):
        path = next((folder / name for folder in folders_below(data_dir) if (folder / name).is_file()), None)
        if path is None:
            raise UsageProblem(
                f"The recipe pins {name}, and no such file lies in {data_dir}.",
                why="Without the table nobody can tell which revision of the labels is used.",
                cure="Put the table beside the images, or take it out of validation.pinned_tables.",
            )
        earlier = kept / f"{sha256.casefold()}.csv"
        check_pinned_table(path, sha256, earlier)
        if not earlier.is_file():
            _keep(read_labels(path), earlier)


def _keep(labels: Labels, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8", newline="") as table:
        writer = csv.writer(table)
        writer.writerow((_IMAGE_COLUMNS[0], _LABEL_COLUMNS[0]))
        writer.writerows((image, "|".join(sorted(names))) for image, names in sorted(labels.items()))
    os.replace(part, path)


def _names(cell: str) -> frozenset[str]:
    return frozenset(name.strip() for name in cell.split("|") if name.strip())
