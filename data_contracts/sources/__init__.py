"""The datasets Lungline reads in their original raw layouts, and how several become one catalog."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from data_contracts.catalog import Catalog
from data_contracts.errors import UsageProblem
from data_contracts.known_files import Stamp
from data_contracts.sources.base import Listing, Source, SourceDescription
from data_contracts.sources.covid19_pneumonia import Covid19Pneumonia
from data_contracts.sources.covid_pneumonia_normal import CovidPneumoniaNormal
from data_contracts.sources.image_folder import ImageFolder
from data_contracts.sources.mendeley import Mendeley
from data_contracts.sources.nih import Nih
from data_contracts.sources.pediatric import Pediatric
from data_contracts.sources.radiography import Radiography

__all__ = ["SOURCES", "Listing", "Source", "SourceDescription", "fingerprint", "locate", "merge"]

SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        source.description.name: source
        for source in (
            Radiography(),
            Mendeley(),
            Nih(),
            CovidPneumoniaNormal(),
            Covid19Pneumonia(),
            Pediatric(),
            ImageFolder(),
        )
    }
)


def source_named(name: str) -> Source:
    """The adapter called `name`. Raises UsageProblem naming the known ones."""
    if name not in SOURCES:
        raise UsageProblem(
            f"There is no source called {name!r}.",
            why="Lungline reads datasets through adapters that know their layout.",
            cure="Use one of: " + ", ".join(SOURCES) + ".",
        )
    return SOURCES[name]


def locate(names: Sequence[str], data_dir: Path) -> dict[str, Path]:
    """Where each named dataset lies at or below `data_dir`.

    Raises UsageProblem where the folder or one of the datasets is missing.
    """
    if not data_dir.is_dir():
        raise UsageProblem(
            f"The data folder {data_dir} does not exist.",
            why="There are no images to read.",
            cure="Give the folder that holds the datasets with --data DIR or LUNGLINE_DATA.",
        )
    found = {name: source_named(name).find(data_dir) for name in names}
    missing = [name for name, folder in found.items() if folder is None]
    if missing:
        raise UsageProblem(
            f"No dataset in the layout of {', '.join(missing)} lies in {data_dir}.",
            why="The recipe names it, and leaving it out would change what is learned.",
            cure="`lungline data list --data DIR` shows what was recognised; put the dataset there unpacked.",
        )
    return {name: folder for name, folder in found.items() if folder is not None}


def merge(names: Sequence[str], data_dir: Path) -> tuple[Catalog, list[str]]:
    """One catalog of all images of the named datasets, and what the adapters passed over, in sentences."""
    frames: list[pd.DataFrame] = []
    notes: list[str] = []
    for name, folder in locate(names, data_dir).items():
        listing = SOURCES[name].read(folder, data_dir)
        frames.append(listing.frame())
        notes += [f"{name}: {note}" for note in listing.notes]
    return Catalog.of(pd.concat(frames, ignore_index=True)), notes


def fingerprint(names: Sequence[str], data_dir: Path) -> str:
    """A hash over path, size and times of change of every file of the named datasets.

    It tells whether anything may have changed without reading a single image.
    """
    digest = hashlib.sha256()
    for name, folder in sorted(locate(names, data_dir).items()):
        digest.update(name.encode())
        for path in sorted(_files_below(folder, data_dir.resolve())):
            if path.is_file():
                place, stamp = path.relative_to(data_dir).as_posix(), Stamp.of(path.stat())
                digest.update("\0".join((place, *map(str, stamp))).encode() + b"\n")
    return digest.hexdigest()


def _files_below(folder: Path, root: Path) -> Iterator[Path]:
    """All files, also behind links to folders inside `root`, as the adapters see them; each folder once."""
    seen: set[Path] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        here = Path(place)
        real = here.resolve()
        if real in seen or not real.is_relative_to(root):
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        yield from (here / file for file in files)
