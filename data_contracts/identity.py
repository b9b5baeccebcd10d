"""Identity: which images show one picture or one patient, and where copies of a picture contradict each other.

The groups made here are what a split keeps together. They are found from pixels and patient keys only, never from
labels, and are named without patient ids.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from itertools import combinations, product
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from data_contracts.catalog import DUPLICATE, KEPT, Catalog
from data_contracts.near_duplicates import find_near_duplicates
from data_contracts.ontology import ancestors, split_nodes

Edges = NDArray[np.int64]  # (M, 2) positions of rows that belong together

CONFLICT_COLUMNS = (
    "group_id",
    *("source_a", "file_a", "image_a", "nodes_a"),
    *("source_b", "file_b", "image_b", "nodes_b"),
)


class IdentitySettings(BaseModel):
    """Recipe section `identity`: when two pictures are the same picture, and who decided where copies disagree.

    max_hash_distance: differing bits, of 256, up to which perceptual hashes propose a pair.
    min_spectrum_similarity: cosine from which spectra propose a pair; lower ones find copies that are cropped more
    and take longer. min_correlation: of the aligned pictures, from which a proposed pair is the same picture.
    overlay: a file of decisions about labels (overlay.py), as a path below the data folder; None without one.

    The defaults are measured on 2,388 radiographs of six public collections: they find all 110 copies known from
    their files and 20 of 26 cropped copies found by comparing every pair, and take no two patients for one. The
    most alike pictures of two patients reach a correlation of 0.81.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_hash_distance: int = Field(default=48, ge=0, le=128)
    min_spectrum_similarity: float = Field(default=0.95, ge=0.9, le=1)
    min_correlation: float = Field(default=0.90, ge=0.8, le=1)
    overlay: str | None = Field(default=None, min_length=1)


def assign_groups(catalog: Catalog, images: NDArray[np.uint8], settings: IdentitySettings) -> Catalog:
    """Fill `group_id` and `label_conflict` of the kept rows and of the duplicates that repeat them.

    images: (N, H, W) uint8, row `row` of the catalog at index `row`. Rows share a group where a chain of same
    pixels, near duplicates and same patients links them. Rows conflict where copies of their picture, duplicates
    included, carry labels that cannot both hold. The result does not depend on the order of the rows.
    """
    # Sorted by content, so that a pair is compared the same way round whatever the order of the rows.
    readable = catalog.frame[catalog.frame["status"].isin([KEPT, DUPLICATE])]
    rows = readable.sort_values(["image_id", "source", "file"])
    same_pixels = _same(rows["image_id"])
    near = _near_duplicates(rows, images, settings)
    patients = rows["patient"].to_numpy()
    # Two exposures of one patient may look alike and still differ in what they show: no conflict.
    copies = near[(patients[near[:, 0]] != patients[near[:, 1]]) | (patients[near[:, 0]] == "")]
    pictures = _components(len(rows), [same_pixels, copies])
    groups = _components(len(rows), [same_pixels, near, _same(rows["patient"])])

    frame = catalog.frame.assign(group_id="", label_conflict=False)
    frame.loc[rows.index, "group_id"] = _group_ids(groups, rows["image_id"])
    frame.loc[rows.index, "label_conflict"] = _conflicting(pictures, rows["nodes"])
    return Catalog.of(frame)


def find_conflicts(catalog: Catalog) -> pd.DataFrame:
    """The contradicting labels: pairs of conflicting rows that may be copies and whose labels cannot both hold.

    Returns CONFLICT_COLUMNS, one row per pair, sorted by group and file. Needs the columns `assign_groups` fills.
    A group holds several pictures where a patient has several; of the rows it could be set against, a row is
    paired with those whose perceptual hash is near, as long as there are any.
    """
    marked = catalog.frame[catalog.frame["label_conflict"]]
    pairs = []
    for group_id, rows in marked.groupby("group_id"):
        columns = [rows[name].tolist() for name in _Marked._fields]
        found = _contradictions([_Marked(*cells) for cells in zip(*columns, strict=True)])
        pairs += [(group_id, *first[:4], *second[:4]) for first, second in found]
    return pd.DataFrame(pairs, columns=list(CONFLICT_COLUMNS))


class _Marked(NamedTuple):
    """A row that carries a label conflict."""

    source: str
    file: str
    image_id: str
    nodes: str
    patient: str
    phash: str


