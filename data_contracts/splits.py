"""Says which images are learned from, chosen by, measured on and kept outside, so that no patient and no picture is
in two splits.

Published test lists and external sources are honoured first; what remains is dealt out in shares that hold within
every combination of class and source (stratification.py), so that no split can be told by where its images come from.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Literal, Self

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, model_validator

from data_contracts.catalog import KEPT, QUARANTINED, Catalog
from data_contracts.errors import DataGateError, UsageProblem
from data_contracts.leakage import leakage as leakage
from data_contracts.stratification import Stratum, deal

SPLITS = ("train", "val", "test")
EXTERNAL = "external"

MEETS_INTERNAL = "same patient or picture as an internal image"
MEETS_OFFICIAL_TEST = "same patient or picture as an image of the official test list"
PATIENT_UNKNOWN = "in the official test list without a patient id, which the recipe keeps out of test"


class SplitSettings(BaseModel):
    """Recipe section `split`. train, val and test are shares of the images and sum to 1; seed deals anew.

    official: images on a published test list are the test split; all others are dealt to train and val in the
    proportion of their shares. external: sources that are never learned from and form the split "external".
    hold_out_source: one more such source, named apart so that leaving out each source in turn is one key to change.
    patients_unknown_in_test: "allow" deals images without a patient id like all others, grouped by picture alone;
    "refuse" deals them only to train.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: float = Field(default=0.70, gt=0, lt=1)
    val: float = Field(default=0.15, gt=0, lt=1)
    test: float = Field(default=0.15, gt=0, lt=1)
    seed: int = 0
    official: bool = False
    external: list[str] = []
    hold_out_source: str | None = None
    patients_unknown_in_test: Literal["allow", "refuse"] = "allow"

    @model_validator(mode="after")
    def _shares_sum_to_one(self) -> Self:
        total = self.train + self.val + self.test
        if not math.isclose(total, 1, abs_tol=1e-9):
            raise ValueError(f"train, val and test sum to {total:g}; they must sum to 1")
        return self

    @model_validator(mode="after")
    def _each_external_source_once(self) -> Self:
        named = [*self.external, *([self.hold_out_source] if self.hold_out_source else [])]
        if len(set(named)) < len(named):
            raise ValueError("external and hold_out_source name a source twice")
        return self

    @property
    def external_sources(self) -> frozenset[str]:
        return frozenset(self.external) | ({self.hold_out_source} if self.hold_out_source else set())

    @property
    def shares(self) -> dict[str, float]:
        """The shares of the splits that are dealt: of train and val alone where the test list is published."""
        if self.official:
            dealt = self.train + self.val
            return {"train": self.train / dealt, "val": self.val / dealt}
        return {"train": self.train, "val": self.val, "test": self.test}


def assign_splits(catalog: Catalog, settings: SplitSettings) -> Catalog:
    """Fill `split` of the kept rows that have a label and no label conflict; all other rows get "".

    Whole groups stay together. A class of three or more groups is in all three splits, unless its groups are
    also those of other scarce classes. The result depends on what the rows hold and on the seed, not on their
    order. An image whose group has one foot in a published test list or in an internal source cannot be used on
    the other side: it loses its label, and `excluded` says why.

    Raises DataGateError where a row to be split has no group or no image is on a published test list that was asked
    for, and UsageProblem where an external source offers no image or all sources are external.
    """
    frame = catalog.frame
    used = (frame["status"] == KEPT) & (frame["label"] != "") & ~frame["label_conflict"]
    _require_groups(frame[used])
    _require_sources(frame, settings)
    readable = (frame["status"] != QUARANTINED) & (frame["group_id"] != "")
    outside = frame["source"].isin(settings.external_sources)
    listed = (frame["official_split"] == "test") & ~outside & settings.official
    refused = pd.Series("", index=frame.index, dtype="str")
    refused[used & outside & _shares_group(frame, readable & ~outside)] = MEETS_INTERNAL
    refused[used & ~outside & ~listed & _shares_group(frame, readable & listed)] = MEETS_OFFICIAL_TEST
    unknown = (frame["patient"] == "") & (settings.patients_unknown_in_test == "refuse")
    refused[used & listed & unknown] = PATIENT_UNKNOWN
    used &= refused == ""
    _require_test_list(frame[used & listed], settings)

    rows = frame[used & ~outside & ~listed]
    split = rows["group_id"].map(_dealt(rows, settings, set(rows.loc[unknown, "group_id"]))).reindex(frame.index)
    split = split.fillna("").mask(used & listed, "test").mask(used & outside, EXTERNAL)
    return Catalog.of(
        frame.assign(
            split=split,
            label=frame["label"].mask(refused != "", ""),
            unknown_classes=frame["unknown_classes"].mask(refused != "", ""),
            excluded=frame["excluded"].mask(refused != "", refused),
        )
    )


