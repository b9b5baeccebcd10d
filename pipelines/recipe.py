"""Recipes: one YAML file per experiment, composed from the sections that each room owns, and read strictly."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from data_contracts.drift.settings import MonitorSettings
from data_contracts.errors import UsageProblem
from data_contracts.expectations.settings import ValidationSettings
from data_contracts.identity import IdentitySettings
from data_contracts.image_store import ImageStoreSettings
from data_contracts.ontology import TASKS, Task, task_named
from data_contracts.sources import SOURCES
from data_contracts.sources.phantom import PhantomSettings
from data_contracts.splits import SplitSettings
from models.audit.settings import AuditSettings
from models.evaluation.settings import EvaluationSettings
from models.explanation.settings import ExplanationSettings
from models.preprocessing import check_fits_weights
from models.retraining.settings import RetrainingSettings
from models.review.settings import ReviewSettings
from models.training.augmentation_settings import AugmentationSettings
from models.training.search.settings import SearchSettings
from models.training.settings import ArchitectureSettings, TrainingSettings

RECIPES = Path(__file__).parent / "recipes"
CHANGE_PLAN = RECIPES / "change_plan.yaml"  # lies beside the recipes and is none


class Recipe(BaseModel):
    """Everything that determines a training run. `phantom` is the data where no data folder is given."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")
    title: str
    task: str
    sources: list[str] = Field(min_length=1)
    phantom: PhantomSettings | None = None
    images: ImageStoreSettings = ImageStoreSettings()
    identity: IdentitySettings = IdentitySettings()
    validation: ValidationSettings = ValidationSettings()
    split: SplitSettings = SplitSettings()
    augmentation: AugmentationSettings = AugmentationSettings()
    training: TrainingSettings
    architectures: list[ArchitectureSettings] = Field(min_length=1)
    search: SearchSettings | None = None
    evaluation: EvaluationSettings = EvaluationSettings()
    explanation: ExplanationSettings = ExplanationSettings()
    audit: AuditSettings = AuditSettings()
    review: ReviewSettings = ReviewSettings()
    monitoring: MonitorSettings = MonitorSettings()
    retraining: RetrainingSettings = RetrainingSettings()

    @field_validator("task")
    @classmethod
    def _known_task(cls, name: str) -> str:
        if name not in TASKS:
            raise ValueError("allowed: " + ", ".join(TASKS))
        return name

    @field_validator("sources")
    @classmethod
    def _known_sources(cls, names: list[str]) -> list[str]:
        if unknown := sorted(set(names) - set(SOURCES)):
            raise ValueError(f"unknown {', '.join(unknown)}; allowed: {', '.join(SOURCES)}")
        if len(set(names)) < len(names):
            raise ValueError("a source is named twice")
        return names

    @model_validator(mode="after")
    def _distinct_architectures(self) -> Self:
        names = [architecture.name for architecture in self.architectures]
        if len(set(names)) < len(names):
            raise ValueError("an architecture is named twice")
        for architecture in self.architectures:
            training = self.training.for_architecture(architecture)  # its own values must fit the section's
            _require_fitting_loss(training, self.task_definition)
            if architecture.preprocessing is not None:
                check_fits_weights(architecture.preprocessing, training.init)
        return self

    @model_validator(mode="after")
    def _search_fits(self) -> Self:
        if self.search is not None:
            self.search.check(self.training, self.architectures)
        return self

    @model_validator(mode="after")
    def _external_sources_are_sources(self) -> Self:
        if unknown := sorted(self.split.external_sources - set(self.sources)):
            raise ValueError(f"split: {', '.join(unknown)} is not among sources: {', '.join(self.sources)}")
        return self

    @model_validator(mode="after")
    def _held_out_architecture_exists(self) -> Self:
        name, names = self.evaluation.leave_one_source_out, [one.name for one in self.architectures]
        if name is not None and name not in names:
            raise ValueError(
                f"evaluation.leave_one_source_out {name} is not among architectures: {', '.join(names)}"
            )
        return self

    @model_validator(mode="after")
    def _primary_metric_exists(self) -> Self:
        if self.task_definition.multi_label and self.evaluation.primary_metric != "macro_auc":
            raise ValueError(
                f"evaluation: {self.evaluation.primary_metric} is undefined where several classes may be true at once; "
                "use macro_auc"
            )
        return self

    @property
    def model_name(self) -> str:
        """The registered model's name in MLflow."""
        return f"lungline-{self.name}"

    @property
    def task_definition(self) -> Task:
        return task_named(self.task)

    def sections(self) -> dict[str, Any]:
        """The whole recipe as JSON for pages and evidence; weights by file name, since paths belong to a machine."""
        content = self.model_dump(mode="json")
        for section in (content["training"], *content["architectures"]):
            kind, _, path = str(section["init"] or "").partition(":")
            if path:
                section["init"] = f"{kind}:{Path(path).name}"
        return content

    def what_shapes(self, architecture: ArchitectureSettings) -> dict[str, Any]:
        """The sections that decide an architecture's weights, as JSON: a change elsewhere trains nothing anew."""
        chosen = {"name", "task", "sources", "images", "identity", "split", "augmentation", "training"}
        operating_point = {"target_sensitivity", "required_lower_bound"}
        return {
            **self.model_dump(mode="json", include=chosen),
            "architecture": architecture.model_dump(mode="json"),
            "initial_weights": _file_hash(architecture.init or self.training.init),
            "evaluation": self.evaluation.model_dump(mode="json", include=operating_point),
        }


