"""The image store: every file decoded once into a row of one uint8 array that training and scoring map into memory.

A store folder holds `images.npy` (N, size, size), `catalog.parquet` and `store.json`. Its name is its content hash,
so a store that has its name is complete. Building one reuses every row of earlier stores with the same resize rule
whose file is byte for byte the same, and files that were not touched are not even read: a new image costs one
decode. A build that was killed goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
import PIL
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from data_contracts.catalog import KEPT, SCHEMA_VERSION, Catalog
from data_contracts.decode_pass import DecodePass
from data_contracts.disk import is_full, no_room
from data_contracts.errors import DataGateError, EnvironmentProblem
from data_contracts.images import RESIZE_RULE, DecodeLimits, decoder_versions
from data_contracts.input_checks import with_input_flags
from data_contracts.known_files import FILE_COLUMNS, KnownFiles, write_index
from data_contracts.locks import only_one, remove_unless_held
from data_contracts.unfinished_store import Progress, UnfinishedStore

STORE_VERSION = 1
_KEPT_SECONDS = 7 * 24 * 3600  # so long does a killed build wait to be gone on with


class ImageStoreSettings(BaseModel):
    """Recipe section `images`. size: side of the stored square in pixels. min_side: smaller files are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int = Field(default=224, ge=32, le=1024)
    min_side: int = Field(default=32, ge=8)
    max_megapixels: int = Field(default=100, ge=1)

    @property
    def limits(self) -> DecodeLimits:
        return DecodeLimits(min_side=self.min_side, max_megapixels=self.max_megapixels)

    def resize_key(self) -> str:
        """Stores with the same key hold the same pixels for the same file."""
        rule = [STORE_VERSION, SCHEMA_VERSION, RESIZE_RULE, decoder_versions(), self.model_dump()]
        return hashlib.sha256(json.dumps(rule, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class ImageStore:
    """A finished store. images: (N, size, size) uint8, read-only memory map; catalog: rows of every offered file."""

    folder: Path
    images: NDArray[np.uint8]
    catalog: Catalog
    size: int
    content_hash: str

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Map a finished store into memory. Raises DataGateError where it is not what its store.json says."""
        try:
            facts = json.loads((folder / "store.json").read_text(encoding="utf-8"))
            images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
            catalog = Catalog.load(folder / "catalog.parquet")
        except (OSError, ValueError) as error:
            raise DataGateError(
                f"The image store {folder} cannot be read: {error}.",
                why="Training on part of the images would go unnoticed.",
                cure="Remove the folder and run the command again; the store is rebuilt from the raw data.",
            ) from error
        expected = (facts["images"], facts["size"], facts["size"])
        if images.shape != expected or images.dtype != np.uint8 or len(catalog.kept) != facts["images"]:
            raise DataGateError(
                f"The image store {folder} holds {images.shape} {images.dtype}, its store.json says {expected} uint8.",
                why="Rows would no longer belong to the images they are listed with.",
                cure="Remove the folder and run the command again; the store is rebuilt from the raw data.",
            )
        return cls(folder, images, catalog, facts["size"], facts["content_hash"])


def build_image_store(
    offered: Catalog, data_dir: Path, settings: ImageStoreSettings, stores: Path, progress: Progress | None = None
) -> ImageStore:
    """Decode what is new, reuse what is known, and give the finished store below `stores`.

    Unreadable files become quarantined rows with the reason; files whose pixels were seen before become duplicate
    rows that name the earlier file. Of two processes that build from the same sources, the second waits and reuses
    what the first has made. Raises EnvironmentProblem before decoding where the disk is too small, and where it
    fills up on the way (what was written of the store is removed).
    """
    report = progress or _silent
    stores.mkdir(parents=True, exist_ok=True)
    candidates = offered.frame["status"] == KEPT
    files = [str(file) for file in offered.frame.loc[candidates, "file"]]
    rule, origin = settings.resize_key(), _origin(offered, data_dir)
    index = stores / f"known-{rule}-{origin}.parquet"
    building = stores / f".building-{rule}-{origin}"
    with only_one(building, lambda note: report(0, len(files), note), "building this image store"):
        _remove_abandoned(stores)
        others = set(stores.glob(f"known-{rule}-*.parquet")) - {index}
        known = KnownFiles.of_indexes([*sorted(others), index], data_dir)
        unfinished = UnfinishedStore(building, settings.size)
        try:
            unfinished.write(files, DecodePass(data_dir, settings.size, settings.limits, known), report)
            catalog = _catalog(offered, candidates, unfinished)
            content_hash = _complete(unfinished.store, catalog, settings)
            hashes = [str(facts["file_sha256"]) for facts in unfinished.facts]
            stamped = zip(files, unfinished.stamps, hashes, strict=True)
            final = stores / content_hash[:16]
            # Where the process dies between name and index, the next one finds the rows all the same: those written
            # here in the unfinished store, which so keeps them until it is in the index, and linked ones by the index
            # as it was.
            if unfinished.linked:
                _give_name(unfinished.store, final)
            write_index(index, final.name, data_dir, stamped)
            _give_name(unfinished.store, final)
            shutil.rmtree(building)
        except OSError as error:
            raise _unwritable(error, building, len(files) * settings.size**2) from error
        return ImageStore.open(final)


def _give_name(store: Path, final: Path) -> None:
    if not final.is_dir():
        os.replace(store, final)


def _silent(done: int, total: int, note: str) -> None:
    """A Progress that says nothing."""


def _origin(offered: Catalog, data_dir: Path) -> str:
    """Names what a build reads: the data folder and the sources in it."""
    places = [str(data_dir.resolve()), *sorted(offered.frame["source"].unique())]
    return hashlib.sha256(json.dumps(places).encode()).hexdigest()[:8]


def _remove_abandoned(stores: Path) -> None:
    """Clear away what killed builds of other data left, once it is old; what a living process builds stays."""
    for building in stores.glob(".building-*"):
        if building.is_dir() and time.time() - building.stat().st_mtime > _KEPT_SECONDS:
            remove_unless_held(building)


def _catalog(offered: Catalog, candidates: pd.Series, unfinished: UnfinishedStore) -> Catalog:
    frame = offered.frame.copy()
    said = frame.loc[candidates, "flags"]
    for column in FILE_COLUMNS:
        frame.loc[candidates, column] = [facts[column] for facts in unfinished.facts]
    found = frame.loc[candidates, "flags"]
    frame.loc[candidates, "flags"] = [with_input_flags(*both) for both in zip(said, found, strict=True)]
    return Catalog.of(frame)


def _complete(folder: Path, catalog: Catalog, settings: ImageStoreSettings) -> str:
    """Write what a store holds beside its pixels; gives its content hash."""
    catalog.save(folder / "catalog.parquet")
    content_hash = hashlib.sha256(f"{settings.resize_key()} {catalog.content_hash()}".encode()).hexdigest()
    facts = {
        "version": STORE_VERSION,
        "images": len(catalog.kept),
        "size": settings.size,
        "resize_rule": RESIZE_RULE,
        "pillow": PIL.__version__,
        "content_hash": content_hash,
    }
    (folder / "store.json").write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for name in ("catalog.parquet", "store.json"):
        with (folder / name).open("rb+") as file:
            os.fsync(file.fileno())
    return content_hash


def _unwritable(error: OSError, building: Path, needed_bytes: int) -> EnvironmentProblem:
    """The error to raise. On a full disk the unfinished store goes, so that there is room to mend it in."""
    if is_full(error):
        shutil.rmtree(building, ignore_errors=True)
        return no_room(building.parent, needed_bytes, "The image store")
    return EnvironmentProblem(
        f"The image store could not be written to {building.parent}: {error.strerror}.",
        why="Without it nothing can be trained.",
        cure="Check the folder, or set LUNGLINE_HOME to another disk, and run the command again.",
    )
