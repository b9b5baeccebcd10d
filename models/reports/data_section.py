"""What a report says of the data: counts, composition, identity, quarantine and validation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ConfigDict, model_validator

from data_contracts.expectations.report import ValidationReport
from data_contracts.expectations.waivers import waived_class
from data_contracts.ontology import NO_CLASS
from models.reports.row_names import RowNames, inert

if TYPE_CHECKING:
    import pandas as pd

    from data_contracts.catalog import Catalog

REASONS_SHOWN = 9
LISTED = 20  # rows named per list; the count beside it is complete


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Counts(_Section):
    """What became of the files that the sources offered; the last three sum to the first."""

    offered: int
    kept: int
    quarantined: int
    duplicate: int

    @model_validator(mode="after")
    def _add_up(self) -> Self:
        if self.kept + self.quarantined + self.duplicate != self.offered:
            raise ValueError("kept, quarantined and duplicate files must sum to the files offered")
        return self


class Reason(_Section):
    """Why rows are not used, how many, and the names of up to `LISTED` of them."""

    reason: str
    count: int
    rows: list[str] = []


class Duplicate(_Section):
    """A row that repeats the pixels of a kept row."""

    row: str
    repeats: str


class LabelledCopy(_Section):
    """One copy of a picture and the label its source gives it."""

    row: str
    label: str


class CompositionRow(_Section):
    """Images and identity groups of one source, class and split; split is "" before the split."""

    source: str
    class_title: str
    split: str
    images: int
    groups: int


class Identity(_Section):
    """How many identity groups there are and whether the split holds them together."""

    groups: int
    largest_group: int
    without_patient_id: int
    groups_in_several_splits: int


class Confounded(_Section):
    """A class that exists in one source only and is trained on for a written reason."""

    class_title: str
    reason: str


class DataSection(_Section):
    """Everything the data part of a page shows.

    label_conflicts lists up to `LISTED` groups of copies. several_labels: an image may show several classes and then
    counts for each of them in the composition.
    """

    counts: Counts
    quarantine: list[Reason]
    duplicates: list[Duplicate]
    label_conflict_groups: int
    label_conflicts: list[list[LabelledCopy]]
    composition: list[CompositionRow]
    several_labels: bool = False
    confounded: list[Confounded] = []
    excluded: list[Reason]
    identity: Identity
    split_settings: dict[str, str]
    validation: ValidationReport | None = None


def data_section(
    catalog: Catalog,
    *,
    class_titles: Mapping[str, str],
    split_settings: Mapping[str, str],
    validation: ValidationReport | None = None,
) -> DataSection:
    """The data section of a catalog, whether or not it has been through labelling and the split.

    class_titles: class name -> title, in the task's order. split_settings: what a person reads -> value.
    """
    from data_contracts.expectations.rows import one_per_label

    frame, kept = catalog.frame, catalog.kept
    names = RowNames(frame)
    labelled = kept[kept["label"] != ""]
    several = bool(labelled["label"].str.contains("|", regex=False).any() or (labelled["label"] == NO_CLASS).any())
    titles = {**class_titles, **({NO_CLASS: "None of these"} if several else {})}
    conflicts = [
        [LabelledCopy(row=names(f), label=inert(n)) for f, n in zip(group["file"], group["nodes"], strict=True)]
        for _, group in frame[frame["label_conflict"]].groupby("group_id")
    ]
    return DataSection(
        counts=Counts(**catalog.counts()),
        quarantine=_reasons(frame[frame["status"] == "quarantined"], "reason", names),
        duplicates=_duplicates(frame, kept, names),
        label_conflict_groups=len(conflicts),
        label_conflicts=conflicts[:LISTED],
        composition=_composition(one_per_label(labelled) if several else labelled, titles),
        several_labels=several,
        confounded=_confounded(validation, titles),
        # Not named: these images are sound and many, and the task alone is why they are not used.
        excluded=_few(_reasons(kept[kept["excluded"] != ""], "excluded", None)),
        identity=_identity(kept),
        split_settings=dict(split_settings),
        validation=without_patients(validation, names) if validation else None,
    )


def _confounded(validation: ValidationReport | None, class_titles: Mapping[str, str]) -> list[Confounded]:
    waived = [check for check in validation.checks if check.waiver] if validation else []
    return [
        Confounded(class_title=class_titles.get(waived_class(check), waived_class(check)), reason=check.waiver)
        for check in waived
    ]


def _reasons(rows: pd.DataFrame, column: str, names: RowNames | None) -> list[Reason]:
    """Rows counted by reason, most frequent first; named where `names` is given."""
    reasons = []
    for reason, group in rows.groupby(column):
        named = [names(file) for file in group["file"].head(LISTED)] if names else []
        reasons.append(Reason(reason=inert(str(reason)), count=len(group), rows=named))
    return sorted(reasons, key=lambda reason: -reason.count)


def _few(reasons: list[Reason]) -> list[Reason]:
    """The most frequent reasons, and the others as one line: multi-label sources have a reason per combination."""
    first, others = reasons[:REASONS_SHOWN], reasons[REASONS_SHOWN:]
    if len(others) < 2:
        return reasons
    rest = Reason(reason=f"{len(others)} other reasons of this kind", count=sum(reason.count for reason in others))
    return [*first, rest]


def _duplicates(frame: pd.DataFrame, kept: pd.DataFrame, names: RowNames) -> list[Duplicate]:
    """The first duplicates with the kept row of the same pixels, which is the one of the same image id."""
    file_of = dict(zip(kept["image_id"], kept["file"], strict=True))
    repeating = frame[frame["status"] == "duplicate"].head(LISTED)
    return [
        Duplicate(row=names(file), repeats=names(file_of.get(image_id, "")))
        for file, image_id in zip(repeating["file"], repeating["image_id"], strict=True)
    ]


def _composition(rows: pd.DataFrame, class_titles: Mapping[str, str]) -> list[CompositionRow]:
    """One row per source, class and split, in the order of source and task."""
    order = {name: position for position, name in enumerate(class_titles)}
    cells = [
        (str(source), str(label), str(split), len(group), int(group["group_id"].nunique()))
        for (source, label, split), group in rows.groupby(["source", "label", "split"])
    ]
    cells.sort(key=lambda cell: (cell[0], order.get(cell[1], len(order)), cell[1:3]))
    return [
        CompositionRow(
            source=source,
            class_title=class_titles.get(label, inert(label)),
            split=split,
            images=images,
            groups=groups,
        )
        for source, label, split, images, groups in cells
    ]


def _identity(kept: pd.DataFrame) -> Identity:
    grouped = kept[kept["group_id"] != ""]
    in_a_split = grouped[grouped["split"] != ""]
    splits_of_group = in_a_split.drop_duplicates(["group_id", "split"])["group_id"].value_counts()
    sizes = grouped["group_id"].value_counts()
    return Identity(
        groups=len(sizes),
        largest_group=int(sizes.max()) if len(sizes) else 0,
        without_patient_id=int((kept["patient"] == "").sum()),
        groups_in_several_splits=int((splits_of_group > 1).sum()),
    )


def without_patients(report: ValidationReport, names: RowNames) -> ValidationReport:
    """The same outcome with its rows named as the page names rows."""
    checks = []
    for check in report.checks:
        named = {"unexpected": [names(row) for row in check.unexpected], "detail": names.within(check.detail)}
        checks.append(check.model_copy(update=named))
    return report.model_copy(update={"checks": checks})
