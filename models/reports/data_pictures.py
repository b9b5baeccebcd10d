"""Which pictures a data report shows: what was refused, what looks alike, and copies whose labels contradict."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from models.reports.row_names import RowNames, inert
from models.reports.thumbnails import Thumbnails

if TYPE_CHECKING:
    import pandas as pd

    from data_contracts.catalog import Catalog

REFUSED_SHOWN = 24
CONFLICTS_SHOWN = 12
ALIKE_SHOWN = 6
DUPLICATES_SHOWN = 6
_MEMBERS_COMPARED = 12  # of one group: a patient may have hundreds of images

_Alike = tuple[int, dict[str, str], dict[str, str]]  # differing bits of the hashes, row, row


class _Content(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Picture(_Content):
    """One picture with its name on the page. png: base64, "" where it cannot be shown. note: what is said of it."""

    name: str
    note: str
    png: str


class PicturePair(_Content):
    """Two pictures side by side. remark: what they have in common or why they contradict."""

    first: Picture
    second: Picture
    remark: str


class DataPictures(_Content):
    """The pictures of a data report; each list may be a selection, the counts are complete.

    refused: quarantined files, every reason in turn. alike: near duplicates, the most and the least alike.
    duplicates: the kept picture of files with the same pixels, which looks the same for all of them.
    """

    refused: list[Picture]
    refused_in_all: int
    conflicts: list[PicturePair]
    conflicts_in_all: int
    alike: list[PicturePair]
    alike_in_all: int
    duplicates: list[Picture]
    duplicates_in_all: int


def data_pictures(catalog: Catalog, thumbnails: Thumbnails, names: RowNames) -> DataPictures:
    """Choose and draw the pictures of a catalog that went through identity; the same catalog gives the same."""
    from data_contracts.identity import find_conflicts

    refused = catalog.frame[catalog.frame["status"] == "quarantined"]
    conflicts = find_conflicts(catalog)
    alike = _alike(catalog.kept)
    copies = catalog.frame[catalog.frame["status"] == "duplicate"]
    return DataPictures(
        refused=_refused(refused, thumbnails, names),
        refused_in_all=len(refused),
        conflicts=[_conflict(pair, thumbnails, names) for pair in _records(conflicts.head(CONFLICTS_SHOWN))],
        conflicts_in_all=len(conflicts),
        alike=[_pair(pair, thumbnails, names) for pair in _both_ends(alike)],
        alike_in_all=len(alike),
        duplicates=_duplicates(copies, catalog.kept, thumbnails, names),
        duplicates_in_all=len(copies),
    )


def _refused(rows: pd.DataFrame, thumbnails: Thumbnails, names: RowNames) -> list[Picture]:
    """Every reason in turn, so that one frequent reason does not hide the others."""
    turn = rows.groupby("reason").cumcount()
    chosen = rows.assign(turn=turn).sort_values(["turn", "reason", "source", "file"]).head(REFUSED_SHOWN)
    chosen = chosen.sort_values(["reason", "source", "file"])
    return [
        Picture(name=names(file), note=inert(reason), png=thumbnails.of_refused(file, reason))
        for file, reason in zip(chosen["file"], chosen["reason"], strict=True)
    ]


def _conflict(pair: dict[str, str], thumbnails: Thumbnails, names: RowNames) -> PicturePair:
    first, second = (
        Picture(
            name=names(f"{pair[f'source_{side}']}/{pair[f'file_{side}']}"),
            note=said(pair[f"nodes_{side}"]),
            png=thumbnails.of_image(pair[f"image_{side}"]),
        )
        for side in ("a", "b")
    )
    return PicturePair(first=first, second=second, remark=f"{first.note} or {second.note}?")


def said(nodes: str) -> str:
    """Ontology nodes in words."""
    return inert(nodes.replace("|", " and ").replace("_", " ") or "no label")


def _alike(kept: pd.DataFrame) -> list[_Alike]:
    """(differing bits, row, row) of near duplicates, most alike first.

    A group links pictures of one patient and pictures that look alike; where two of its rows have no patient in
    common, only their looks can have linked them, directly or through others. Of those the closest pair of each
    group is taken.
    """
    members = kept[(kept["group_id"] != "") & (kept["phash"] != "")]
    groups = members.groupby("group_id")
    # Groups of one patient alone are most of a large catalog.
    of_several = (groups["patient"].transform("nunique") > 1) | (members["patient"] == "")
    found = []
    for _, rows in members[of_several & (groups["image_id"].transform("size") > 1)].groupby("group_id"):
        columns = ["source", "file", "image_id", "patient", "phash", "nodes"]
        group = _records(rows.sort_values("image_id")[columns].head(_MEMBERS_COMPARED))
        pairs = [
            (_distance(a["phash"], b["phash"]), a, b)
            for a, b in combinations(group, 2)
            if not a["patient"] or a["patient"] != b["patient"]
        ]
        found.extend(sorted(pairs, key=lambda pair: (pair[0], pair[1]["image_id"], pair[2]["image_id"]))[:1])
    return sorted(found, key=lambda pair: (pair[0], pair[1]["image_id"], pair[2]["image_id"]))


def _both_ends(found: list[_Alike]) -> list[_Alike]:
    """The first and the last: the surest copies and those most worth a look."""
    if len(found) <= ALIKE_SHOWN:
        return found
    return found[: ALIKE_SHOWN // 2] + found[-ALIKE_SHOWN // 2 :]


def _records(rows: pd.DataFrame) -> list[dict[str, str]]:
    return [{str(name): str(cell) for name, cell in row.items()} for row in rows.to_dict("records")]


def _distance(first: str, second: str) -> int:
    return (int(first, 16) ^ int(second, 16)).bit_count()


def _pair(pair: _Alike, thumbnails: Thumbnails, names: RowNames) -> PicturePair:
    distance, *rows = pair
    first, second = (
        Picture(
            name=names(f"{row['source']}/{row['file']}"),
            note=said(row["nodes"]),
            png=thumbnails.of_image(row["image_id"]),
        )
        for row in rows
    )
    return PicturePair(first=first, second=second, remark=f"{distance} of 256 bits of the picture's hash differ")


def _duplicates(rows: pd.DataFrame, kept: pd.DataFrame, thumbnails: Thumbnails, names: RowNames) -> list[Picture]:
    """The kept picture of the first duplicates, one for all files that repeat it."""
    file_of = dict(zip(kept["image_id"], kept["file"], strict=True))
    pictures = []
    for image_id, repeating in list(rows.groupby("image_id"))[:DUPLICATES_SHOWN]:
        others = _few([names(file) for file in repeating["file"]])
        pictures.append(
            Picture(
                name=names(file_of.get(str(image_id), "")),
                note=f"repeated by {others}",
                png=thumbnails.of_image(str(image_id)),
            )
        )
    return pictures


def _few(names: Iterable[str]) -> str:
    first, *others = names
    return f"{first} and {len(others)} more" if others else first