def split_statements(catalog: Catalog, settings: SplitSettings) -> list[str]:
    """What the split rests on, in sentences for a report: published lists, external sources, unknown patients."""
    frame = catalog.frame
    in_split = frame[frame["split"] != ""]
    statements = []
    if settings.official:
        barred = _images(frame["excluded"] == MEETS_OFFICIAL_TEST)
        sources = ", ".join(sorted(in_split.loc[in_split["split"] == "test", "source"].unique()))
        statements.append(
            f"The test split is the published list of {sources}: {_images(in_split['split'] == 'test')}. "
            f"Not used because the same patient or picture is in it: {barred}."
        )
        if lost := int((frame["excluded"] == PATIENT_UNKNOWN).sum()):
            statements.append(
                f"{lost:,} images of the published test list are not used: their patient is unknown."
            )
    if settings.external_sources:
        names = ", ".join(sorted(settings.external_sources))
        statements.append(
            f"Never learned from: {names}, with {_images(in_split['split'] == EXTERNAL)} in the external split. Not "
            f"used because the same patient or picture is internal too: {_images(frame['excluded'] == MEETS_INTERNAL)}."
        )
    return [*statements, *_of_unknown_patients(in_split, settings)]


def _of_unknown_patients(in_split: pd.DataFrame, settings: SplitSettings) -> list[str]:
    internal = in_split[in_split["split"] != EXTERNAL]
    unknown = internal["patient"] == ""
    if not unknown.any():
        return []
    found = f"{_images(unknown)} of {len(internal):,} in train, val and test have no patient id; "
    if settings.patients_unknown_in_test == "refuse":
        return [found + "they, and what shares a picture with them, are in train only, as the recipe demands."]
    in_test = int((unknown & (internal["split"] == "test")).sum())
    return [
        found
        + f"they are grouped by picture alone, and {in_test:,} of them are in test. Copies of one picture are "
        "kept apart from other splits; two different films of one person may not be, so results may be too good."
    ]


def _images(rows: pd.Series) -> str:
    count = int(rows.sum())
    return f"{count:,} image{'' if count == 1 else 's'}"


def _dealt(rows: pd.DataFrame, settings: SplitSettings, without_patient: set[str]) -> dict[str, str]:
    """The split of every group of the rows. A row of several classes counts for each of them."""
    classes = rows.assign(label=rows["label"].str.split("|")).explode("label")
    counts = classes.groupby(["group_id", "label", "source"]).size().reset_index(name="images")
    groups: dict[str, dict[Stratum, int]] = defaultdict(dict)
    for group, label, source, images in zip(*(counts[name] for name in counts), strict=True):
        groups[group][label, source] = images
    sizes = {str(group): int(size) for group, size in rows["group_id"].value_counts().items()}
    return deal(groups, sizes, settings.shares, settings.seed, without_patient)


def _shares_group(frame: pd.DataFrame, others: pd.Series) -> pd.Series:
    return frame["group_id"].isin(frame.loc[others, "group_id"])


def _require_groups(used: pd.DataFrame) -> None:
    lost = used[used["group_id"] == ""]
    if len(lost):
        raise DataGateError(
            f"{len(lost)} labelled images have no identity group (first: {lost['file'].iloc[0]}).",
            why="Copies of one picture, or films of one patient, could land in different splits.",
            cure="Group the catalog by identity before splitting it.",
        )


def _require_sources(frame: pd.DataFrame, settings: SplitSettings) -> None:
    offered = set(frame["source"])
    if absent := sorted(settings.external_sources - offered):
        raise UsageProblem(
            f"split: {', '.join(absent)} is to be external, and no image comes from there.",
            why="There would be no external validation, and a misspelt source would be learned from.",
            cure="Name it under `sources` as well, or take it out; images come from: "
            + ", ".join(sorted(offered)),
        )
    if offered and offered <= settings.external_sources:
        raise UsageProblem(
            "split: every source is external.",
            why="Nothing is left to learn from.",
            cure="Leave at least one source of the recipe out of external and hold_out_source.",
        )


def _require_test_list(listed: pd.DataFrame, settings: SplitSettings) -> None:
    if settings.official and listed.empty:
        raise DataGateError(
            "split.official is set, and no usable image is on a published test list.",
            why="There would be no test split, and a dealt one would not be the published one.",
            cure="Put the source's list files beside its images (NIH: test_list.txt), or set split.official to false.",
        )
