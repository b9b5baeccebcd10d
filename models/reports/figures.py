"""Chooses what each plot of a page shows: common axes, order of series and the text alternative."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from models.evaluation.results import ClassEvaluation, Estimate, Evaluation
from models.reports import plots
from models.reports.data_section import DataSection
from models.reports.formatting import count, estimate, percent
from models.reports.svg import widened
from models.training.history import TrainingHistory

SPLIT_ORDER = ("train", "val", "test", "external")


@dataclass(frozen=True, slots=True)
class LearningPanel:
    """The curves of one architecture: loss, validation AUC and, where it reconstructs its input, the error of that."""

    architecture: str
    loss: Markup
    auc: Markup
    reconstruction: Markup | None
    stopped_early: str
    epochs: int


@dataclass(frozen=True, slots=True)
class RocKey:
    """One line of the key beside an ROC plot."""

    number: int
    architecture: str
    auc: Estimate
    winner: bool
    drawn: bool


@dataclass(frozen=True, slots=True)
class RocPanel:
    """One class against the rest, all architectures."""

    title: str
    n_positive: int
    n_negative: int
    plot: Markup | None
    keys: list[RocKey]


@dataclass(frozen=True, slots=True)
class CompositionBars:
    """How the sources and the splits share each class."""

    by_source: Markup
    by_split: Markup
    sources: list[str]
    splits: list[str]


def leaderboard_axis(evaluations: Sequence[Evaluation]) -> tuple[float, float]:
    """The axis that all rows of the leaderboard share."""
    return plots.metric_axis([evaluation.primary for evaluation in evaluations])


def leaderboard_dots(evaluations: Sequence[Evaluation], winner: str) -> dict[str, Markup]:
    """architecture -> its dot and whisker on the common axis."""
    axis = leaderboard_axis(evaluations)
    return {
        e.architecture: plots.dot_whisker(e.primary, axis, winner=e.architecture == winner) for e in evaluations
    }


def learning_curves(histories: Mapping[str, TrainingHistory]) -> list[LearningPanel]:
    """Small multiples on common axes, so that architectures can be compared by eye."""
    records = [record for history in histories.values() for record in history.epochs]
    losses = [v for r in records for v in (r.train_loss, r.val_loss) if math.isfinite(v)]
    aucs = [r.val_macro_auc for r in records if r.val_macro_auc is not None]
    first, last = min((r.epoch for r in records), default=0), max((r.epoch for r in records), default=1)
    epochs = (float(first), float(max(last, first + 1)))
    loss_range = widened(0, max(losses, default=1.0))
    auc_range = widened(min(aucs, default=0.5), min(1.0, max(aucs, default=1.0)))
    if auc_range[1] > 1:  # the same AUC in every epoch: there is none above 1
        auc_range = (0.5, 1.0)
    panels = []
    for name, history in histories.items():
        x = [record.epoch for record in history.epochs]
        loss = [
            plots.Curve("train", x, [r.train_loss for r in history.epochs]),
            plots.Curve("validation", x, [r.val_loss for r in history.epochs], dashed=True),
        ]
        auc = [plots.Curve("validation", x, [r.val_macro_auc for r in history.epochs], dashed=True)]
        best = next((r for r in history.epochs if r.epoch == history.best_epoch), None)
        kept = f"epoch {history.best_epoch} of {len(x)} was kept"
        if best is not None:
            kept += f" (train loss {best.train_loss:.3f}, validation loss {best.val_loss:.3f})"
        panels.append(
            LearningPanel(
                architecture=name,
                loss=plots.line_chart(
                    loss,
                    label=f"Loss of {name} by epoch, training and validation; {kept}.",
                    x_range=epochs,
                    y_range=loss_range,
                    best=history.best_epoch,
                ),
                auc=plots.line_chart(
                    auc,
                    label=f"Validation macro ROC AUC of {name} by epoch; {kept}.",
                    x_range=epochs,
                    y_range=auc_range,
                    best=history.best_epoch,
                ),
                reconstruction=_reconstruction(name, history, epochs),
                stopped_early=history.stopped_early,
                epochs=len(x),
            )
        )
    return panels


def _reconstruction(name: str, history: TrainingHistory, epochs: tuple[float, float]) -> Markup | None:
    train = [record.train_reconstruction_loss for record in history.epochs]
    val = [record.val_reconstruction_loss for record in history.epochs]
    measured = [value for value in (*train, *val) if value is not None and math.isfinite(value)]
    if not measured:
        return None
    x = [record.epoch for record in history.epochs]
    return plots.line_chart(
        [plots.Curve("train", x, train), plots.Curve("validation", x, val, dashed=True)],
        label=f"Mean squared error of the reconstruction by {name}, by epoch.",
        x_range=epochs,
        y_range=widened(0, max(measured)),
        best=history.best_epoch,
    )


def roc_panels(evaluations: Sequence[Evaluation], winner: str) -> list[RocPanel]:
    """One panel per class; the number of a line is the rank of its architecture."""
    panels = []
    for index, described in enumerate(evaluations[0].classes):
        ranked = [(rank, e.architecture, e.classes[index]) for rank, e in enumerate(evaluations, start=1)]
        lines = [
            plots.RocLine(rank, one.roc, name == winner, _point(one) if name == winner else None)
            for rank, name, one in ranked
            if one.roc is not None
        ]
        said = "; ".join(f"{name} AUC {estimate(one.roc_auc)}" for _, name, one in ranked)
        panels.append(
            RocPanel(
                title=described.title,
                n_positive=described.n_positive,
                n_negative=described.n_negative,
                plot=plots.roc_plot(lines, label=f"ROC curves, {described.title} against the rest: {said}.")
                if lines
                else None,
                keys=[
                    RocKey(rank, name, one.roc_auc, name == winner, one.roc is not None)
                    for rank, name, one in ranked
                ],
            )
        )
    return panels


def confusion_panels(
    evaluations: Sequence[Evaluation], class_titles: Mapping[str, str], winner: str
) -> list[tuple[str, int, Markup]]:
    """(architecture, images, matrix) by rank; none for a multi-label task."""
    panels = []
    for e in evaluations:
        if e.multi_label:
            continue
        titles = [class_titles.get(name, name) for name in e.class_names]
        rows = [
            f"of {count(sum(row))} {truth}, {count(row[i])} correct"
            for i, (truth, row) in enumerate(zip(titles, e.confusion, strict=True))
        ]
        label = f"Confusion matrix of {e.architecture}: {'; '.join(rows)}."
        matrix = plots.confusion_matrix(e.confusion, titles, label=label, winner=e.architecture == winner)
        panels.append((e.architecture, e.n, matrix))
    return panels


def composition_bars(data: DataSection) -> CompositionBars | None:
    """Two stacked bar plots with one bar per class, or None where no image has a class."""
    if not data.composition:
        return None
    classes = list(dict.fromkeys(row.class_title for row in data.composition))
    sources = list(dict.fromkeys(row.source for row in data.composition))
    found = {row.split for row in data.composition}
    splits = [name for name in SPLIT_ORDER if name in found] + sorted(found - set(SPLIT_ORDER))

    def bars(attribute: str, keys: list[str]) -> Markup:
        counts: dict[tuple[str, str], int] = {}
        for row in data.composition:
            cell = row.class_title, str(getattr(row, attribute))
            counts[cell] = counts.get(cell, 0) + row.images
        names = [key or "no split" for key in keys]
        drawn = [plots.Bar(title, [counts.get((title, key), 0) for key in keys]) for title in classes]
        label = f"Images of each class by {attribute}: {'; '.join(_shares(bar, names) for bar in drawn)}."
        return plots.stacked_bars(drawn, names, label=label)

    return CompositionBars(bars("source", sources), bars("split", splits), sources, splits)


def _shares(bar: plots.Bar, names: list[str]) -> str:
    total = sum(bar.counts)
    parts = [f"{name} {percent(n / total)}" for name, n in zip(names, bar.counts, strict=True) if n]
    return f"{bar.title}: {', '.join(parts)}"


def _point(one: ClassEvaluation) -> tuple[float, float] | None:
    """Where the frozen threshold lies on the test curve."""
    if one.operating_point is None or one.specificity.value is None or one.sensitivity.value is None:
        return None
    return 1 - one.specificity.value, one.sensitivity.value
