"""The tests that ask the network: does it look at the lungs, and does it mind what it should not?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.audit import changes, probes
from models.audit.areas import Areas, compare_areas, mean_area
from models.audit.changes import Images
from models.audit.items import MODEL, item, unevaluated, without_disease
from models.audit.lungs import LungMasks, enlarge, widen
from models.audit.results import LIMITS, AuditItem
from models.audit.sample import Change, Sample, answers_to, flips, mean_of, moves, share_by_kind
from models.audit.settings import AuditSettings
from models.audit.verdicts import judge
from models.evaluation.intervals import proportion

if TYPE_CHECKING:
    from torch import nn

    from models.registry.bundle import BundleSpec

_ADULT = 18  # years


@dataclass(frozen=True, slots=True, eq=False)
class Questioned:
    """A network and the images that it is shown once more after each change. thresholds: of a multi-label model."""

    model: nn.Module
    spec: BundleSpec
    images: NDArray[np.uint8]
    sample: Sample
    settings: AuditSettings

    @property
    def thresholds(self) -> NDArray[np.float64] | None:
        if self.spec.output != "sigmoid":
            return None
        points = self.spec.operating_points
        return np.array([points[name].threshold if name in points else 0.5 for name in self.spec.class_names])

    def answers(self, change: Change) -> NDArray[np.float64]:
        return answers_to(change, self.model, self.spec, self.images, self.sample.rows)

    def areas(self, change: Change) -> Areas:
        """Macro AUCs on the changed images."""
        sample = self.sample
        return compare_areas(
            sample.truth, self.answers(change), sample.probabilities, sample.groups, self.settings
        )


def without_lungs(asked: Questioned, lungs: LungMasks) -> list[AuditItem]:
    """centre_black_model, lungs_removed and lung_only. The lungs have a margin of 5 % of the picture's side."""
    average = _average(asked.images, asked.sample.rows)
    wide = widen(lungs.masks)

    def only_lungs(images: Images, places: NDArray[np.int64]) -> Images:
        return changes.replaced(images, ~enlarge(wide[places], images.shape[1]), average)

    def no_lungs(images: Images, places: NDArray[np.int64]) -> Images:
        return changes.replaced(images, enlarge(wide[places], images.shape[1]), average)

    only = asked.areas(only_lungs)
    return [
        without_disease("centre_black_model", asked.areas(lambda images, _: changes.black_centre(images))),
        without_disease("lungs_removed", asked.areas(no_lungs)),
        item(
            "lung_only",
            only.loss,
            judge(only.loss, LIMITS["lung_only"]),
            {MODEL: only.model, "macro AUC with the lungs only": only.auc},
        ),
    ]


def marker_sensitivity(asked: Questioned) -> AuditItem:
    """Each image has one kind of marker pasted, in turn."""
    kinds = _in_turn(changes.MARKERS, len(asked.sample))

    def mark(images: Images, places: NDArray[np.int64]) -> Images:
        return _by_kind(images, kinds[places], changes.marked)

    return _answer_changes("marker_sensitivity", asked, asked.answers(mark), kinds)


def consistency(asked: Questioned, *, mirrored: bool) -> AuditItem:
    """Each image has one change of geometry, in turn. mirrored: whether it was trained on mirror images."""
    affine = changes.geometries(mirrored)
    kinds = _in_turn(tuple(affine), len(asked.sample))

    def move(images: Images, places: NDArray[np.int64]) -> Images:
        return _by_kind(images, kinds[places], lambda some, kind: changes.moved(some, affine[kind]))

    before, after = asked.sample.probabilities, asked.answers(move)
    moved, groups, settings = moves(before, after), asked.sample.groups, asked.settings
    mean = mean_of(moved, groups, settings)
    changed = flips(before, after, asked.thresholds)
    also = {f"by kind: {kind}": mean_of(moved[kinds == kind], groups[kinds == kind], settings) for kind in affine}
    also["share of images whose answer changes"] = proportion(int(changed.sum()), len(changed), undefined="")
    return item("consistency", mean, judge(mean, LIMITS["consistency"]), also)


def source_swap(asked: Questioned, whole: Sample) -> AuditItem:
    """Each image gets the average histogram of another source, in turn. whole: the images that show it."""
    histograms = {
        source: _histogram(asked.images, whole.rows[(whole.frame["source"] == source).to_numpy()])
        for source, count in whole.frame["source"].value_counts().sort_index().items()
        if count >= asked.settings.minimum_images
    }
    own = asked.sample.frame["source"].tolist()
    others = [[source for source in histograms if source != one] for one in own]
    if not all(others):
        why = f"fewer than two sources have {asked.settings.minimum_images} validation and test images"
        return unevaluated("source_swap", why)
    wanted = np.array([some[place % len(some)] for place, some in enumerate(others)])

    def swap(images: Images, places: NDArray[np.int64]) -> Images:
        return changes.with_histogram(images, [histograms[source] for source in wanted[places]])

    kinds = np.array([f"as in {source}" for source in wanted])
    return _answer_changes("source_swap", asked, asked.answers(swap), kinds)


