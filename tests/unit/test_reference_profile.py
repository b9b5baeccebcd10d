"""A version is registered with what its held-out images looked like, and watched against exactly that."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_contracts.drift.profile import ReferenceProfile
from data_contracts.errors import DataGateError, ModelGateError
from models.evaluation.predictions import Predictions
from models.monitoring.reference import profile_version
from models.registry.bundle import ModelBundle
from models.registry.evidence import Evidence
from models.registry.follow import tracking_store
from models.registry.reference import REFERENCE_TAG, keep_reference, take_reference
from tests.reviewed_versions import TASK, Collection, build_bundle, build_collection, evidence_of, register


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    return build_collection(tmp_path_factory.mktemp("reference"))


@pytest.fixture(scope="module")
def bundle(collection: Collection) -> ModelBundle:
    return build_bundle(collection, collection.workspace.cache / "bundle", 0)


@pytest.fixture(scope="module")
def evidence(collection: Collection, bundle: ModelBundle) -> Evidence:
    return evidence_of(collection, bundle)


@pytest.fixture(scope="module")
def predictions(evidence: Evidence) -> Predictions:
    assert evidence.predictions is not None
    return evidence.predictions


@pytest.fixture(scope="module")
def profile(collection: Collection, bundle: ModelBundle, predictions: Predictions) -> ReferenceProfile:
    folder = collection.workspace.cache / "reference"
    return profile_version(bundle, collection.store, collection.catalog, predictions, folder)


def test_the_reference_holds_the_images_that_were_held_out_and_no_other(
    collection: Collection, profile: ReferenceProfile
) -> None:
    kept = collection.catalog.kept
    assert set(profile.frame["image_id"]) == set(kept.loc[kept["split"].isin(["val", "test"]), "image_id"])
    assert profile.class_names == tuple(TASK.class_names)


def test_each_image_stands_with_its_own_probabilities_and_embedding(
    collection: Collection, bundle: ModelBundle, predictions: Predictions, profile: ReferenceProfile
) -> None:
    said = predictions.frame.set_index("image_id").loc[profile.frame["image_id"]]
    for name in TASK.class_names:
        assert profile.frame[f"p_{name}"].tolist() == said[f"p_{name}"].tolist()
    assert profile.projected.shape == (len(profile.frame), profile.components.shape[0])
    assert profile.components.shape[0] > 0


def test_nothing_in_the_reference_names_a_patient_or_a_file(profile: ReferenceProfile) -> None:
    assert not {"patient", "file", "raw_label"} & set(profile.frame.columns)
    for file in profile.folder.iterdir():
        assert b"patient-name" not in file.read_bytes()


def test_the_same_run_gives_the_same_reference(
    collection: Collection,
    bundle: ModelBundle,
    predictions: Predictions,
    profile: ReferenceProfile,
    tmp_path: Path,
) -> None:
    again = profile_version(bundle, collection.store, collection.catalog, predictions, tmp_path / "again")
    assert again.content_hash == profile.content_hash


def test_held_out_images_that_were_not_predicted_are_an_error(
    collection: Collection, bundle: ModelBundle, predictions: Predictions, tmp_path: Path
) -> None:
    fewer = Predictions(predictions.frame.iloc[1:].reset_index(drop=True))
    with pytest.raises(DataGateError, match="were predicted"):
        profile_version(bundle, collection.store, collection.catalog, fewer, tmp_path / "fewer")


def test_a_version_comes_back_with_its_reference_and_one_without_says_so(
    collection: Collection, bundle: ModelBundle, evidence: Evidence, profile: ReferenceProfile, tmp_path: Path
) -> None:
    registered = register(collection, bundle, evidence, "watched")
    store = tracking_store(collection.workspace)
    bare = store.client.get_model_version("watched", registered.version)
    assert take_reference(store, bare, tmp_path) is None
    sealed = keep_reference(store, registered, profile)
    version = store.client.get_model_version("watched", registered.version)
    assert version.tags[REFERENCE_TAG] == sealed
    taken = take_reference(store, version, tmp_path)
    assert taken is not None
    assert taken.content_hash == profile.content_hash
    assert keep_reference(store, registered, profile) == sealed


def test_a_reference_changed_in_the_registry_is_refused(
    collection: Collection, bundle: ModelBundle, evidence: Evidence, profile: ReferenceProfile, tmp_path: Path
) -> None:
    registered = register(collection, bundle, evidence, "tampered")
    store = tracking_store(collection.workspace)
    keep_reference(store, registered, profile)
    version = store.client.get_model_version("tampered", registered.version)
    (file,) = (collection.workspace.mlflow / "artifacts" / registered.run_id).rglob("reference.parquet")
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ModelGateError, match="was changed"):
        take_reference(store, version, tmp_path)
    file.write_bytes(whole)
    assert take_reference(store, version, tmp_path) is not None, "mending the store mends the next run"
