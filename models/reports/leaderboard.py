"""The leaderboard as text, for the terminal; the page shows the same numbers through the same formatting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.evaluation.results import Evaluation
from models.reports import formatting


@dataclass(frozen=True, slots=True)
class ClassCell:
    """Sensitivity and specificity of one class at its operating point, with intervals, as text."""

    title: str
    sensitivity: str
    specificity: str
    judgement: str


@dataclass(frozen=True, slots=True)
class LeaderboardRow:
    """One architecture of a run; every number is text with its interval or the reason it is undefined."""

    rank: int
    winner: bool
    architecture: str
    n: str
    primary: str
    balanced_accuracy: str
    classes: tuple[ClassCell, ...]


def leaderboard_rows(evaluations: Sequence[Evaluation], winner: str) -> list[LeaderboardRow]:
    """One row per evaluation, in the order given, which is the ranking."""
    return [
        LeaderboardRow(
            rank=rank,
            winner=one.architecture == winner,
            architecture=one.architecture,
            n=formatting.count(one.n),
            primary=formatting.estimate(one.primary),
            balanced_accuracy=formatting.estimate(one.balanced_accuracy),
            classes=tuple(
                ClassCell(
                    c.title,
                    formatting.estimate(c.sensitivity),
                    formatting.estimate(c.specificity),
                    c.judgement,
                )
                for c in one.classes
            ),
        )
        for rank, one in enumerate(evaluations, start=1)
    ]
