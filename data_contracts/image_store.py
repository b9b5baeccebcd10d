"""The image store: every file decoded once into a row of one uint8 array that training and scoring map into memory.

A store folder holds `images.npy` (N, size, size), `catalog.parquet` and `store.json`. Its name is its content hash,
so a store that has its name is complete. Building one reuses every row of the newest store with the same resize
rule whose file is byte for byte the same: a new image costs one decode.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import PIL
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from data_contracts.catalog import DUPLICATE, KEPT, QUARANTINED, Catalog
from data_contracts.errors import DataGateError, EnvironmentProblem
from data_contracts.images import RESIZE_RULE, DecodeLimits, UnreadableImage, read_image
from data_contracts.workspace import require_free_space

STORE_VERSION = 1
_BATCH = 256  # files in flight at once: bounds memory, keeps the threads busy
# What the decode pass learns of a file; kept with the row and reused while the file's bytes stay the same.
DECODED_COLUMNS = (
    *("status", "reason", "image_id", "phash", "width", "height", "mode", "format"),
    *("mean", "std", "p01", "p50", "p99", "saturated", "sharpness", "border_energy"),
)
Progress = Callable[[int, int], None]


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
        rule = [STORE_VERSION, RESIZE_RULE, PIL.__version__, self.model_dump()]
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
    rows that name the earlier file. Raises EnvironmentProblem before starting where the disk is too small, and
    where it fills up on the way (the half-written store is removed).
    """
    stores.mkdir(parents=True, exist_ok=True)
    require_free_space(stores, len(offered.frame) * settings.size**2, "The image store")
    part = stores / f".part-{os.getpid()}"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        catalog = _write_rows(part, offered, data_dir, settings, _Known.newest(stores, settings), progress)
        store = _finish(part, catalog, settings, stores)
    except OSError as error:
        raise EnvironmentProblem(
            f"The image store could not be written to {stores}: {error.strerror}.",
            why="Without it nothing can be trained.",
            cure="Free some space, or set LUNGLINE_HOME to a larger disk, and run the command again.",
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return store


@dataclass(slots=True)
class _Known:
    """Rows of an earlier store by file hash."""

    images: NDArray[np.uint8] | None = None
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def newest(cls, stores: Path, settings: ImageStoreSettings) -> Self:
        pointer = stores / f"newest-{settings.resize_key()}.txt"
        if not pointer.is_file():
            return cls()
        folder = stores / pointer.read_text(encoding="utf-8").strip()
        if not folder.is_dir():
            return cls()
        store = ImageStore.open(folder)
        decoded = store.catalog.frame[["file_sha256", "row", *DECODED_COLUMNS]]
        # A duplicate's pixels are in the store under another file; it is decoded again, which is rare and simple.
        decoded = decoded[(decoded["file_sha256"] != "") & (decoded["status"] != DUPLICATE)]
        rows = {str(row["file_sha256"]): {str(k): v for k, v in row.items()} for row in decoded.to_dict("records")}
        return cls(store.images, rows)


def _write_rows(
    part: Path,
    offered: Catalog,
    data_dir: Path,
    settings: ImageStoreSettings,
    known: _Known,
    progress: Progress | None,
) -> Catalog:
    """Stream accepted rows into images.npy in catalog order; memory stays at a few hundred images."""
    decoded: list[dict[str, Any]] = []
    first_file: dict[str, str] = {}
    candidates = offered.frame["status"] == KEPT
    files = [str(file) for file in offered.frame.loc[candidates, "file"]]
    with (part / "images.npy").open("wb") as out, ThreadPoolExecutor(os.cpu_count()) as pool:
        _write_header(out, 0, settings.size)
        for pixels, facts in _decode_all(pool, files, data_dir, settings, known):
            if facts["status"] == KEPT and facts["image_id"] in first_file:
                facts.update(status=DUPLICATE, reason=f"same pixels as {first_file[facts['image_id']]}")
            elif facts["status"] == KEPT and pixels is not None:
                first_file[facts["image_id"]] = files[len(decoded)]
                facts["row"] = len(first_file) - 1
                out.write(np.ascontiguousarray(pixels).data)
            decoded.append(facts)
            if progress is not None:
                progress(len(decoded), len(files))
        out.seek(0)
        _write_header(out, len(first_file), settings.size)
        out.flush()
        os.fsync(out.fileno())
    frame = offered.frame.copy()
    for column in ("file_sha256", "row", *DECODED_COLUMNS):
        values = [facts.get(column) for facts in decoded]
        known_values = [i for i, value in enumerate(values) if value is not None]
        positions = frame.index[candidates][known_values]
        frame.loc[positions, column] = [values[i] for i in known_values]
    return Catalog.of(frame)


def _decode_all(
    pool: ThreadPoolExecutor, files: list[str], data_dir: Path, settings: ImageStoreSettings, known: _Known
) -> Iterator[tuple[NDArray[np.uint8] | None, dict[str, Any]]]:
    """Decode in threads (Pillow and hashlib release the interpreter lock), in order, a bounded batch at a time."""
    root = data_dir.resolve()

    def decode(file: str) -> tuple[NDArray[np.uint8] | None, dict[str, Any]]:
        return _decode_file(root, file, settings, known)

    for start in range(0, len(files), _BATCH):
        yield from pool.map(decode, files[start : start + _BATCH])


def _decode_file(
    root: Path, file: str, settings: ImageStoreSettings, known: _Known
) -> tuple[NDArray[np.uint8] | None, dict[str, Any]]:
    path = root / file
    facts: dict[str, Any] = {"row": -1}
    if not path.resolve().is_relative_to(root):
        return None, facts | {"status": QUARANTINED, "reason": "file lies outside the data folder"}
    try:
        content = path.read_bytes()
    except OSError as error:
        return None, facts | {"status": QUARANTINED, "reason": f"file cannot be read: {error.strerror}"}
    facts["file_sha256"] = hashlib.sha256(content).hexdigest()
    earlier = known.rows.get(facts["file_sha256"])
    if earlier is not None:
        facts |= {column: earlier[column] for column in DECODED_COLUMNS}
        row = int(earlier["row"])
        return (known.images[row] if known.images is not None and row >= 0 else None), facts
    try:
        image = read_image(content, size=settings.size, limits=settings.limits)
    except UnreadableImage as error:
        return None, facts | {"status": QUARANTINED, "reason": str(error)}
    return image.pixels, facts | {"status": KEPT, "reason": "", **image.facts()}


def _write_header(out: Any, rows: int, size: int) -> None:
    # numpy pads the header so that the first axis can grow in place: it has the same length for any `rows`.
    header = {"descr": "|u1", "fortran_order": False, "shape": (rows, size, size)}
    np.lib.format.write_array_header_1_0(out, header)


def _finish(part: Path, catalog: Catalog, settings: ImageStoreSettings, stores: Path) -> ImageStore:
    """Name the store by its content and point to it; an identical store that already exists is used instead."""
    catalog.save(part / "catalog.parquet")
    content_hash = hashlib.sha256(f"{settings.resize_key()} {catalog.content_hash()}".encode()).hexdigest()
    facts = {
        "version": STORE_VERSION,
        "images": len(catalog.kept),
        "size": settings.size,
        "resize_rule": RESIZE_RULE,
        "pillow": PIL.__version__,
        "content_hash": content_hash,
    }
    (part / "store.json").write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    final = stores / content_hash[:16]
    if not final.is_dir():
        os.replace(part, final)
    pointer = stores / f"newest-{settings.resize_key()}.txt"
    pointer_part = pointer.with_name(f"{pointer.name}.part-{os.getpid()}")
    pointer_part.write_text(final.name + "\n", encoding="utf-8")
    os.replace(pointer_part, pointer)
    return ImageStore.open(final)
