"""How the domain's types travel between steps: plain files, hashed by content, linked instead of copied locally."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

from zenml.enums import ArtifactType
from zenml.io import fileio
from zenml.materializers.base_materializer import BaseMaterializer

from data_contracts.catalog import Catalog
from data_contracts.drift.profile import ReferenceProfile
from data_contracts.image_store import ImageStore
from data_contracts.workspace import Workspace
from models.evaluation.predictions import Predictions
from models.monitoring.scored_window import ScoredWindow
from models.registry.bundle import ModelBundle


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
            _place(file, f"{self.uri}/{file.name}")

    def load(self, data_type: type[_Folder]) -> _Folder:
        return data_type.open(_local_folder(self.uri))

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
            _place(file, f"{self.uri}/table.parquet")

    def load(self, data_type: type[_Table]) -> _Table:
        return data_type.load(_local_folder(self.uri) / "table.parquet")

    def compute_content_hash(self, data: _Table) -> str:
        return data.content_hash()


def _place(file: Path, uri: str) -> None:
    """Link where source and target share a file system, else copy (another disk, or an object store)."""
    try:
        os.link(file, uri)
    except OSError:
        fileio.copy(str(file), uri, overwrite=True)


def _local_folder(uri: str) -> Path:
    """The artifact's files on this machine; those of a remote store are fetched once and kept in the cache."""
    if Path(uri).is_dir():
        return Path(uri)
    kept = Workspace.current().cache / "artifacts" / hashlib.sha256(uri.encode()).hexdigest()[:16]
    if not kept.is_dir():
        part = kept.with_name(f"{kept.name}.part-{os.getpid()}")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        for name in fileio.listdir(uri):
            fileio.copy(f"{uri}/{name}", str(part / str(name)))
        os.replace(part, kept)
    return kept
