"""What a training keeps on its disk, copied to the remote artifact store: a pod on another node goes on from there.

Copies help and never hinder: one that cannot be had or made is spoken of, and the training goes on without.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from zenml.client import Client
from zenml.utils.io_utils import is_remote

from data_contracts.errors import LunglineError
from data_contracts.image_store import ImageStore
from data_contracts.workspace import Workspace
from models.training.feature_cache import FeatureCache
from steps.progress import say
from steps.remote_folder import RemoteFolder

FEATURES, CHECKPOINTS = "lungline-features", "lungline-training"


@dataclass(frozen=True, slots=True)
class Copies:
    """Copies of files in a folder of the store. had: names, relative to the local folder, that are as they are here."""

    remote: RemoteFolder
    had: set[str] = field(default_factory=set)

    def fetch(self, name: str, path: Path) -> bool:
        """Write the copy of that name to `path` as a whole; False where there is none, or none can be had."""
        part = path.with_name(f"{path.name}.part")
        try:
            size = self.remote.sizes().get(name)
            if size is None:
                return False
            part.parent.mkdir(parents=True, exist_ok=True)
            self.remote.get(name, part)
            if part.stat().st_size != size:
                return False
            os.replace(part, path)
        except (LunglineError, OSError) as error:
            part.unlink(missing_ok=True)
            _tell(f"the copy of {name} in {self.remote.uri} is not used", error)
            return False
        return True

    def keep(self, path: Path, name: str) -> bool:
        """Copy a file there under that name; False where that failed."""
        try:
            self.remote.put(path, name)
        except (LunglineError, OSError) as error:
            _tell(f"{name} could not be copied to {self.remote.uri}", error)
            return False
        return True

    def fetch_all(self, folder: Path) -> None:
        """Bring what is there and not here."""
        try:
            names = list(self.remote.sizes())
        except LunglineError as error:
            _tell(f"nothing is taken from {self.remote.uri}", error)
            return
        for name in names:
            if not (folder / name).exists() and self.fetch(name, folder / name):
                self.had.add(name)

    def keep_all(self, folder: Path) -> None:
        """Bring there what is new here, then remove there what is no longer here."""
        here = {path.relative_to(folder).as_posix() for path in folder.glob("*/*") if path.is_file()}
        here = {name for name in here if ".part" not in name}
        if all(self.keep(folder / name, name) for name in sorted(here - self.had)):  # else after the next epoch
            self._forget(self.had - here)
            self.had.update(here)

    def remove_all(self) -> None:
        """The training is over, and nothing of it is resumed."""
        self._forget(self.had)

    def _forget(self, names: set[str]) -> None:
        try:
            self.remote.remove(*sorted(names))
        except LunglineError as error:
            _tell(f"{self.remote.uri} could not be cleared", error)
        self.had.difference_update(names)


def copies_in(*folders: str) -> Copies | None:
    """Copies in these folders of the active stack's artifact store; None where that is this machine's own disk."""
    store = Client().active_stack.artifact_store
    return Copies(RemoteFolder(store, "/".join((store.path, *folders)))) if is_remote(store.path) else None


def feature_cache(image_store: ImageStore) -> FeatureCache:
    """Features of frozen trunks, on this disk and with copies in a remote artifact store."""
    return FeatureCache(Workspace.current().cache / "features", image_store.content_hash, copies_in(FEATURES))


def _tell(what: str, error: LunglineError | OSError) -> None:
    say(f"{what}: {error.what if isinstance(error, LunglineError) else error}")
