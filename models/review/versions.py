"""Finds the two versions of a review in the registry, with their bundles and their evidence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from data_contracts.errors import LunglineError, ModelGateError, UsageProblem
from data_contracts.image_store import ImageStore
from data_contracts.workspace import Workspace
from models.registry.bundle import ModelBundle
from models.registry.evidence import TEST_SET_TAG, Evidence, take_evidence
from models.registry.outage import store_errors
from models.registry.tracking import PARENT_TAG, PIPELINE_RUN_TAG, TrackingStore
from models.registry.versions import CHALLENGER, CHAMPION, download_bundle, find_version, live_run


@dataclass(frozen=True, slots=True)
class Version:
    """A registered version, verified. trained_by: name of the pipeline run that made it, "" where unknown.

    test_set: hash of the test set it was measured on, "" where unknown.
    """

    model_name: str
    number: str
    run_id: str
    trained_by: str
    test_set: str
    bundle: ModelBundle
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Pair:
    """Challenger and champion; champion is None where there is none that can be loaded, and no_champion says why."""

    challenger: Version
    champion: Version | None
    no_champion: str


def find_pair(workspace: Workspace, store: TrackingStore, model_name: str, challenger: str | None) -> Pair:
    """The two versions to compare. challenger: a version number, None for the alias.

    Raises UsageProblem where there is no such challenger or it is the champion, ModelGateError where its files are
    not the registered ones, ExternalServiceError or EnvironmentProblem where the store fails. A champion that cannot
    be loaded is no error: it makes a comparison impossible, and the review says so.
    """
    new = open_version(workspace, store, model_name, challenger or CHALLENGER)
    with store_errors(store.tracking_uri):
        known = find_version(store.client, model_name, CHAMPION)
    if known is None:
        return Pair(new, None, f"{model_name} has no champion yet: this would be its first model in use")
    if str(known.version) == new.number:
        raise UsageProblem(
            f"Version {new.number} of {model_name} is the champion already.",
            why="A model cannot be compared with itself.",
            cure="Name another version with --challenger, or train a new one.",
        )
    try:
        return Pair(new, open_version(workspace, store, model_name, str(known.version)), "")
    except (ModelGateError, UsageProblem) as problem:
        return Pair(new, None, f"the champion, version {known.version}, cannot be loaded: {problem.what}")
    except LunglineError:
        # The store answered a moment ago: what is gone now is the champion's files.
        with store_errors(store.tracking_uri):
            store.client.search_experiments(max_results=1)
        return Pair(new, None, f"the champion, version {known.version}, cannot be loaded: its files are gone")


def open_version(workspace: Workspace, store: TrackingStore, model_name: str, which: str) -> Version:
    """A version by number or alias. Raises what `download_bundle` and `take_evidence` raise."""
    with store_errors(store.tracking_uri):
        found = find_version(store.client, model_name, which)
    if found is None:
        raise UsageProblem(
            f"The registry has no {which!r} of model {model_name!r}.",
            why="There is nothing to review or to replay.",
            cure="`lungline status` lists the models and versions there are; `lungline train` makes a challenger.",
        )
    number = str(found.version)
    kept = workspace.cache / "versions" / model_name
    bundle = download_bundle(store, model_name, number, kept / f"{number}-{found.tags['lungline.bundle'][:16]}")
    return Version(
        model_name=model_name,
        number=number,
        run_id=found.run_id or "",
        trained_by=found.tags.get(PIPELINE_RUN_TAG) or _trained_by(store, found.run_id),
        test_set=found.tags.get(TEST_SET_TAG, ""),
        bundle=bundle,
        evidence=take_evidence(store, found, workspace.cache / "evidence"),
    )


def store_of(version: Version, stores: Path) -> ImageStore | None:
    """The image store a version was measured on, or None where it is not on this machine.

    Raises DataGateError where it is there and damaged.
    """
    lineage = version.evidence.lineage
    folder = stores / lineage.store_hash[:16] if lineage else None
    return ImageStore.open(folder) if folder and folder.is_dir() else None


def _trained_by(store: TrackingStore, run_id: str | None) -> str:
    with store_errors(store.tracking_uri):
        run = live_run(store.client, run_id)
        parent = live_run(store.client, run.data.tags.get(PARENT_TAG)) if run else None
        return str(parent.data.tags.get(PIPELINE_RUN_TAG, "")) if parent else ""
