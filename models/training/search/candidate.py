"""Searches for one architecture's hyper-parameters: each trial is a training, judged on validation images alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from sklearn.metrics import balanced_accuracy_score

from data_contracts.catalog import Catalog
from data_contracts.errors import DataGateError, ModelGateError, UsageProblem
from data_contracts.image_store import ImageStore
from models.architectures import build
from models.training.feature_cache import FeatureCache
from models.training.history import EpochRecord
from models.training.plan import TrainingPlan
from models.training.search.importance import importance
from models.training.search.results import SearchResult, TrialRecord
from models.training.search.settings import Choice, SearchSettings, with_parameters
from models.training.search.study import Report, run_study
from models.training.settings import ArchitectureSettings
from models.training.validation import undefined_classes

Metric = Literal["macro_auc", "balanced_accuracy"]


def search_candidate(
    store: ImageStore,
    catalog: Catalog,
    shaped_by: Mapping[str, Any],
    settings: SearchSettings,
    folder: Path,
    *,
    metric: Metric = "macro_auc",
    on_trial: Callable[[TrialRecord], None] | None = None,
    say: Callable[[str], None],
    features: FeatureCache | None = None,
) -> SearchResult:
    """The study of one architecture, from where an earlier process left it in `folder`.

    shaped_by, features: as in `train_candidate`. metric: the recipe's primary metric, here of the network with the
    weights of its best epoch on the validation split. Every trial starts from the recipe's training seed: what differs
    between two of them is their parameters. Raises UsageProblem for options that the architecture cannot take,
    DataGateError where the metric is undefined on validation, ModelGateError where no trial could be finished.
    """
    plan = TrainingPlan.read(store, catalog, shaped_by)
    _require_buildable(plan, settings)
    _require_metric(plan, metric)
    said: set[str] = set()

    def say_once(line: str) -> None:
        # Trainings with the same settings say the same.
        if line not in said:
            said.add(line)
            say(line)

    def train(number: int, parameters: dict[str, Choice], report: Report) -> float:
        reached: dict[int, float] = {}

        def on_epoch(record: EpochRecord) -> None:
            if record.val_macro_auc is not None:  # a phase that only reconstructs has none
                reached[record.epoch] = record.val_macro_auc
                report(record.epoch, record.val_macro_auc)

        trained = plan.carry_out(
            with_parameters(plan.architecture, parameters, settings.epochs),
            on_epoch=on_epoch,
            say=say_once,
            checkpoints=folder / f"trial-{number:02d}",
            features=features,
            with_probabilities=metric == "balanced_accuracy",
        )
        if metric == "balanced_accuracy":
            return float(balanced_accuracy_score(plan.val.labels, trained.val_probabilities.argmax(axis=1)))
        return reached[trained.history.best_epoch]

    def finished(record: TrialRecord) -> None:
        shutil.rmtree(folder / f"trial-{record.number:02d}", ignore_errors=True)
        if on_trial is not None:
            on_trial(record)

    trials = run_study(folder, settings, train, say=say, on_trial=finished)
    best = _best(trials)
    shares, undefined = importance(trials, settings)
    return SearchResult(
        architecture=plan.architecture.name,
        metric=metric,
        planned=settings.trials,
        trials=trials,
        best=best.number,
        parameters=best.parameters,
        ranges={
            name: (space.low, space.high) for name, space in settings.spaces.items() if not isinstance(space, list)
        },
        importance=shares,
        importance_undefined=undefined,
    )


def with_findings(shaped_by: Mapping[str, Any], result: SearchResult) -> dict[str, Any]:
    """The recipe sections with what the search found in place of the recipe's own values."""
    architecture = with_parameters(ArchitectureSettings(**shaped_by["architecture"]), result.parameters)
    return {**shaped_by, "architecture": architecture.model_dump(mode="json")}


def _best(trials: list[TrialRecord]) -> TrialRecord:
    complete = [(trial.value, trial) for trial in trials if trial.value is not None]
    if not complete:
        raise ModelGateError(
            f"None of {len(trials)} trials of the search could be finished.",
            why="There is no set of parameters to train with.",
            cure="Lower the range of learning_rate in the recipe's search section.",
        )
    return max(complete, key=lambda pair: (pair[0], -pair[1].number))[1]


def _require_buildable(plan: TrainingPlan, settings: SearchSettings) -> None:
    """Raise what `build` raises for options or initial weights that do not fit, before anything is trained."""

    def try_out(options: Mapping[str, object], init: str = "random") -> None:
        build(
            plan.architecture.name,
            num_classes=2,
            in_chans=plan.preprocessing.channels,
            img_size=plan.preprocessing.size,
            options={**plan.architecture.options, **options},
            init=init,
        )

    for name, space in settings.options.items():
        for value in space if isinstance(space, list) else (space.low, space.high):
            with torch.device("meta"):
                try_out({name: value})
    # Weights that do not fit would else look like trials that diverged.
    init = plan.settings.for_architecture(plan.architecture).init
    if init != "random":
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            try_out({}, init)


def _require_metric(plan: TrainingPlan, metric: Metric) -> None:
    if metric == "balanced_accuracy" and plan.task.multi_label:
        raise UsageProblem(
            "A search cannot rank trials by balanced_accuracy where an image may have several classes.",
            why="The measure is not defined for such a task.",
            cure="Set `evaluation.primary_metric: macro_auc`.",
        )
    if lacking := undefined_classes(plan.val.targets, plan.task.class_names):
        raise DataGateError(
            f"A search cannot rank trials: validation has no image of, or none without, {', '.join(lacking)}.",
            why="The macro ROC AUC that trials are compared by is undefined there.",
            cure="Give `val` a larger share in the recipe's split, add images, or leave out the search.",
        )
