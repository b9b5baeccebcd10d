"""The reference profile kept with a version: what it is watched against once it is in use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from data_contracts.drift.profile import PROFILE, PROJECTION, REFERENCE, ReferenceProfile
from models.registry.attachment import Attachment
from models.registry.tracking import TrackingStore
from models.registry.versions import RegisteredVersion

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

REFERENCE_TAG = "lungline.reference"
_FILES = (REFERENCE, PROJECTION, PROFILE)
_ATTACHMENT = Attachment("reference", REFERENCE_TAG, _FILES)


def keep_reference(store: TrackingStore, registered: RegisteredVersion, profile: ReferenceProfile) -> str:
    """Put the profile beside the version's bundle, point the version at it, and give the hash it is sealed with.

    A profile that is there already is not sent again. Raises ExternalServiceError or EnvironmentProblem where the
    store fails.
    """
    return _ATTACHMENT.keep(store, registered, {name: (profile.folder / name).read_bytes() for name in _FILES})


def take_reference(store: TrackingStore, version: ModelVersion, cache: Path) -> ReferenceProfile | None:
    """The profile of a version, verified; None for a version that was registered without. cache: keeps what was
    fetched.

    Raises ModelGateError where the files are not those that were kept, ExternalServiceError or EnvironmentProblem
    where the store fails.
    """
    sealed = _ATTACHMENT.take(store, version, cache)
    return None if sealed is None else ReferenceProfile.open(sealed.folder)
