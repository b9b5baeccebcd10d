"""Sealed files kept beside a version's bundle: sent once, found by the hash in its tag, verified when taken."""

from __future__ import annotations

import json
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data_contracts.errors import LunglineError, ModelGateError
from models.registry.outage import store_errors
from models.registry.sealed_folder import MANIFEST, FolderTakenError, SealedFolder, put_in_place, write_sealed
from models.registry.tracking import TrackingStore
from models.registry.versions import RegisteredVersion

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


@dataclass(frozen=True, slots=True)
class Attachment:
    """One kind of files beside a bundle.

    name: their folder among the artifacts of the version's run, and what they are called in messages. tag: the
    version's tag that holds their hash. files: every name such a folder may hold; nothing else is fetched or opened.
    """

    name: str
    tag: str
    files: tuple[str, ...]

    def keep(self, store: TrackingStore, registered: RegisteredVersion, files: Mapping[str, bytes]) -> str:
        """Put the files under the version's run, point the version at them, and give their hash.

        Files that are there already are not sent again. Raises ExternalServiceError or EnvironmentProblem where the
        store fails.
        """
        with tempfile.TemporaryDirectory() as scratch, store_errors(store.tracking_uri):
            folder = Path(scratch) / self.name
            write_sealed(folder, files)
            content_hash = SealedFolder.open(folder, list(files)).content_hash
            place = self._place(content_hash)
            present = {Path(file.path).name for file in store.client.list_artifacts(registered.run_id, place)}
            if MANIFEST not in present:  # the manifest goes last and means complete
                for name in (*files, MANIFEST):
                    store.client.log_artifact(registered.run_id, str(folder / name), place)
            store.client.set_model_version_tag(registered.name, registered.version, self.tag, content_hash)
        return content_hash

    def take(self, store: TrackingStore, version: ModelVersion, cache: Path) -> SealedFolder | None:
        """The files of a version, every one verified; None where none were kept. cache: folder for what was fetched.

        Raises ModelGateError where the files are not those that were kept, ExternalServiceError or EnvironmentProblem
        where the store fails.
        """
        content_hash = version.tags.get(self.tag, "")
        if not content_hash:
            return None
        folder = cache / content_hash
        if not folder.is_dir():
            self._fetch(store, version, content_hash, folder)
        try:
            sealed = SealedFolder.open(folder, self._names_in(folder))
            if sealed.content_hash != content_hash:
                raise self._other_files(version, content_hash)
            for name in sealed.entries:
                sealed.verify(name)
        except LunglineError:
            shutil.rmtree(folder, ignore_errors=True)  # so that mending the store mends the next run
            raise
        return sealed

    def _place(self, content_hash: str) -> str:
        return f"{self.name}/{content_hash[:16]}"

    def _fetch(self, store: TrackingStore, version: ModelVersion, content_hash: str, folder: Path) -> None:
        part = folder.with_name(f"{folder.name}.part-{secrets.token_hex(4)}")
        place = self._place(content_hash)
        part.mkdir(parents=True)
        try:
            with store_errors(store.tracking_uri):
                store.client.download_artifacts(version.run_id or "", f"{place}/{MANIFEST}", str(part))
                for name in self._names_in(part):
                    store.client.download_artifacts(version.run_id or "", f"{place}/{name}", str(part))
            with suppress(FolderTakenError):  # another process was faster; what it fetched is verified like this
                put_in_place(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def _names_in(self, folder: Path) -> list[str]:
        """The names its manifest gives, as far as such a folder may hold them."""
        try:
            listed = json.loads((folder / MANIFEST).read_bytes())
        except (OSError, ValueError):
            return []
        return [name for name in self.files if isinstance(listed, dict) and name in listed]

    def _other_files(self, version: ModelVersion, content_hash: str) -> ModelGateError:
        return ModelGateError(
            f"The {self.name} of version {version.version} of {version.name} is not {content_hash[:12]}, "
            "as registered.",
            why="What is concluded from it would rest on other numbers than those that were measured.",
            cure="Find out who changed the registry or its artifact store, then train and register again.",
        )
