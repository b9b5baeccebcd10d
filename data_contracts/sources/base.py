"""What every dataset adapter promises: find its raw layout below a folder, and list each image with what is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pandas as pd

from data_contracts.catalog import QUARANTINED
from data_contracts.ontology import join_nodes

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
DICOM_SUFFIXES = frozenset({".dcm", ".dicom"})  # no published dataset has them; a team's own images may
SEARCH_DEPTH = 4  # archives nest their content up to this many folders deep


@dataclass(frozen=True, slots=True)
class SourceDescription:
    """Facts about a published dataset. expected_images is the size of the whole release the adapter was written for."""

    name: str
    title: str
    handle: str
    licence: str
    citation: str
    expected_images: int


@dataclass(slots=True)
class Listing:
    """What an adapter found: catalog rows, and sentences about what it passed over. Nothing is left out unsaid."""

    rows: list[dict[str, object]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, *, nodes: Sequence[str] = (), problem: str = "", **columns: object) -> None:
        """One image. A problem sends it to quarantine with that reason."""
        row = dict(columns, nodes=join_nodes(nodes))
        if problem:
            row.update(status=QUARANTINED, reason=problem)
        self.rows.append(row)

    def frame(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows)


class Source(Protocol):
    """One dataset in its original raw layout."""

    @property
    def description(self) -> SourceDescription: ...

    def find(self, data_dir: Path) -> Path | None:
        """The dataset's folder at or below `data_dir`, or None."""
        ...

    def read(self, folder: Path, data_dir: Path) -> Listing:
        """List the images of `folder`; file paths are POSIX paths relative to `data_dir`."""
        ...


def folders_below(data_dir: Path, depth: int = SEARCH_DEPTH) -> Iterator[Path]:
    """`data_dir` and its folders, nearest first, sorted, without hidden ones and without following links."""
    level = [data_dir]
    for _ in range(depth + 1):
        yield from level
        level = sorted(
            child
            for folder in level
            for child in folder.iterdir()
            if child.is_dir() and not child.is_symlink() and not child.name.startswith((".", "__"))
        )


def is_image(path: Path, suffixes: frozenset[str] = IMAGE_SUFFIXES) -> bool:
    """Whether a file offers itself as an image: by suffix, and not a hidden or AppleDouble file."""
    return path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()


def images_in(folder: Path, listing: Listing, suffixes: frozenset[str] = IMAGE_SUFFIXES) -> list[Path]:
    """The image files directly in `folder`, sorted by name; other files are counted in the listing's notes."""
    entries = [entry for entry in sorted(folder.iterdir()) if not entry.is_dir()]
    images = [entry for entry in entries if is_image(entry, suffixes)]
    if len(images) < len(entries):
        listing.notes.append(f"{folder.name}: {len(entries) - len(images)} files that are not images ignored")
    return images


def class_folders(folder: Path) -> dict[str, Path]:
    """Sub-folders by name, compared without regard to case."""
    return {child.name.casefold(): child for child in folder.iterdir() if child.is_dir()}
