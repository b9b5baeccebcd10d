"""Fetches a published dataset into the data folder: the only part of the data room that uses the network.

A dataset gets its folder when it is complete. Until then it grows in `.fetching/`, which no adapter looks into.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from data_contracts.errors import UsageProblem
from data_contracts.fetch import kaggle, mendeley, nih_box
from data_contracts.fetch.http import Progress, quiet
from data_contracts.fetch.partial import write_atomically
from data_contracts.fetch.retry import RetryBudget
from data_contracts.locks import only_one
from data_contracts.sources import SOURCES
from data_contracts.sources.base import is_image

__all__ = ["FETCHABLE", "Fetched", "Places", "fetch_source"]

STAGING = ".fetching"
NOTES_FILE = "fetched.txt"


@dataclass(frozen=True, slots=True)
class Publication:
    """Where a source is published.

    folder: its name in the data folder. kaggle: its Kaggle handle, "" where it is not published there. bytes: about
    the room it takes while it is unpacked.
    """

    folder: str
    kaggle: str
    bytes: int


FETCHABLE: Mapping[str, Publication] = MappingProxyType(
    {
        "radiography": Publication(
            "covid19-radiography-database", "tawsifurrahman/covid19-radiography-database", 2 << 30
        ),
        "mendeley": Publication("mendeley-9xkhgts2s6", "", 0),
        "nih": Publication("nih-chest-xrays", "nih-chest-xrays/data", 90 << 30),
        "covid-pneumonia-normal": Publication(
            "covid-pneumonia-normal-chest-xray-images",
            "sachinkumar413/covid-pneumonia-normal-chest-xray-images",
            1 << 30,
        ),
        "covid19-pneumonia": Publication(
            "chest-xray-covid19-pneumonia", "prashant268/chest-xray-covid19-pneumonia", 5 << 30
        ),
        "chest-xray-pneumonia": Publication(
            "chest-xray-pneumonia", "paultimothymooney/chest-xray-pneumonia", 4 << 30
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Places:
    """Addresses of the services; tests name their own."""

    mendeley: str = mendeley.API
    nih_box: str = nih_box.SHARED
    kaggle: str = kaggle.SITE


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a fetch left in the data folder. missing: what a person must still add before it can be used, or ""."""

    source: str
    folder: Path
    already_there: bool
    notes: list[str] = field(default_factory=list)
    missing: str = ""


def fetch_source(
    name: str,
    data_dir: Path,
    *,
    budget: RetryBudget | None = None,
    progress: Progress = quiet,
    places: Places | None = None,
) -> Fetched:
    """Fetch the dataset of source `name` below `data_dir`, unless it lies there already.

    NIH comes from Kaggle where there are credentials (with its tables), else from the NIH's own archives (images
    only). Raises UsageProblem for an unknown name, and what the transfer raises; what was transferred is kept.
    """
    if name not in FETCHABLE:
        raise UsageProblem(
            f"There is no published source called {name!r}.",
            why="Only datasets whose address is known can be fetched.",
            cure="Use one of: " + ", ".join(FETCHABLE) + ".",
        )
    published = FETCHABLE[name]
    final = data_dir / published.folder
    staging = data_dir / STAGING / published.folder
    staging.parent.mkdir(parents=True, exist_ok=True)
    with only_one(staging, lambda note: progress(0, 0, note), f"fetching {published.folder}"):
        staging.mkdir(exist_ok=True)
        content = staging / "content"  # there only when everything was fetched; a killed process may have left it
        present = None if content.exists() else _present(name, data_dir, final)
        if present is not None:
            shutil.rmtree(staging)
            return Fetched(name, present, already_there=True, missing=_missing(name, data_dir))
        if not (content / NOTES_FILE).exists():
            notes = ["the notes of the transfer were lost in an interruption"]
            if not content.exists():
                notes = _fetch(name, published, staging, content, budget, progress, places or Places())
            # Inside the folder before it gets its name, so a folder that has the file is complete.
            write_atomically(content / NOTES_FILE, "\n".join(notes) + "\n")
        notes = (content / NOTES_FILE).read_text(encoding="utf-8").splitlines()
        _settle(content, final)
        shutil.rmtree(staging)
        return Fetched(name, final, already_there=False, notes=notes, missing=_missing(name, data_dir))


def _fetch(
    name: str,
    published: Publication,
    staging: Path,
    content: Path,
    budget: RetryBudget | None,
    progress: Progress,
    places: Places,
) -> list[str]:
    if name == "mendeley":
        return mendeley.fetch(staging, content, base_url=places.mendeley, budget=budget, progress=progress)
    if name == "nih" and not kaggle.find_credentials().found:
        return nih_box.fetch(staging, content, base_url=places.nih_box, budget=budget, progress=progress)
    return kaggle.fetch(
        published.kaggle,
        staging,
        content,
        needed_bytes=published.bytes,
        base_url=places.kaggle,
        budget=budget,
        progress=progress,
    )


def _present(name: str, data_dir: Path, final: Path) -> Path | None:
    """Where the dataset lies already: fetched by us, or put there by a person in a layout its adapter knows."""
    if (final / NOTES_FILE).is_file():
        return final
    adapter = SOURCES.get(name)
    folder = adapter.find(data_dir) if adapter is not None else None
    if folder is not None and any(is_image(path) for path in folder.rglob("*")):
        return folder
    return None


def _settle(content: Path, final: Path) -> None:
    """Give the dataset its folder. What a person put there beforehand (the NIH tables) stays."""
    if not final.exists():
        os.replace(content, final)
        return
    taken = sorted(child.name for child in content.iterdir() if (final / child.name).exists())
    if taken:
        raise UsageProblem(
            f"{final} already holds {', '.join(taken[:3])}.",
            why="What is there would be overwritten, or two releases would mix.",
            cure="Move it out of the way and run the same command again; the fetched data waits for it.",
        )
    mark_last = sorted(content.iterdir(), key=lambda path: path.name == NOTES_FILE)
    for child in mark_last:
        os.replace(child, final / child.name)


def _missing(name: str, data_dir: Path) -> str:
    """What keeps the adapter from recognising the dataset, "" where nothing does or there is no adapter yet."""
    adapter = SOURCES.get(name)
    if adapter is None or adapter.find(data_dir) is not None:
        return ""
    return (
        nih_box.TABLES_NOTE if name == "nih" else f"the adapter of {name} does not recognise the layout that came"
    )
