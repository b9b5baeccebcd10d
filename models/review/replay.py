"""Measures a registered version again from its bundle and its image store, and says whether it comes to the same."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, JsonValue

from data_contracts.errors import EnvironmentProblem, ModelGateError
from models.evaluation.candidate import evaluate_candidate
from models.evaluation.predictions import Predictions
from models.evaluation.results import Evaluation, Evaluations
from models.evaluation.settings import EvaluationSettings
from models.registry.evidence import Evidence, environment_lock
from models.review.versions import Version, store_of

Outcome = Literal["identical", "within tolerance", "different"]
_GRAVITY: tuple[Outcome, ...] = ("identical", "within tolerance", "different")

# Kernels of another processor or library add in another order: float32 then differs in the last of seven digits.
PROBABILITY_TOLERANCE = 1e-4
# What is counted at a threshold may then move by one image, and every measure of a hundred images by a hundredth.
MEASURE_TOLERANCE = 0.02


class Stage(BaseModel):
    """One thing that was made again. first_difference: where it first differs, "" where it is identical."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    outcome: Outcome
    first_difference: str


class Replay(BaseModel):
    """The certificate. outcome: the gravest of the stages'. first_difference: of the first stage that has one.

    changed_packages: those whose version is another now, as "name old -> new"; they alone change no outcome.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model_name: str
    version: str
    bundle: str
    images: int
    outcome: Outcome
    first_difference: str
    stages: list[Stage]
    changed_packages: list[str]


def replay(version: Version, stores: Path) -> Replay:
    """Predict every validation, test and external image anew and measure again, with what was kept at registration.

    The images must be those of the same store: their content hash is part of the evidence. Raises ModelGateError
    where the version's evidence lacks what is needed, EnvironmentProblem where the image store is not here,
    DataGateError where it is damaged.
    """
    evidence = version.evidence
    catalog, kept, evaluations, recipe = (
        evidence.catalog,
        evidence.predictions,
        evidence.evaluations,
        evidence.recipe,
    )
    if catalog is None or kept is None or evaluations is None or recipe is None or evidence.lineage is None:
        raise ModelGateError(
            f"Version {version.number} of {version.model_name} was registered without {', '.join(evidence.missing)}.",
            why="There is nothing to compare a new measurement with.",
            cure="Train and register again with this program version; the evidence is kept from then on.",
        )
    store = store_of(version, stores)
    if store is None:
        raise EnvironmentProblem(
            f"The image store {evidence.lineage.store_hash[:16]} is not in {stores}.",
            why="The version was measured on its images, and other images would give other numbers.",
            cure=f"Make it again with `lungline data build {version.bundle.spec.recipe_name} --data DIR`.",
        )
    settings = EvaluationSettings.model_validate(recipe.get("evaluation", {}))
    predictions, measured = evaluate_candidate(version.bundle, store, catalog, settings)
    stages = [
        Stage(name="bundle", outcome="identical", first_difference=""),  # opening it compared every file
        _images(kept, predictions),
        _probabilities(kept, predictions),
        _evaluations(evaluations, measured),
    ]
    return Replay(
        model_name=version.model_name,
        version=version.number,
        bundle=version.bundle.content_hash,
        images=len(predictions.frame),
        outcome=max((stage.outcome for stage in stages), key=_GRAVITY.index),
        first_difference=next((stage.first_difference for stage in stages if stage.first_difference), ""),
        stages=stages,
        changed_packages=_changed_packages(evidence),
    )


def _images(kept: Predictions, made: Predictions) -> Stage:
    text = [name for name in kept.frame.columns if not name.startswith("p_")]
    before, after = kept.frame[text], made.frame[text]
    if before.equals(after):
        return Stage(name="images and truths", outcome="identical", first_difference="")
    if len(before) != len(after):
        where = f"{len(before):,} images were measured, {len(after):,} are now"
    else:
        row = int(np.flatnonzero((before != after).any(axis=1))[0])
        where = f"image {before['image_id'].iloc[row][:12]} has another id, group, split or truth"
    return Stage(name="images and truths", outcome="different", first_difference=where)


def _probabilities(kept: Predictions, made: Predictions) -> Stage:
    name = "probabilities"
    before, after = kept.probabilities, made.probabilities
    if before.shape != after.shape:
        where = f"{before.shape} probabilities were kept, {after.shape} are made now"
        return Stage(name=name, outcome="different", first_difference=where)
    gap = np.abs(before - after)
    if not gap.any():
        return Stage(name=name, outcome="identical", first_difference="")
    row, column = (int(i) for i in np.argwhere(gap > 0)[0])
    where = (
        f"probability of {kept.class_names[column]} for image {kept.frame['image_id'].iloc[row][:12]}: "
        f"{before[row, column]:.9g} was kept, {after[row, column]:.9g} is made now; largest gap {gap.max():.2g}"
    )
    close = gap.max() <= PROBABILITY_TOLERANCE
    return Stage(name=name, outcome="within tolerance" if close else "different", first_difference=where)


def _evaluations(kept: Evaluations, made: Evaluations) -> Stage:
    name = "evaluation"
    outcome: Outcome = "identical"
    first = ""
    for where, before, after in _differences(_comparable(kept, made), _comparable(made, made)):
        close = (
            isinstance(before, float)
            and isinstance(after, float)
            and math.isclose(before, after, rel_tol=0, abs_tol=MEASURE_TOLERANCE)
        )
        first = first or f"{where}: {_said(before)} was kept, {_said(after)} is made now"
        if not close:
            return Stage(name=name, outcome="different", first_difference=first)
        outcome = "within tolerance"
    return Stage(name=name, outcome=outcome, first_difference=first)


def _comparable(one: Evaluations, made: Evaluations) -> JsonValue:
    """Without what is no measurement: how often the test set had been read, and the note about it, which comes last."""

    def stripped(evaluation: Evaluation, again: Evaluation | None) -> Evaluation:
        notes = evaluation.notes[: len(again.notes)] if again else evaluation.notes
        return evaluation.model_copy(update={"readings": None, "notes": notes})

    update = {"test": stripped(one.test, made.test)}
    content: JsonValue = json.loads(one.model_copy(update=update).model_dump_json())
    return content


def _differences(before: JsonValue, after: JsonValue, at: str = "") -> Iterator[tuple[str, JsonValue, JsonValue]]:
    """Every leaf that differs, in the order in which an evaluation names its measures."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in dict.fromkeys([*before, *after]):
            yield from _differences(before.get(key), after.get(key), f"{at}.{key}".removeprefix("."))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for i, (one, other) in enumerate(zip(before, after, strict=True)):
            named = one.get("name") or one.get("group") or one.get("by") if isinstance(one, dict) else None
            yield from _differences(one, other, f"{at}.{named or i}")
    elif before != after:
        yield at, before, after


def _said(value: JsonValue) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _changed_packages(evidence: Evidence) -> list[str]:
    before, after = evidence.environment or {}, environment_lock()
    names = sorted({*before, *after}, key=str.lower)
    return [
        f"{name} {before.get(name, 'absent')} -> {after.get(name, 'absent')}"
        for name in names
        if before.get(name) != after.get(name)
    ]
