"""The version that is watched: the champion with its classes, its reference profile and its settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, JsonValue, ValidationError

from data_contracts.drift.profile import ReferenceProfile
from data_contracts.drift.settings import MonitorSettings
from data_contracts.errors import ModelGateError, UsageProblem
from data_contracts.ontology import TASKS
from data_contracts.workspace import Workspace
from models.registry.bundle import BundleSpec
from models.registry.evidence import take_evidence
from models.registry.follow import tracking_store
from models.registry.outage import store_errors
from models.registry.reference import take_reference
from models.registry.tracking import TrackingStore
from models.registry.versions import CHAMPION, find_version
from models.retraining.settings import RetrainingSettings
from models.scoring.champion import ChosenVersion, chosen_version, decided_champion, take_bundle

Section = TypeVar("Section", bound=BaseModel)

NO_REFERENCE = "registered without a reference: train and register it again to have its windows judged"


@dataclass(frozen=True, slots=True)
class WatchedVersion:
    """A version and what its windows are judged by. profile: None where it was registered without one.

    retraining: what may follow from the verdicts.
    """

    model_name: str
    number: str
    bundle: str
    spec: BundleSpec
    profile: ReferenceProfile | None
    settings: MonitorSettings
    retraining: RetrainingSettings

    @property
    def class_names(self) -> list[str]:
        return self.spec.class_names

    @property
    def multi_label(self) -> bool:
        return self.spec.output == "sigmoid"

    @property
    def class_titles(self) -> Mapping[str, str]:
        """Class -> its name for people; a bundle of a task that is not known here has its own names."""
        task = TASKS.get(self.spec.task)
        return {one.name: one.title for one in task.classes} if task else {}

    @property
    def thresholds(self) -> Mapping[str, float]:
        """Class -> its frozen operating point, for the classes that have one."""
        return {name: point.threshold for name, point in self.spec.operating_points.items()}


def watched_version(workspace: Workspace, model_name: str) -> WatchedVersion:
    """The champion, verified. Where the registry was moved elsewhere, the version that it names is watched all the
    same: its images are the ones that matter, and the watchdog says what is wrong.

    Raises ModelGateError where there is no champion or its files are not the registered ones, UsageProblem for an odd
    name, ExternalServiceError or EnvironmentProblem where the registry fails.
    """
    store = tracking_store(workspace)
    chosen = _chosen(workspace, store, model_name)
    with store_errors(store.tracking_uri):
        found = find_version(store.client, model_name, chosen.version)
    if found is None:
        raise ModelGateError(
            f"The registry has no version {chosen.version} of {model_name}.",
            why="It is the champion that was decided on; its windows cannot be judged without it.",
            cure="`lungline log verify` shows what was changed in the registry.",
        )
    evidence = take_evidence(store, found, workspace.cache / "evidence")
    recipe = evidence.recipe or {}
    return WatchedVersion(
        model_name=model_name,
        number=chosen.version,
        bundle=chosen.bundle,
        spec=take_bundle(workspace, chosen).spec,
        profile=take_reference(store, found, workspace.cache / "references"),
        settings=_section(MonitorSettings, recipe, "monitoring"),
        retraining=_section(RetrainingSettings, recipe, "retraining"),
    )


def _chosen(workspace: Workspace, store: TrackingStore, model_name: str) -> ChosenVersion:
    try:
        return decided_champion(workspace, model_name)
    except ModelGateError:
        with store_errors(store.tracking_uri):
            named = find_version(store.client, model_name, CHAMPION)
        if named is None:
            raise
        return chosen_version(workspace, model_name, str(named.version))


def _section(kind: type[Section], recipe: Mapping[str, JsonValue], name: str) -> Section:
    """A section of the recipe that the version was registered with; the defaults where it had none."""
    try:
        return kind.model_validate(recipe.get(name, {}))
    except ValidationError as error:
        raise UsageProblem(
            f"The section `{name}` of the champion's recipe cannot be used: {error.errors()[0]['msg']}.",
            why="It says how the version is watched.",
            cure="Use the program version that registered the model, or train and register again.",
        ) from error