def source_probe(
    features: NDArray[np.float32], sample: Sample, class_names: Sequence[str], settings: AuditSettings
) -> AuditItem:
    """How well the sources are told apart within each class, by features (n, F) of the sample; a mean over classes."""
    sources, groups = sample.frame["source"].to_numpy(np.str_), sample.groups
    parts = {}
    for k, name in enumerate(class_names):
        of_class = sample.truth[:, k] == 1
        present = [
            source
            for source in np.unique(sources[of_class])
            if _probeable(of_class & (sources == source), groups, settings)
        ]
        if len(present) < 2:
            continue
        which = of_class & np.isin(sources, present)
        asked = present if len(present) > 2 else present[:1]  # of two sources, one told is both told
        truth = (sources[which][:, None] == np.array(asked)).astype(np.int8)
        scores = probes.out_of_fold(features[which], truth, groups[which], seed=settings.seed)
        parts[name] = (which, truth, scores)
    if not parts:
        why = f"no class has {settings.minimum_images} validation and test images of each of two sources"
        return unevaluated("source_probe", why, len(sample))
    estimate = mean_area([*parts.values()], groups, settings)
    by_class = {f"by class: {name}": mean_area([part], groups, settings) for name, part in parts.items()}
    return item("source_probe", estimate, judge(estimate, LIMITS["source_probe"]), by_class)


def paediatric_probe(features: NDArray[np.float32], sample: Sample, settings: AuditSettings) -> AuditItem:
    """How well children are told from adults among images without a finding whose age is known."""
    age = sample.frame["age"].to_numpy(np.float64)
    normal = (sample.frame["nodes"] == "no_finding").to_numpy() & np.isfinite(age)
    groups = sample.groups
    if not all(_probeable(normal & side, groups, settings) for side in (age < _ADULT, age >= _ADULT)):
        children, adults = int((normal & (age < _ADULT)).sum()), int((normal & (age >= _ADULT)).sum())
        why = (
            f"{children} images of children and {adults} of adults without a finding and with a known age; "
            f"{settings.minimum_images} of each are needed"
        )
        return unevaluated("paediatric_probe", why, children + adults)
    truth = (age[normal] < _ADULT).astype(np.int8)[:, None]
    scores = probes.out_of_fold(features[normal], truth, groups[normal], seed=settings.seed)
    estimate = mean_area([(normal, truth, scores)], groups, settings)
    return item("paediatric_probe", estimate, judge(estimate, LIMITS["paediatric_probe"]))


def _probeable(which: NDArray[np.bool_], groups: NDArray[np.str_], settings: AuditSettings) -> bool:
    """Whether there are enough images, and groups for every fold."""
    return int(which.sum()) >= settings.minimum_images and len(np.unique(groups[which])) >= probes.FOLDS


def _answer_changes(
    name: str, asked: Questioned, after: NDArray[np.float64], kinds: NDArray[np.str_]
) -> AuditItem:
    before = asked.sample.probabilities
    changed = flips(before, after, asked.thresholds)
    share = proportion(int(changed.sum()), len(changed), undefined="no image")
    mean = mean_of(moves(before, after), asked.sample.groups, asked.settings)
    also = {"mean change of probability": mean, **share_by_kind(changed, kinds)}
    return item(name, share, judge(share, LIMITS[name]), also)


def _in_turn(kinds: Sequence[str], n: int) -> NDArray[np.str_]:
    return np.array(list(islice(cycle(kinds), n)))


def _by_kind(images: Images, kinds: NDArray[np.str_], change: Callable[[Images, str], Images]) -> Images:
    changed = np.empty_like(images)
    for kind in np.unique(kinds).tolist():
        changed[kinds == kind] = change(images[kinds == kind], kind)
    return changed


def _batches(images: NDArray[np.uint8], rows: NDArray[np.int64]) -> Iterable[Images]:
    for start in range(0, len(rows), 64):
        yield np.asarray(images[rows[start : start + 64]])


def _average(images: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    sums = [batch.sum(axis=0, dtype=np.int64) for batch in _batches(images, rows)]
    return np.asarray(np.sum(sums, axis=0) / len(rows), dtype=np.float64)


def _histogram(images: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    sums = [changes.histograms(batch).sum(axis=0) for batch in _batches(images, rows)]
    return np.asarray(np.sum(sums, axis=0) / len(rows), dtype=np.float64)
