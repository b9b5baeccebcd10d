"""Trains one architecture again for each source, without it, and measures it there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from data_contracts.catalog import Catalog
from data_contracts.image_store import ImageStore
from data_contracts.ontology import Task, task_named
from data_contracts.splits import SplitSettings, assign_splits
from data_contracts.targets import targets
from models.evaluation.candidate import evaluate_candidate
from models.evaluation.leave_one_source_out import LeaveOneSourceOut, leave_one_source_out
from models.evaluation.results import Evaluations
from models.evaluation.settings import EvaluationSettings
from models.training.candidate import train_candidate

Say = Callable[[str], None]


def leave_each_source_out(
    store: ImageStore,
    labelled: Catalog,
    shaped_by: Mapping[str, Any],
    split: SplitSettings,
    settings: EvaluationSettings,
    folder: Path,
    say: Say,
) -> LeaveOneSourceOut | None:
    """One training per source that can be spared; None where none can.

    labelled: the catalog before it is split. shaped_by: as for the architecture's own training. folder: for the
    bundles, which are not kept longer than the folder. A source without which a class cannot be learned or validated
    is not held out, and the result says so.
    """
    task = task_named(shaped_by["task"])
    runs: dict[str, Evaluations] = {}
    not_held_out: dict[str, str] = {}
    for source in sorted(set(labelled.kept["source"]) - set(split.external)):
        dealt = split.model_copy(update={"hold_out_source": source})
        if reason := _cannot_spare(labelled, source, split, task):
            not_held_out[source] = reason
            say(f"{source} is not held out: {reason}")
            continue
        say(f"training without {source}")
        catalog = assign_splits(labelled, dealt)
        if not (catalog.kept["split"] == "external").any():
            not_held_out[source] = "none of its images is apart from the other sources"
            continue
        shaped = {**shaped_by, "split": dealt.model_dump(mode="json")}
        bundle = train_candidate(store, catalog, shaped, folder / source, lambda *_: None)
        runs[source] = evaluate_candidate(bundle, store, catalog, settings)[1]
    return leave_one_source_out(runs, not_held_out=not_held_out) if runs else None


def _cannot_spare(labelled: Catalog, source: str, split: SplitSettings, task: Task) -> str:
    """Why the other sources cannot train the task alone, or ""."""
    kept = labelled.kept
    others = kept[(kept["label"] != "") & ~kept["source"].isin([source, *split.external])]
    if others.empty:
        return "no other source has images of this task"
    dealt = assign_splits(Catalog.of(others), split.model_copy(update={"external": [], "hold_out_source": None}))
    for name in ("train", "val"):
        truth = targets(dealt.frame[dealt.frame["split"] == name], task)
        missing = [c.title for c, found in zip(task.classes, (truth == 1).any(axis=0), strict=True) if not found]
        if missing:
            return f"without it no image of {', '.join(missing)} is left in {name}"
    return ""
