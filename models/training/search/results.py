"""What a search found: every trial with its parameters and value, and the parameters that did best."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from models.training.search.settings import Choice

# Below this, one lucky trial decides which parameter looks important.
TRIALS_FOR_IMPORTANCE = 10


class _Result(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TrialRecord(_Result):
    """One training with one set of parameters.

    number: from 1. seed: where the draw of its parameters started. state: complete; pruned, stopped early because
    it was worse than the median of the earlier ones; diverged, its loss or output was not finite. value: the metric
    on validation, None unless complete. curve: macro ROC AUC on validation after each epoch, as long as the trial ran.
    """

    number: int
    seed: int
    state: Literal["complete", "pruned", "diverged"]
    parameters: dict[str, Choice]
    value: float | None
    curve: list[float] = []

    @property
    def epochs(self) -> int:
        """How many epochs were trained."""
        return len(self.curve)


class SearchResult(_Result):
    """The trials of one architecture in their order; how long they took is not here, so that it repeats.

    metric: what `value` is, measured on validation images alone. planned: trials the recipe asked for; fewer were run
    where the time was up. parameters: those of trial `best`. ranges: lowest and highest value of each parameter that
    was drawn from a range. importance: share of each parameter in how much the
    values differ, summing to 1 (PED-ANOVA: Watanabe, Bansal and Hutter, IJCAI 2023); empty where it is undefined,
    for the reason in `importance_undefined`.
    """

    architecture: str
    metric: str
    planned: int
    trials: list[TrialRecord]
    best: int
    parameters: dict[str, Choice]
    ranges: dict[str, tuple[float, float]] = {}
    importance: dict[str, float] = {}
    importance_undefined: str = ""

    @property
    def best_trial(self) -> TrialRecord:
        return next(trial for trial in self.trials if trial.number == self.best)
