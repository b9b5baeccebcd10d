"""The tables of a data report: sources, patients, doubts, and how far a source gives its classes away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from models.reports.row_names import inert

if TYPE_CHECKING:
    import pandas as pd

    from data_contracts.association import Association
    from data_contracts.catalog import Catalog

_FLAGS = {
    "age_implausible": "the source gives an age that nobody has; it is taken as unknown",
    "inversion_suspected": "the picture may be shown in negative",
    "unlike_frontal_chest": "the picture does not look like a frontal chest film",
    "label_resolved": "a person decided about a contradicting label",
    "label_excluded": "a person decided not to use the image",
    "label_disputed": "readers of the image disagree",
}


class _Content(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceRow(_Content):
    """One source: what it offered and what is known of its images.

    with_patient counts kept images with a patient id, patients the ids. official: images on its published lists,
    by list; empty where it publishes none.
    """

    source: str
    release: str
    licence: str
    labels_by: str
    external: bool
    offered: int
    kept: int
    quarantined: int
    duplicate: int
    with_patient: int
    patients: int
    official: dict[str, int]


class PopulationRow(_Content):
    """Who the images of one source and class show; ages in years, None where none is known."""

    source: str
    class_title: str
    images: int
    ages_known: int
    age_low: float | None
    age_median: float | None
    age_high: float | None
    female: int
    male: int
    ap: int
    pa: int


class FlagRow(_Content):
    """Kept images that carry a flag, by source. meaning: "" where it is not a flag of Lungline's own."""

    flag: str
    meaning: str
    counts: dict[str, int]


class AssociationTable(_Content):
    """Class x source counts of the split images. cells: class title -> source -> images."""

    sources: list[str]
    cells: dict[str, dict[str, int]]
    single_source: list[str]
    cramers_v: float | None
    undefined: str
    verdict: str


def source_rows(catalog: Catalog, external: frozenset[str]) -> list[SourceRow]:
    """One row per source, sorted by name."""
    rows = []
    for source, offered in catalog.frame.groupby("source"):
        status = offered["status"].value_counts()
        kept = offered[offered["status"] == "kept"]
        known = kept.loc[kept["patient"] != "", "patient"]
        lists = kept.loc[kept["official_split"] != "", "official_split"].value_counts()
        rows.append(
            SourceRow(
                source=str(source),
                release=_values(offered["release"]),
                licence=_values(offered["licence"]),
                labels_by=_values(offered["label_method"]),
                external=source in external,
                offered=len(offered),
                kept=len(kept),
                quarantined=int(status.get("quarantined", 0)),
                duplicate=int(status.get("duplicate", 0)),
                with_patient=len(known),
                patients=known.nunique(),
                official={str(name): int(count) for name, count in sorted(lists.items())},
            )
        )
    return rows


def _values(column: pd.Series[str]) -> str:
    found = sorted(set(column) - {""})
    return inert(", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else ""))


def population_rows(kept: pd.DataFrame, class_titles: Mapping[str, str]) -> list[PopulationRow]:
    """One row per source and class of the labelled images, in the order of source and task."""
    order = {name: position for position, name in enumerate(class_titles)}
    cells = [(str(source), str(label), rows) for (source, label), rows in kept.groupby(["source", "label"])]
    cells.sort(key=lambda cell: (cell[0], order.get(cell[1], len(order)), cell[1]))
    return [_population(source, class_titles.get(label, inert(label)), rows) for source, label, rows in cells]


def _population(source: str, class_title: str, rows: pd.DataFrame) -> PopulationRow:
    ages = rows["age"].dropna()
    low, median, high = ages.quantile([0.25, 0.5, 0.75]) if len(ages) else (None, None, None)
    return PopulationRow(
        source=source,
        class_title=class_title,
        images=len(rows),
        ages_known=len(ages),
        age_low=low,
        age_median=median,
        age_high=high,
        female=int((rows["sex"] == "F").sum()),
        male=int((rows["sex"] == "M").sum()),
        ap=int((rows["view"] == "AP").sum()),
        pa=int((rows["view"] == "PA").sum()),
    )


def flag_rows(kept: pd.DataFrame) -> list[FlagRow]:
    """One row per flag, most frequent first."""
    flagged = kept.loc[kept["flags"] != "", ["source", "flags"]]
    single = flagged.assign(flag=flagged["flags"].str.split("|")).explode("flag")
    rows = [
        FlagRow(
            flag=inert(str(flag).replace("_", " ")),
            meaning=_FLAGS.get(str(flag), ""),
            counts={str(source): int(count) for source, count in sorted(group["source"].value_counts().items())},
        )
        for flag, group in single.groupby("flag")
    ]
    return sorted(rows, key=lambda row: (-sum(row.counts.values()), row.flag))


def association_table(frame: pd.DataFrame, class_titles: Mapping[str, str]) -> AssociationTable | None:
    """The association of a split catalog; None before the split, or where no image is in one."""
    from data_contracts.association import class_source_association

    found: Association = class_source_association(frame)
    if not found.images:
        return None
    order = [*(name for name in class_titles if name in found.table), *sorted(found.table.keys() - class_titles)]
    return AssociationTable(
        sources=sorted({source for counts in found.table.values() for source in counts}),
        cells={class_titles.get(name, inert(name)): found.table[name] for name in order},
        single_source=[class_titles.get(name, inert(name)) for name in found.single_source_classes],
        cramers_v=found.cramers_v,
        undefined=found.undefined,
        verdict=found.verdict,
    )
