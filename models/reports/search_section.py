"""The part of the run report that shows what a search for hyper-parameters tried and what it chose."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from models.reports.formatting import counted, decimal, metric_title
from models.reports.search_plot import (
    Axis,
    TrialDot,
    choice_axis,
    log_axis,
    number_axis,
    trial_plot,
    whole_axis,
)
from models.reports.svg import widened
from models.training.search.results import SearchResult, TrialRecord
from models.training.search.settings import Choice

# As they are searched: an order of magnitude counts as much as any other.
_LOGARITHMIC = ("learning_rate", "weight_decay")
# So close to an end of its range the best value may lie beyond it.
_EDGE = 0.05


@dataclass(frozen=True, slots=True)
class TrialRow:
    """One trial as the table shows it; parameters in the order of the section's."""

    number: int
    state: str
    value: float | None
    epochs: int
    parameters: list[str]
    best: bool


@dataclass(frozen=True, slots=True)
class SearchSection:
    """One architecture's search. plots: (title, figure), none where no trial has a value to draw.

    chosen: (parameter, value) of the best trial. importance: (parameter, share); remarks: what a reader should know.
    """

    architecture: str
    metric: str
    summary: str
    chosen: list[tuple[str, str]]
    importance: list[tuple[str, str]]
    importance_undefined: str
    remarks: list[str]
    parameters: list[str]
    trials: list[TrialRow]
    plots: list[tuple[str, Markup]]


def search_sections(results: Sequence[SearchResult]) -> list[SearchSection]:
    """One section per searched architecture, in the order given."""
    return [search_section(result) for result in results]


def search_section(result: SearchResult) -> SearchSection:
    """What one search tried; equal results give equal bytes."""
    names = list(result.parameters)
    return SearchSection(
        architecture=result.architecture,
        metric=metric_title(result.metric),
        summary=_summary(result),
        chosen=[(name, parameter_text(value)) for name, value in result.parameters.items()],
        importance=[(name, decimal(share)) for name, share in result.importance.items()],
        importance_undefined=result.importance_undefined,
        remarks=_remarks(result),
        parameters=names,
        trials=[
            TrialRow(
                trial.number,
                trial.state,
                trial.value,
                trial.epochs,
                [parameter_text(trial.parameters[name]) for name in names],
                trial.number == result.best,
            )
            for trial in result.trials
        ],
        plots=_plots(result, names),
    )


def parameter_text(value: Choice) -> str:
    """A parameter with three significant digits; choices as they are."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _summary(result: SearchResult) -> str:
    counts = {
        state: sum(trial.state == state for trial in result.trials) for state in ("complete", "pruned", "diverged")
    }
    words = {"complete": "complete", "pruned": "stopped early", "diverged": "diverged"}
    said = ", ".join(f"{number} {words[state]}" for state, number in counts.items() if number)
    return f"{counted(len(result.trials), 'trial')}: {said}."


def _remarks(result: SearchResult) -> list[str]:
    remarks = []
    if len(result.trials) < result.planned:
        remarks.append(f"The time was up before the other {result.planned - len(result.trials)} trials could run.")
    for name, (low, high) in result.ranges.items():
        place = _share(name, float(result.parameters[name]), low, high)
        if min(place, 1 - place) < _EDGE:
            end = "low" if place < _EDGE else "high"
            remarks.append(f"The best {name} lies at the {end} end of its range; better ones may lie beyond it.")
    return remarks


def _share(name: str, value: float, low: float, high: float) -> float:
    """Where a value lies between the ends of its range, from 0 to 1, on the scale it was searched on."""
    value, low, high = (_position(name, number) for number in (value, low, high))
    return (value - low) / (high - low)


def _position(name: str, value: float) -> float:
    return math.log10(value) if name in _LOGARITHMIC else value


def _plots(result: SearchResult, names: list[str]) -> list[tuple[str, Markup]]:
    drawn = [(trial, value) for trial in result.trials if (value := _height(trial, result.metric)) is not None]
    if not drawn:
        return []
    heights = [value for _, value in drawn]
    y_range = widened(min(heights), max(heights))
    best = decimal(result.best_trial.value or 0.0, 3)
    metric = metric_title(result.metric)

    def dots(places: Sequence[float]) -> list[TrialDot]:
        return [
            TrialDot(
                place,
                value,
                "best" if trial.number == result.best else "complete" if trial.value is not None else "pruned",
                f"trial {trial.number}: {decimal(value, 3)}"
                + ("" if trial.value is not None else ", stopped early"),
            )
            for place, (trial, value) in zip(places, drawn, strict=True)
        ]

    by_number = trial_plot(
        dots([trial.number for trial, _ in drawn]),
        whole_axis("trial", len(result.trials)),
        y_range,
        label=f"Validation {metric} of each trial of {result.architecture}; the best, trial {result.best}, has {best}.",
        best_so_far=True,
    )
    plots = [("trial by trial", by_number)]
    for name in names:
        axis, places = _axis(result, name, [trial for trial, _ in drawn])
        label = f"Validation {metric} over {name}; the best trial has {parameter_text(result.parameters[name])}."
        plots.append((name, trial_plot(dots(places), axis, y_range, label=label)))
    return plots


def _height(trial: TrialRecord, metric: str) -> float | None:
    """What a trial reached; of one that was stopped early the highest of its curve, where that is the same metric."""
    if trial.value is not None:
        return trial.value
    return max(trial.curve, default=None) if metric == "macro_auc" else None


def _axis(result: SearchResult, name: str, trials: Sequence[TrialRecord]) -> tuple[Axis, list[float]]:
    """The axis of a parameter and where each trial lies on it."""
    values = [trial.parameters[name] for trial in trials]
    if name in result.ranges:
        axis = (log_axis if name in _LOGARITHMIC else number_axis)(name, *result.ranges[name])
        return axis, [_position(name, float(value)) for value in values]
    choices = sorted(
        {trial.parameters[name] for trial in result.trials}, key=lambda value: (str(type(value)), value)
    )
    return choice_axis(name, [parameter_text(choice) for choice in choices]), [choices.index(v) for v in values]
