"""One file of the prediction log: parquet whose name is the sha256 of its bytes, so that every damage to it is seen."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data_contracts.durability import sync

SUFFIX = ".parquet"
PART = ".part"
_REPLACES = b"lungline_replaces"  # names of the files whose rows were moved here, joined by "|"


class DamagedPartition(Exception):
    """A file that is not the one that was written under its name."""


def write_partition(folder: Path, table: pa.Table, replaces: Collection[str] = ()) -> Path:
    """Write a table to `folder`; the final name appears only when everything is on the disk.

    replaces: names of the files in `folder` that hold the same rows and are removed next. Raises OSError where the
    disk refuses; nothing half-written is left behind then.
    """
    metadata = {_REPLACES: "|".join(sorted(replaces))} if replaces else None
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(metadata), sink, compression="zstd", write_page_checksum=True)
    data = sink.getvalue()
    path = folder / f"{hashlib.sha256(data).hexdigest()}{SUFFIX}"
    part = path.with_name(path.name + PART)
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        sync(folder.parent)
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync(folder)
    return path


def read_partition(path: Path) -> pa.Table:
    """The rows of a file after comparing it with its name. Raises DamagedPartition, or OSError where it is gone."""
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != path.name.removesuffix(SUFFIX):
        raise DamagedPartition(path.name)
    return pq.read_table(pa.BufferReader(data))


def read_columns(path: Path, names: Collection[str]) -> pa.Table:
    """Those columns of a file, as far as it has them, at the price of these columns.

    What is read is compared with the checksums of its pages. Raises as `read_partition` does, which alone sees every
    damage of a file.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            present = [name for name in file.schema_arrow.names if name in names]
            return file.read(present)
    except (pa.ArrowException, OSError, ValueError) as error:
        if getattr(error, "errno", None) is not None:  # the disk's answer, not the file's content
            raise
        raise DamagedPartition(path.name) from error


def replaced_by(table: pa.Table) -> set[str]:
    """Names of the files beside a partition whose rows it holds; a kill may have left them there."""
    names = (table.schema.metadata or {}).get(_REPLACES, b"").decode()
    return set(filter(None, names.split("|")))
