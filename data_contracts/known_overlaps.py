"""Which public datasets are known to hold the same radiographs, and what identity found of it in a catalog."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

from data_contracts.catalog import QUARANTINED, Catalog


@dataclass(frozen=True, slots=True)
class KnownOverlap:
    """Two sources that share material. material: what is shared, with the number in the whole releases if known."""

    sources: tuple[str, str]
    material: str


_KERMANY = "the paediatric films of Kermany et al. 2018"
_COHEN = "COVID-19 films of the collection of Cohen et al. 2020 and the web pages it draws on"

# From the datasets' own release notes, from counts that agree exactly, and from files that are identical.
KNOWN_OVERLAPS = (
    KnownOverlap(("nih", "radiography"), "RSNA films taken from NIH (8,851 normal and 6,012 opacity)"),
    KnownOverlap(("chest-xray-pneumonia", "radiography"), f"{_KERMANY} (1,345 viral and 1,341 normal)"),
    KnownOverlap(("chest-xray-pneumonia", "mendeley"), f"{_KERMANY} (most bacterial and viral pneumonias)"),
    KnownOverlap(("chest-xray-pneumonia", "covid19-pneumonia"), f"{_KERMANY} (all 5,856)"),
    KnownOverlap(("chest-xray-pneumonia", "covid-pneumonia-normal"), f"{_KERMANY} (how many is not published)"),
    KnownOverlap(("mendeley", "radiography"), f"{_COHEN}, and {_KERMANY}"),
    KnownOverlap(("covid19-pneumonia", "radiography"), f"{_COHEN}, and {_KERMANY}"),
    KnownOverlap(("covid19-pneumonia", "mendeley"), f"{_COHEN}, and {_KERMANY}"),
    KnownOverlap(("covid-pneumonia-normal", "radiography"), f"{_COHEN}, and films of NIH and of {_KERMANY[4:]}"),
    KnownOverlap(("covid-pneumonia-normal", "mendeley"), f"{_COHEN}, and {_KERMANY}"),
    KnownOverlap(("covid-pneumonia-normal", "covid19-pneumonia"), f"{_COHEN}, and {_KERMANY}"),
    KnownOverlap(("covid-pneumonia-normal", "nih"), "films taken from NIH (how many is not published)"),
)


def overlap_statements(catalog: Catalog) -> list[str]:
    """A sentence for each pair of combined sources that is known to overlap, or was found to, sorted by source.

    Needs the groups that identity fills; counts those that hold readable rows of both sources.
    """
    frame = catalog.frame
    rows = frame[(frame["status"] != QUARANTINED) & (frame["group_id"] != "")]
    groups = {str(source): set(ids) for source, ids in rows.groupby("source")["group_id"]}
    known = {tuple(sorted(overlap.sources)): overlap.material for overlap in KNOWN_OVERLAPS}
    statements = []
    for pair in combinations(sorted(groups), 2):
        shared = len(groups[pair[0]] & groups[pair[1]])
        names = " and ".join(pair)
        if pair in known:
            statements.append(f"{names} are known to share {known[pair]}; {_found(shared)}.")
        elif shared:
            statements.append(f"{names} are not known to overlap, yet {_found(shared)}.")
    return statements


def _found(shared: int) -> str:
    if not shared:
        return "none was found here, so either the copies are not among these images or they were not recognised"
    return f"{shared:,} identity group{'s hold' if shared > 1 else ' holds'} images of both here"