def _contradictions(rows: list[_Marked]) -> list[tuple[_Marked, _Marked]]:
    """The pairs within one group, see `find_conflicts`."""
    pairs = [
        (first, second)
        for first, second in combinations(rows, 2)
        if (first.image_id == second.image_id or not first.patient or first.patient != second.patient)
        and incompatible(split_nodes(first.nodes), split_nodes(second.nodes))
    ]
    near = {pair for pair in pairs if _hash_distance(*pair) <= IdentitySettings().max_hash_distance}
    matched = {row for pair in near for row in pair}
    return [pair for pair in pairs if pair in near or matched.isdisjoint(pair)]


def _hash_distance(first: _Marked, second: _Marked) -> int:
    """Differing bits; 0 where a hash is not known, for then the two may be copies."""
    if not (first.phash and second.phash):
        return 0
    return (int(first.phash, 16) ^ int(second.phash, 16)).bit_count()


def incompatible(first: Iterable[str], second: Iterable[str]) -> bool:
    """Whether two sets of ontology nodes cannot describe one picture.

    They cannot where one says no_finding and the other a finding, where they name different causes of a pneumonia,
    or where they have nothing in common: a class against an unrelated class. A node agrees with itself, its
    ancestors and descendants; a pneumonia agrees with an opacity, which is how it looks. An empty set agrees with
    everything.
    """
    pairs = list(product(set(first), set(second)))
    return bool(pairs) and (any(_exclusive(a, b) for a, b in pairs) or not any(_agree(a, b) for a, b in pairs))


def _exclusive(a: str, b: str) -> bool:
    if "no_finding" in (a, b):
        return a != b
    causes = "pneumonia" in ancestors(a) and "pneumonia" in ancestors(b)
    return causes and not _related(a, b)


def _agree(a: str, b: str) -> bool:
    kinds = [{node, *ancestors(node)} for node in (a, b)]
    seen_as_opacity = any("pneumonia" in one and "opacity" in other for one, other in (kinds, kinds[::-1]))
    return _related(a, b) or seen_as_opacity


def _related(a: str, b: str) -> bool:
    return a == b or a in ancestors(b) or b in ancestors(a)


def _near_duplicates(rows: pd.DataFrame, images: NDArray[np.uint8], settings: IdentitySettings) -> Edges:
    kept = np.flatnonzero(rows["status"] == KEPT)
    pairs = find_near_duplicates(
        rows["phash"].iloc[kept].tolist(),
        images,
        rows["row"].to_numpy()[kept],
        max_hash_distance=settings.max_hash_distance,
        min_spectrum_similarity=settings.min_spectrum_similarity,
        min_correlation=settings.min_correlation,
    )
    edges: Edges = kept[pairs[["first", "second"]].to_numpy()]
    return edges


def _same(keys: pd.Series) -> Edges:
    """Links from every row to the first row with the same key; rows without a key are linked to none."""
    known = np.flatnonzero(keys != "")
    _, first, inverse = np.unique(keys.to_numpy(dtype=str)[known], return_index=True, return_inverse=True)
    return np.stack([known[first[inverse]], known], axis=1)


def _components(size: int, edges: list[Edges]) -> NDArray[np.int64]:
    first, second = np.concatenate(edges).T
    links = coo_array((np.ones(len(first), np.int8), (first, second)), shape=(size, size))
    _, labels = connected_components(links, directed=False)
    return np.asarray(labels, dtype=np.int64)


def _group_ids(groups: NDArray[np.int64], image_ids: pd.Series) -> list[str]:
    """Named after the smallest image id in the group: unchanged while that image stays in it."""
    smallest = image_ids.groupby(groups).transform("min")
    return [hashlib.sha256(f"group:{image_id}".encode()).hexdigest()[:16] for image_id in smallest]


def _conflicting(pictures: NDArray[np.int64], nodes: pd.Series) -> list[bool]:
    """For each row, whether any copy of its picture carries a label incompatible with any other copy's."""
    labels = nodes.groupby(pictures).unique()
    split = labels[labels.map(len) > 1].map(lambda cells: [split_nodes(cell) for cell in cells])
    contested = {
        picture
        for picture, sets in split.items()
        if any(incompatible(a, b) for position, a in enumerate(sets) for b in sets[position + 1 :])
    }
    return [picture in contested for picture in pictures]
