"""How the domain's types travel between steps: plain files, hashed by content, linked on one disk, else streamed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, TypeVar

from zenml.artifact_stores import BaseArtifactStore
from zenml.enums import ArtifactType
from zenml.io import fileio
from zenml.materializers.base_materializer import BaseMaterializer
from zenml.utils.io_utils import is_remote

from data_contracts.catalog import Catalog
from data_contracts.drift.profile import ReferenceProfile
from data_contracts.image_store import ImageStore
from data_contracts.node_cache import NodeCache
from models.evaluation.predictions import Predictions
from models.monitoring.scored_window import ScoredWindow
from models.registry.bundle import ModelBundle
from steps.progress import say
from steps.remote_folder import RemoteFolder

Opened = TypeVar("Opened")


class _Folder(Protocol):
    folder: Path

    @property
    def content_hash(self) -> str: ...

    @classmethod
    def open(cls, folder: Path) -> Self: ...


class _Table(Protocol):
    def save(self, path: Path) -> None: ...

    @classmethod
    def load(cls, path: Path) -> Self: ...

    def content_hash(self) -> str: ...


class FolderMaterializer(BaseMaterializer):
    """Types that are a finished folder. A local artifact store gets hard links: the image store exists once."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (ImageStore, ModelBundle, ReferenceProfile)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA

    def save(self, data: _Folder) -> None:
        for file in sorted(data.folder.iterdir()):
            _place(file, self.artifact_store, self.uri)

    def load(self, data_type: type[_Folder]) -> _Folder:
        return _opened(self.artifact_store, self.uri, data_type.open)

    def compute_content_hash(self, data: _Folder) -> str:
        return data.content_hash


class TableMaterializer(BaseMaterializer):
    """Types that are one parquet table."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (Catalog, Predictions, ScoredWindow)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA

    def save(self, data: _Table) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "table.parquet"
            data.save(file)
            _place(file, self.artifact_store, self.uri)

    def load(self, data_type: type[_Table]) -> _Table:
        return _opened(self.artifact_store, self.uri, lambda folder: data_type.load(folder / "table.parquet"))

    def compute_content_hash(self, data: _Table) -> str:
        return data.content_hash()


def _place(file: Path, store: BaseArtifactStore, uri: str) -> None:
    """Link where source and target share a file system, else copy (another disk, or an object store)."""
    if is_remote(uri):
        RemoteFolder(store, uri).put(file, file.name)
        return
    try:
        os.link(file, f"{uri}/{file.name}")
    except OSError:
        fileio.copy(str(file), f"{uri}/{file.name}", overwrite=True)


def _opened(store: BaseArtifactStore, uri: str, read: Callable[[Path], Opened]) -> Opened:
    """What `read` makes of the artifact's files; those of a remote store are fetched once and kept on this node."""
    if not is_remote(uri):
        return read(Path(uri))
    return NodeCache.current(say).open(RemoteFolder(store, uri), read)
