"""Deals whole groups out to splits so that every class of every source is shared out alike.

The method is iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011, "On the stratification of multi-label
data"), with groups in the place of single examples. Which rows form the groups is decided in splits.py.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Mapping

# A group fits into a split where it takes up at most this part of what is still wanted there. It keeps one
# patient with many images from making up most of a small class's test set.
_LARGEST_PART = 0.25

Stratum = tuple[str, str]  # label, source
Groups = Mapping[str, Mapping[Stratum, int]]  # images by stratum, for each group


def deal(
    groups: Groups,
    sizes: Mapping[str, int],
    shares: Mapping[str, float],
    seed: int,
    train_only: Collection[str] = (),
) -> dict[str, str]:
    """The split of every group.

    sizes: images of each group; an image of several classes counts in as many strata and once in the size. shares:
    of "train", "val" and, where it is dealt at all, "test"; they sum to 1. train_only: groups that are not dealt but
    go to train and count towards its share. A class of as many groups as there are splits is in all of them, unless
    its groups are also those of other scarce classes. The result depends on the arguments alone, not on their order.
    """
    return _Deal(groups, sizes, shares, seed).run(train_only)


class _Deal:
    """One run of the algorithm. wanted: images still to be dealt to each split, by stratum and in all."""

    def __init__(self, groups: Groups, sizes: Mapping[str, int], shares: Mapping[str, float], seed: int) -> None:
        self.groups, self.sizes, self.splits = groups, sizes, tuple(shares)
        self.totals: dict[Stratum, int] = defaultdict(int)
        for counts in groups.values():
            for stratum, images in counts.items():
                self.totals[stratum] += images
        self.target = {
            stratum: {split: share * total for split, share in shares.items()}
            for stratum, total in self.totals.items()
        }
        self.wanted = {stratum: dict(target) for stratum, target in self.target.items()}
        self.wanted_in_all = {split: share * sum(sizes.values()) for split, share in shares.items()}
        # Equal groups are taken in an order that only the seed decides.
        self.draw = {name: hashlib.sha256(f"{seed} {name}".encode()).hexdigest() for name in groups}
        self.dealt: dict[str, str] = {}

    def run(self, train_only: Collection[str]) -> dict[str, str]:
        for group in sorted(train_only):
            self._give(group, "train")
        self._put_every_class_everywhere()
        for group in sorted(self.groups.keys() - self.dealt.keys(), key=self._turn):
            self._give(group, self._neediest(group))
        return self.dealt

    def _put_every_class_everywhere(self) -> None:
        """Give each split one group of every class that has enough, before shares are looked at.

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
                enough = split in self.splits and len(members[label]) >= len(self.splits)
                if not enough or split in present or not free:
                    continue
                order = {
                    group: (len(self._labels(group)), sign * self.sizes[group], self.draw[group]) for group in free
                }
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
        fits = [split for split in self.splits if images <= _LARGEST_PART * wanted[split]]
        if fits:
            return max(fits, key=lambda split: (wanted[split] / target[split], self.wanted_in_all[split]))
        return max(self.splits, key=lambda split: (wanted[split], self.wanted_in_all[split]))

    def _give(self, group: str, split: str) -> None:
        self.dealt[group] = split
        self.wanted_in_all[split] -= self.sizes[group]
        for stratum, images in self.groups[group].items():
            self.wanted[stratum][split] -= images
