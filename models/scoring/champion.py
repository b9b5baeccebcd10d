"""Which model answers: the champion that people decided on, or nobody where the registry says otherwise."""

from __future__ import annotations

from dataclasses import dataclass

from data_contracts.errors import ModelGateError, UsageProblem
from data_contracts.workspace import Workspace
from models.registry.bundle import ModelBundle
from models.registry.decisions.aliases import read_model, registered_models
from models.registry.decisions.history import history
from models.registry.decisions.log import DecisionLog, require_sound
from models.registry.decisions.watchdog import registry_drift
from models.registry.follow import tracking_store
from models.registry.outage import store_errors
from models.registry.tracking import BUNDLE_TAG, TrackingStore
from models.registry.versions import CHAMPION, download_bundle, find_version, require_model_name


@dataclass(frozen=True, slots=True)
class ChosenVersion:
    """A version that may answer. version: its number. bundle: content hash of the bundle it must be."""

    model_name: str
    version: str
    bundle: str


def decided_champion(workspace: Workspace, model_name: str) -> ChosenVersion:
    """The champion of the decision log, as long as the registry agrees; cheap enough to ask every few seconds.

    Raises ModelGateError where there is none, where the log was changed, or where the registry's aliases, tags or
    champion are not as decided; UsageProblem for an odd name; ExternalServiceError or EnvironmentProblem where the
    registry fails.
    """
    require_model_name(model_name)
    store = tracking_store(workspace)
    log = DecisionLog.of(workspace)
    with store_errors(store.tracking_uri):
        registered = find_version(store.client, model_name, CHAMPION) is not None
    if not registered and not log.begun:
        raise _no_champion(model_name)
    with log.locked():
        reading = log.read()
        require_sound(reading)
        decided = history(reading.lines, model_name)
        champion = decided.aliases.champion
        if champion is None and not registered:
            raise _no_champion(model_name)
        found = [finding.what for finding in registry_drift(reading, [read_model(store, model_name)])]
    bundle = decided.bundle_of(champion) if champion else None
    if found or champion is None or bundle is None:
        raise ModelGateError(
            f"The registry's {model_name} is not as was decided: {'; '.join(found) or 'nobody approved it'}.",
            why="A version that nobody approved would answer.",
            cure="`lungline log verify` shows what was changed, `lungline rollback` puts the decided champion back.",
        )
    return ChosenVersion(model_name, champion, bundle)


def chosen_version(workspace: Workspace, model_name: str, which: str) -> ChosenVersion:
    """The decided champion, or the version of any other alias or number, which no decision speaks for.

    Raises as `decided_champion`, and UsageProblem where there is no such version.
    """
    if which == CHAMPION:
        return decided_champion(workspace, model_name)
    require_model_name(model_name)
    store = tracking_store(workspace)
    with store_errors(store.tracking_uri):
        found = find_version(store.client, model_name, which)
    if found is None:
        raise UsageProblem(
            f"The registry has no {which!r} of model {model_name!r}.",
            why="There is nothing to score with.",
            cure="`lungline status` lists the models and versions there are.",
        )
    return ChosenVersion(model_name, str(found.version), found.tags.get(BUNDLE_TAG, "none"))


def take_bundle(workspace: Workspace, chosen: ChosenVersion) -> ModelBundle:
    """The version's verified bundle, from the cache of this workspace or else from the registry.

    Raises ModelGateError where the files are not the bundle that was decided on or registered, and what
    `download_bundle` raises.
    """
    store = tracking_store(workspace)
    folder = workspace.cache / "versions" / chosen.model_name / f"{chosen.version}-{chosen.bundle[:16]}"
    bundle = download_bundle(store, chosen.model_name, chosen.version, folder)
    return bundle.require_hash(chosen.bundle, f"Version {chosen.version} of {chosen.model_name}")


def only_model(store: TrackingStore) -> str:
    """The one model with a champion. Raises ModelGateError without any, UsageProblem where there are several."""
    names = [model.name for model in registered_models(store) if model.aliases.champion]
    if len(names) == 1:
        return names[0]
    if not names:
        raise _no_champion("any model")
    raise UsageProblem(
        f"Several models have a champion: {', '.join(names)}.",
        why="Images are scored by one.",
        cure="Name it with --model.",
    )


def _no_champion(model_name: str) -> ModelGateError:
    return ModelGateError(
        f"There is no champion of {model_name}.",
        why="Only a version that a named person approved may answer.",
        cure="`lungline review` shows what is known of the challenger, `lungline approve` makes it the champion.",
    )
