"""Model versions in the MLflow registry: registering a bundle as challenger, taking a verified bundle back.

Registration fails closed. Versions carry the content hash of their bundle, so the same bundle never becomes
two versions and a download that is not that bundle is refused.
"""

from __future__ import annotations

import re
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from data_contracts.errors import EnvironmentProblem, ModelGateError, UsageProblem
from data_contracts.locks import only_one
from models.registry.bundle import BUNDLE_FILES, ModelBundle
from models.registry.outage import store_errors
from models.registry.pyfunc_packaging import BUNDLE, MLMODEL, pyfunc_files
from models.registry.sealed_folder import MANIFEST, FolderTakenError, put_in_place
from models.registry.tracking import ARCHITECTURE, BUNDLE_TAG, ROLE_TAG, TrackingStore

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

CHAMPION = "champion"
CHALLENGER = "challenger"

MODEL_FOLDER = "model"  # a version's folder among the artifacts of its run: an MLflow model
BUNDLE_FOLDER = f"{MODEL_FOLDER}/{BUNDLE}"  # the bundle's own files in it, and nothing else
DESCRIPTION_CHARACTERS = 5000  # width of MLflow's column; SQLite would take more, MySQL refuses

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class RegisteredVersion(BaseModel):
    """A version in the registry and the alias that now points to it. run_id: the run that holds its files."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    version: str
    run_id: str
    alias: str


def register_challenger(
    store: TrackingStore,
    bundle: ModelBundle,
    *,
    model_name: str,
    run_id: str | None = None,
    tags: Mapping[str, str],
    description_markdown: str,
) -> RegisteredVersion:
    """Make a bundle a version of `model_name` and point the alias `challenger` at it.

    run_id: the run that trained it. Where it is unknown or no longer in the store (a cached training, an
    outage during training), the run is found by the bundle's hash, or made in the experiment named like the
    recipe. A bundle that already is a version is not registered again: that version keeps its tags and
    description and only the alias moves. Killed anywhere, it can be called again.
    Raises UsageProblem for a name outside the allow-list, ExternalServiceError or EnvironmentProblem where
    the store fails, ModelGateError where the run already holds another bundle.
    """
    require_model_name(model_name)
    with store_errors(store.tracking_uri):
        client = store.client
        version = _version_of(client, model_name, bundle.content_hash)
        if version is not None:
            run_id = version.run_id
        if run_id is None or live_run(client, run_id) is None:
            run_id = find_run_for_bundle(store, bundle.content_hash) or _run_for(store, bundle)
        _upload(client, run_id, bundle)
        if version is None:
            _ensure_model(client, model_name)
            version = client.create_model_version(
                model_name,
                f"runs:/{run_id}/{MODEL_FOLDER}",
                run_id=run_id,
                tags={**tags, **_tags_of(bundle)},
                description=description_markdown[:DESCRIPTION_CHARACTERS],
                await_creation_for=0,  # an SQL store makes the version at once
            )
        client.set_registered_model_alias(model_name, CHALLENGER, str(version.version))
    return RegisteredVersion(name=model_name, version=str(version.version), run_id=run_id, alias=CHALLENGER)


def find_run_for_bundle(store: TrackingStore, content_hash: str) -> str | None:
    """The id of the latest run that trained the bundle with this content hash, or None.

    Raises ExternalServiceError or EnvironmentProblem where the store fails.
    """
    with store_errors(store.tracking_uri):
        experiments = [experiment.experiment_id for experiment in store.client.search_experiments()]
        runs = store.client.search_runs(
            experiments,
            f"tags.`{BUNDLE_TAG}` = '{content_hash}'",
            max_results=1,
            order_by=["attributes.start_time DESC"],
        )
    return str(runs[0].info.run_id) if runs else None


def download_bundle(store: TrackingStore, model_name: str, which: str, folder: Path) -> ModelBundle:
    """Take a version's bundle out of the registry; `folder` appears only with the bundle that was registered.

    which: an alias (champion, challenger) or a version number. A folder that already holds this bundle is used
    as it is, and one that holds anything else is replaced. Raises UsageProblem where there is no such model,
    alias or version; ModelGateError where the registry's files are not the bundle that was registered;
    ExternalServiceError or EnvironmentProblem where the store fails.
    """
    require_model_name(model_name)
    with store_errors(store.tracking_uri):
        version = find_version(store.client, model_name, which)
    if version is None:
        raise UsageProblem(
            f"The registry has no {which!r} of model {model_name!r}.",
            why="There is nothing to download.",
            cure="`lungline status` lists the models and versions there are.",
        )
    if folder.exists():
        try:
            return _opened(folder, version)
        except ModelGateError:
            _replace_damaged(store, version, folder)
    else:
        _download(store, version, folder)
    return _opened(folder, version)


def require_model_name(name: str) -> None:
    """Raise UsageProblem unless it is 1–64 letters, digits, _ and -, starting with a letter or digit."""
    if not _NAME.fullmatch(name):
        raise UsageProblem(
            f"{name!r} cannot name a model.",
            why="Model names become parts of addresses and searches in the registry.",
            cure="Use 1 to 64 letters, digits, _ and -, starting with a letter or digit.",
        )


def find_version(client: MlflowClient, model_name: str, which: str) -> ModelVersion | None:
    """The version an alias or a version number stands for, or None. Raises what MLflow raises."""
    from mlflow.exceptions import MlflowException

    try:
        digits = which.isascii() and which.isdecimal()
        number = which if digits else client.get_registered_model(model_name).aliases.get(which)
        return client.get_model_version(model_name, number) if number else None
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def _version_of(client: MlflowClient, model_name: str, content_hash: str) -> ModelVersion | None:
    versions = client.search_model_versions(f"name = '{model_name}' and tags.`{BUNDLE_TAG}` = '{content_hash}'")
    # A version whose run was removed has lost its files for good; the bundle is registered anew.
    alive = [version for version in versions if live_run(client, version.run_id)]
    return min(alive, key=lambda version: int(version.version), default=None)


def live_run(client: MlflowClient, run_id: str | None) -> Run | None:
    """The run, or None where it was deleted or never was in this store. Raises what MLflow raises."""
    from mlflow.exceptions import MlflowException

    if not run_id:
        return None
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise
    return run if run.info.lifecycle_stage == "active" else None


def _run_for(store: TrackingStore, bundle: ModelBundle) -> str:
    run = store.client.create_run(
        store.experiment_id(bundle.spec.recipe_name),
        run_name=bundle.spec.architecture,
        tags={ROLE_TAG: ARCHITECTURE},
    )
    store.client.set_terminated(run.info.run_id)
    return str(run.info.run_id)


def _upload(client: MlflowClient, run_id: str, bundle: ModelBundle) -> None:
    """Put the bundle and what makes it an MLflow model under the run, unless they are there.

    The manifest goes last and means that the bundle is complete, MLmodel that the model is.
    """
    run = client.get_run(run_id)
    held = run.data.tags.get(BUNDLE_TAG, bundle.content_hash)
    if held != bundle.content_hash:
        raise ModelGateError(
            f"Run {run_id} trained bundle {held[:12]}, not {bundle.content_hash[:12]}.",
            why="The version would point to files of another model.",
            cure="Register the bundle with the run that trained it, or without naming a run.",
        )
    client.set_tag(run_id, BUNDLE_TAG, bundle.content_hash)
    if MANIFEST not in _names_in(client, run_id, BUNDLE_FOLDER):
        for name in BUNDLE_FILES:
            client.log_artifact(run_id, str(bundle.folder / name), BUNDLE_FOLDER)
    if MLMODEL not in _names_in(client, run_id, MODEL_FOLDER):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in pyfunc_files(bundle, run_id, run.info.start_time).items():
                (Path(folder) / name).write_text(text, encoding="utf-8")
                client.log_artifact(run_id, str(Path(folder) / name), MODEL_FOLDER)


def _names_in(client: MlflowClient, run_id: str, folder: str) -> set[str]:
    return {Path(file.path).name for file in client.list_artifacts(run_id, folder)}


def _ensure_model(client: MlflowClient, model_name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(model_name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _tags_of(bundle: ModelBundle) -> dict[str, str]:
    spec = bundle.spec
    return {
        BUNDLE_TAG: bundle.content_hash,
        "lungline.architecture": spec.architecture,
        "lungline.recipe": spec.recipe_name,
        "lungline.data": spec.data_hash,
    }


def _replace_damaged(store: TrackingStore, version: ModelVersion, folder: Path) -> None:
    """Fetch the bundle again, one process at a time; the damaged one stays until a sound one is here."""
    try:
        with only_one(folder, lambda _: None, "fetching the bundle again"):
            try:
                _opened(folder, version)
            except ModelGateError:
                _download(store, version, folder, damaged=True)
    except OSError as error:
        raise _not_put(version, folder, error) from error


def _download(store: TrackingStore, version: ModelVersion, folder: Path, *, damaged: bool = False) -> None:
    """Fetch a version's bundle into `folder`. damaged: something is there that it takes the place of."""
    part = folder.with_name(f"{folder.name}.part-{secrets.token_hex(4)}")
    aside = part.with_name(f"{part.name}-damaged")
    try:
        part.mkdir(parents=True)
        with store_errors(store.tracking_uri):
            # The known names one by one: what else a server may list is never fetched.
            for name in BUNDLE_FILES:
                store.client.download_artifacts(version.run_id or "", f"{BUNDLE_FOLDER}/{name}", str(part))
        _opened(part, version)
        if damaged:
            folder.replace(aside)
        put_in_place(part, folder)
    except FolderTakenError:  # another process was faster, and its folder is verified like this one
        pass
    except OSError as error:
        raise _not_put(version, folder, error) from error
    finally:
        for left in (part, aside):
            shutil.rmtree(left, ignore_errors=True)


def _not_put(version: ModelVersion, folder: Path, error: OSError) -> EnvironmentProblem:
    return EnvironmentProblem(
        f"The bundle of {version.name} cannot be put at {folder}: {error}.",
        why="A model is used from the disk, after its files were verified there.",
        cure="Make room or give the folder the right permissions, then run the command again.",
    )


def _opened(folder: Path, version: ModelVersion) -> ModelBundle:
    """The bundle in a folder, verified. Raises ModelGateError unless it is the one that was registered."""
    registered = version.tags.get(BUNDLE_TAG, "none")
    name = f"Version {version.version} of {version.name}"
    return ModelBundle.open(folder).require_hash(registered, name)
