"""`lungline retrain`: says why a training would or would not start now, and starts it where no brake holds."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from data_contracts.errors import UsageProblem
from pipelines.commands.output import console, print_json, print_table
from pipelines.environment import Environment, prepare_environment
from pipelines.recipe import Recipe, load_recipe

if TYPE_CHECKING:
    from models.retraining.labels import NewLabels
    from models.retraining.status import RetrainingStatus

OK = 0
MODEL_GATE = 4
_PREFIX = "lungline-"  # of the registered models' names


def retrain(
    target: str,
    data: Path | None,
    labels: Path | None,
    overrides: Sequence[str],
    *,
    dry_run: bool,
    require: bool,
    as_json: bool,
    stack: str | None = None,
) -> int:
    """Train if every brake lets go; 4 where one holds and `require` says that this is not what was wanted.

    stack: where; else on the active one.
    """
    recipe = _recipe_of(target, overrides)
    environment = prepare_environment()
    from models.retraining.trigger import read_status

    workspace, name, settings = environment.workspace, recipe.model_name, recipe.retraining
    if not dry_run:
        _settle_decisions(environment)
    status = read_status(workspace, name, settings, _now())
    if status.requested and status.state != "training":  # else nothing hangs on the labels
        recipe, folder = _with_labels(recipe, data, labels, environment)
        seen = _labels_now(recipe, folder, environment, status.made)
        status = read_status(workspace, name, settings, _now(), seen)
        if status.may_train and not dry_run:
            return _train(recipe, folder, environment, seen, require, as_json, stack)
    if status.may_train:
        _report(status, "A training would start now; this was a dry run.", as_json)
        return OK
    _report(status, f"No training starts: {status.why}.", as_json)
    return MODEL_GATE if require else OK


def show_status(target: str, overrides: Sequence[str], as_json: bool) -> None:
    """Where retraining stands by its journal; neither data nor labels are looked at."""
    recipe = _recipe_of(target, overrides)
    environment = prepare_environment()
    from models.retraining.trigger import read_status

    status = read_status(environment.workspace, recipe.model_name, recipe.retraining, _now())
    _report(status, "Labels are as they were last seen; no data were looked at.", as_json)


def reset_circuit(target: str, reason: str, overrides: Sequence[str], as_json: bool) -> None:
    """Close the circuit in the name of the person who is signed in."""
    from models.registry.decisions.decide import require_reason
    from models.retraining.trigger import close_circuit
    from steps.person import signed_in_person

    reason = require_reason(reason)
    recipe = _recipe_of(target, overrides)
    environment = prepare_environment()
    _settle_decisions(environment)
    person = signed_in_person()
    status = close_circuit(
        environment.workspace, recipe.model_name, recipe.retraining, _now(), person=person, reason=reason
    )
    _report(status, f"The circuit was closed by {person}.", as_json)


def _train(
    recipe: Recipe,
    folder: Path,
    environment: Environment,
    seen: NewLabels,
    require: bool,
    as_json: bool,
    stack: str | None,
) -> int:
    """Run the training pipeline as an attempt of the running episode; another process may have been faster."""
    from models.retraining.trigger import read_status, training_attempt
    from pipelines.runner import run_training

    workspace, name, settings = environment.workspace, recipe.model_name, recipe.retraining
    with training_attempt(workspace, name, settings, seen, _now) as (status, attempt):
        if attempt is None:
            _report(status, f"No training starts: {status.why}.", as_json)
            return MODEL_GATE if require else OK
        print(f"Retraining {name}, episode {attempt.episode}: {_labels_in_words(seen)}.", file=sys.stderr)
        result = run_training(recipe, folder, workspace, stack)
        version = result.registered.version
        new = attempt.made(version)
    after = read_status(workspace, name, settings, _now())
    said = (
        f"Version {version} of {name} was made; `lungline review` compares it with the champion."
        if new
        else f"The training led to version {version}, which was there before: the new labels changed nothing."
    )
    _report(after, said, as_json, {"run": result.run, "trained_version": version, "report": str(result.report)})
    return OK


def _recipe_of(target: str, overrides: Sequence[str]) -> Recipe:
    """The recipe by name, file, or the name of the model that it trains."""
    return load_recipe(target.removeprefix(_PREFIX) if not Path(target).is_file() else target, overrides)


def _settle_decisions(environment: Environment) -> None:
    """Finish a decision that was interrupted: whether a version was refused must not depend on a crash."""
    from models.registry.decisions.recovery import recover
    from models.registry.follow import tracking_store

    for note in recover(environment.workspace, tracking_store(environment.workspace)):
        print(f"Note: {note}.", file=sys.stderr)


def _with_labels(
    recipe: Recipe, data: Path | None, labels: Path | None, environment: Environment
) -> tuple[Recipe, Path]:
    """The recipe that reads these decisions about labels, and the data folder.

    Raises UsageProblem where the file is not below the data folder or the recipe names another.
    """
    from pipelines.runner import data_folder

    folder = data_folder(recipe, data, environment.workspace).resolve()
    if labels is None:
        return recipe, folder
    place = labels.resolve()
    if not place.is_relative_to(folder):
        raise UsageProblem(
            f"The label file {labels} does not lie below the data folder {folder}.",
            why="The training pipeline reads decisions about labels from there, on whatever machine it runs.",
            cure="Copy it there, or name the folder it lies in with --data.",
        )
    overlay = place.relative_to(folder).as_posix()
    if recipe.identity.overlay not in (None, overlay):
        raise UsageProblem(
            f"Recipe {recipe.name!r} already reads the decisions in {recipe.identity.overlay}.",
            why="A training reads one file of decisions; the earlier ones would be lost.",
            cure="Add the new lines to that file, and leave out --labels.",
        )
    identity = recipe.identity.model_copy(update={"overlay": overlay})
    return recipe.model_copy(update={"identity": identity}), folder


def _labels_now(recipe: Recipe, folder: Path, environment: Environment, made: str | None) -> NewLabels:
    from data_contracts.overlay import overlay_decisions
    from data_contracts.sources import merge
    from models.registry.follow import tracking_store
    from models.retraining.labels import learned_by, new_labels

    store = tracking_store(environment.workspace)
    learned = learned_by(environment.workspace, store, recipe.model_name, made)
    offered, _notes = merge(recipe.sources, folder)
    return new_labels(offered.frame, overlay_decisions(recipe.identity, folder), learned, recipe.model_name)


def _report(status: RetrainingStatus, said: str, as_json: bool, more: dict[str, str] | None = None) -> None:
    if as_json:
        print_json({**status.model_dump(mode="json"), "said": said, **(more or {})})
        return
    rows = [(brake.name, "stops" if brake.stops else "lets go", brake.why) for brake in status.brakes]
    print_table(("brake", "now", "why"), rows, title=f"{status.model}: {status.state}")
    for note in status.notes:
        print(f"Note: {note}.", file=sys.stderr)
    console().print(f"\n{said}", markup=False, soft_wrap=True)
    if more:
        console().print(f"report      {more['report']}", markup=False, soft_wrap=True)


def _labels_in_words(seen: NewLabels) -> str:
    return f"{seen.images} new labelled images, {seen.decisions} new decisions of people"


def _now() -> datetime:
    return datetime.now(UTC)
