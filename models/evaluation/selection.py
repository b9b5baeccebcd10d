"""Chooses the best architecture by the recipe's primary metric on validation, so that the test set stays unread."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from data_contracts.errors import ModelGateError
from models.evaluation.results import Evaluation


class Selection(BaseModel):
    """Which architecture was chosen, by which metric and why; ranking holds all of them, best first."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    winner: str
    primary_metric: str
    why: str
    ranking: list[str]


def select_best(validation: Sequence[Evaluation]) -> Selection:
    """Rank by the primary metric on validation; ties go by name. An undefined metric ranks last.

    Raises ModelGateError where it is undefined for every architecture: nothing could be called best.
    """
    ranked = sorted(
        validation, key=lambda e: (-(e.primary.value if e.primary.value is not None else -1.0), e.architecture)
    )
    best = ranked[0]
    if best.primary.value is None:
        raise ModelGateError(
            f"{best.primary_metric} on validation is undefined for every architecture: {best.primary.undefined}.",
            why="No architecture can be called the best, and a challenger chosen by chance proves nothing.",
            cure="Give validation images of every class, or choose another primary_metric in the recipe.",
        )
    why = f"highest {best.primary_metric} on validation: {best.primary.value:.4f} (n = {best.primary.n})"
    if len(ranked) > 1 and ranked[1].primary.value is not None:
        why += f", next {ranked[1].architecture} with {ranked[1].primary.value:.4f}"
    return Selection(
        winner=best.architecture,
        primary_metric=best.primary_metric,
        why=why,
        ranking=[evaluation.architecture for evaluation in ranked],
    )
