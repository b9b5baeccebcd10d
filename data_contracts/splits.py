"""Deals identity groups out to train, val and test so that no patient and no picture is in two of them.

The shares are kept within every combination of class and source, so that no split can be told by where its
images come from. The method is iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011, "On the
stratification of multi-label data"), with groups in the place of single examples.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from typing import Self

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, model_validator

from data_contracts.catalog import KEPT, Catalog
from data_contracts.errors import DataGateError

SPLITS = ("train", "val", "test")

# A group fits into a split where it takes up at most this part of what is still wanted there. It keeps one
# patient with many images from making up most of a small class's test set.
_LARGEST_PART = 0.25

Stratum = tuple[str, str]  # label, source
Groups = dict[str, dict[Stratum, int]]  # images by stratum, for each group


class SplitSettings(BaseModel):
    """Recipe section `split`. train, val and test are shares of the images and sum to 1; seed deals anew."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: float = Field(default=0.70, gt=0, lt=1)
    val: float = Field(default=0.15, gt=0, lt=1)
    test: float = Field(default=0.15, gt=0, lt=1)
    seed: int = 0

    @model_validator(mode="after")
    def _shares_sum_to_one(self) -> Self:
        total = self.train + self.val + self.test
        if not math.isclose(total, 1, abs_tol=1e-9):
            raise ValueError(f"train, val and test sum to {total:g}; they must sum to 1")
        return self


def assign_splits(catalog: Catalog, settings: SplitSettings) -> Catalog:
    """Fill `split` of the kept rows that have a label and no label conflict; all other rows get "".

    Whole groups stay together. A class of three or more groups is in all three splits, unless its groups are
    also those of other scarce classes. The result depends on what the rows hold and on the seed, not on their
    order. Raises DataGateError where a row to be split has no group.
    """
    frame = catalog.frame
    used = (frame["status"] == KEPT) & (frame["label"] != "") & ~frame["label_conflict"]
    _require_groups(frame[used])
    sizes = frame[used].groupby(["group_id", "label", "source"]).size().reset_index(name="images")
    groups: Groups = defaultdict(dict)
    for group, label, source, images in zip(*(sizes[name] for name in sizes), strict=True):
        groups[group][label, source] = images
    dealt = _Deal(groups, settings).run()
    return Catalog.of(frame.assign(split=frame["group_id"].map(dealt).where(used, "")))


def leakage(catalog: Catalog) -> list[str]:
    """The group ids that are in more than one split, sorted."""
    frame = catalog.frame
    splits = frame[(frame["split"] != "") & (frame["group_id"] != "")].groupby("group_id")["split"].nunique()
    return sorted(splits.index[splits > 1])


def _require_groups(used: pd.DataFrame) -> None:
    lost = used[used["group_id"] == ""]
    if len(lost):
        raise DataGateError(
            f"{len(lost)} labelled images have no identity group (first: {lost['file'].iloc[0]}).",
            why="Copies of one picture, or films of one patient, could land in different splits.",
            cure="Group the catalog by identity before splitting it.",
        )


class _Deal:
    """One run of the algorithm. wanted: images still to be dealt to each split, by stratum and in all."""

    def __init__(self, groups: Groups, settings: SplitSettings) -> None:
        self.groups = groups
        self.totals: dict[Stratum, int] = defaultdict(int)
        for counts in groups.values():
            for stratum, images in counts.items():
                self.totals[stratum] += images
        shares = {"train": settings.train, "val": settings.val, "test": settings.test}
        self.target = {
            stratum: {split: share * total for split, share in shares.items()}
            for stratum, total in self.totals.items()
        }
        self.wanted = {stratum: dict(target) for stratum, target in self.target.items()}
        self.wanted_in_all = {split: share * sum(self.totals.values()) for split, share in shares.items()}
        # Equal groups are taken in an order that only the seed decides.
        self.draw = {name: hashlib.sha256(f"{settings.seed} {name}".encode()).hexdigest() for name in groups}
        self.dealt: dict[str, str] = {}

    def run(self) -> dict[str, str]:
        self._put_every_class_everywhere()
        for group in sorted(self.groups.keys() - self.dealt.keys(), key=self._turn):
            self._give(group, self._neediest(group))
        return self.dealt

    def _put_every_class_everywhere(self) -> None:
        """Give each split one group of every class that has three, before shares are looked at.

        Test and val get the smallest groups, train the largest. Scarce classes choose first and prefer groups
        that hold no other class, so that choices rarely collide.
        """
        members: dict[str, list[str]] = defaultdict(list)
        for group in self.groups:
            for label in self._labels(group):
                members[label].append(group)
        for label in sorted(members, key=lambda label: (len(members[label]), label)):
            for split, sign in (("test", 1), ("val", 1), ("train", -1)):
                free = [group for group in members[label] if group not in self.dealt]
                present = {self.dealt.get(group) for group in members[label]}
                if len(members[label]) < len(SPLITS) or split in present or not free:
                    continue
                extent = {group: sign * sum(self.groups[group].values()) for group in free}
                order = {group: (len(self._labels(group)), extent[group], self.draw[group]) for group in free}
                self._give(min(free, key=order.__getitem__), split)

    def _labels(self, group: str) -> set[str]:
        return {label for label, _ in self.groups[group]}

    def _rarest(self, group: str) -> Stratum:
        return min(self.groups[group], key=lambda stratum: (self.totals[stratum], stratum))

    def _turn(self, group: str) -> tuple[int, Stratum, int, str]:
        """Rarest stratum first, then the largest group: what is hard to place goes while there is room."""
        stratum = self._rarest(group)
        return self.totals[stratum], stratum, -self.groups[group][stratum], self.draw[group]

    def _neediest(self, group: str) -> str:
        """The split the group fits into that has got the least of its share, else the one with the most room.

        Share decides as long as it can: by room alone all large groups would go to train, and the test set
        would know only patients with few images.
        """
        stratum = self._rarest(group)
        images, wanted, target = self.groups[group][stratum], self.wanted[stratum], self.target[stratum]
        fits = [split for split in SPLITS if images <= _LARGEST_PART * wanted[split]]
        if fits:
            return max(fits, key=lambda split: (wanted[split] / target[split], self.wanted_in_all[split]))
        return max(SPLITS, key=lambda split: (wanted[split], self.wanted_in_all[split]))

    def _give(self, group: str, split: str) -> None:
        self.dealt[group] = split
        for stratum, images in self.groups[group].items():
            self.wanted[stratum][split] -= images
            self.wanted_in_all[split] -= images
