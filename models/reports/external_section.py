"""The part of the run report that sets external images beside internal ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.evaluation.external import Gap, class_gaps, primary_gap, without_external_images
from models.evaluation.results import Estimate
from models.reports.formatting import difference, metric_title

if TYPE_CHECKING:
    from models.reports.run_report import ArchitectureSection


@dataclass(frozen=True, slots=True)
class GapRow:
    """One measure on internal test and on external images; difference is text, external minus internal."""

    measure: str
    internal: Estimate
    external: Estimate
    difference: str


@dataclass(frozen=True, slots=True)
class ArchitectureGaps:
    """One architecture: the primary metric, then (class title, its measures) for classes with external images."""

    architecture: str
    primary: GapRow
    classes: list[tuple[str, list[GapRow]]]


@dataclass(frozen=True, slots=True)
class ExternalSection:
    """images and groups: external ones. not_validated: titles of the classes that no external image shows."""

    images: int
    groups: int
    not_validated: list[str]
    architectures: list[ArchitectureGaps]


def external_section(ranked: Sequence[ArchitectureSection]) -> ExternalSection | None:
    """What is left elsewhere of each architecture, best first; None where no source was held out."""
    pairs = [(section.evaluation, section.external) for section in ranked if section.external is not None]
    if not pairs:
        return None
    measured = pairs[0][1]
    return ExternalSection(
        images=measured.n,
        groups=measured.n_groups,
        not_validated=without_external_images(measured),
        architectures=[
            ArchitectureGaps(
                external.architecture,
                _row(external.primary_metric, primary_gap(internal, external)),
                [
                    (one.title, [_row(measure, gap) for measure, gap in one.gaps.items()])
                    for one in class_gaps(internal, external)
                ],
            )
            for internal, external in pairs
        ],
    )


def _row(measure: str, gap: Gap) -> GapRow:
    return GapRow(metric_title(measure), gap.internal, gap.external, difference(gap.difference))