def _require_fitting_loss(training: TrainingSettings, task: Task) -> None:
    try:
        training.output(task.class_names, multi_label=task.multi_label)
    except UsageProblem as problem:
        raise ValueError(str(problem)) from problem


def _file_hash(init: str) -> str:
    """The sha256 of the weights that `file:PATH` names, so that other weights under that name train anew; else ""."""
    kind, _, path = init.partition(":")
    if kind != "file":
        return ""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise UsageProblem(
            f"The initial weights {path} cannot be read: {error.strerror}.",
            why="Training would start somewhere else than the recipe says.",
            cure="Give the path of a safetensors or state-dict file, or set training.init to random or imagenet.",
        ) from error


def recipe_names() -> list[str]:
    """The recipes that come with Lungline."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml") if path != CHANGE_PLAN)


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe by name or from a YAML file, with `key.sub=value` overrides applied.

    Raises UsageProblem naming file, key, value and what is allowed.
    """
    path = RECIPES / f"{name_or_path}.yaml"
    if not path.is_file():
        path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        raise UsageProblem(
            f"There is no recipe called {name_or_path!r}{_nearest(name_or_path, recipe_names())}.",
            why="A recipe says which data, task and architectures are meant.",
            cure="Use one of " + ", ".join(recipe_names()) + ", or the path of a YAML file.",
        )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageProblem(
            f"{path.name} is not readable YAML: {' '.join(str(error).split())}",
            why="What a recipe means must not be guessed.",
            cure="Mend the file at that place.",
        ) from error
    if not isinstance(content, dict):
        raise UsageProblem(
            f"{path.name} holds {type(content).__name__}, not a mapping of recipe keys.",
            why="A recipe is made of named sections.",
            cure="Start from one of the recipes in pipelines/recipes.",
        )
    for override in overrides:
        _apply(content, override)
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise _explain(error, path) from error


def _apply(content: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator or not key:
        raise UsageProblem(
            f"--set {override!r} is not of the form key.sub=value.",
            why="It is not clear what should change.",
            cure="For example: --set training.epochs=3",
        )
    *parents, last = key.split(".")
    section: Any = content
    for parent in parents:
        section = _below(section, parent)
    place = _place_in(section, last)
    if place is None:
        raise UsageProblem(
            f"--set {key}: {key.rpartition('.')[0]} is not a section of the recipe.",
            why="Only what a recipe holds can be set from the command line.",
            cure="For example: --set training.epochs=3, or --set architectures.0.epochs=3 for the first of a list.",
        )
    section[place] = yaml.safe_load(value)


def _below(section: Any, key: str) -> Any:
    """The sub-section `key`, made where a mapping lacks it; None where there can be none."""
    if isinstance(section, dict):
        return section.setdefault(key, {})
    place = _place_in(section, key)
    return None if place is None else section[place]


def _place_in(section: Any, key: str) -> str | int | None:
    """What to index `section` with: the key of a mapping, the position in a list, or None where neither fits."""
    if isinstance(section, dict):
        return key
    if isinstance(section, list) and key.isdecimal() and int(key) < len(section):
        return int(key)
    return None


def _explain(error: ValidationError, path: Path) -> UsageProblem:
    """The first complaint in words, with how many there are."""
    # A misspelt key often comes with a complaint that the right one is missing: the misspelling explains both.
    complaint = min(error.errors(), key=lambda complaint: complaint["type"] != "extra_forbidden")
    *parents, last = complaint["loc"] or ("recipe",)
    place = ".".join(str(part) for part in (*parents, last))
    others = f" ({error.error_count() - 1} more problems after this one)" if error.error_count() > 1 else ""
    if complaint["type"] == "extra_forbidden":
        allowed = _keys_at(parents)
        what = f"{path.name}: {place} = {complaint['input']!r} is not a key of a recipe"
        what += _nearest(str(last), allowed) + others
        return UsageProblem(
            what + ".",
            why="A misspelt key would leave the intended setting at its default in silence.",
            cure="Allowed here: " + ", ".join(allowed) + ".",
        )
    given = "" if complaint["type"] == "missing" else f" = {complaint['input']!r}"
    return UsageProblem(
        f"{path.name}: {place}{given}: {complaint['msg'].removeprefix('Value error, ')}{others}.",
        why="The recipe would not mean what it says.",
        cure="Mend that key; the recipes in pipelines/recipes show every section in use.",
    )


def _keys_at(parents: Sequence[int | str]) -> list[str]:
    """The keys that the section below `parents` allows."""
    section: Any = Recipe
    for part in parents:
        if isinstance(part, int):
            continue
        annotation = section.model_fields[part].annotation
        candidates = (annotation, *getattr(annotation, "__args__", ()))
        section = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), section)
    return list(section.model_fields)


def _nearest(word: str, allowed: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, allowed, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
