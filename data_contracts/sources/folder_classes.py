"""Lists a folder whose sub-folders are classes: known ones as rows, unknown ones into quarantine, empty ones said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from data_contracts.sources.base import IMAGE_SUFFIXES, Listing, images_in


def visible_folders(folder: Path) -> list[Path]:
    """The folders directly in `folder`, sorted by name, without hidden ones and what archivers leave behind."""
    return sorted(c for c in folder.iterdir() if c.is_dir() and not c.name.startswith((".", "__")))


def list_class_folders(
    folder: Path,
    data_dir: Path,
    node_of: Callable[[str], str | None],
    listing: Listing,
    suffixes: frozenset[str] = IMAGE_SUFFIXES,
    **columns: object,
) -> int:
    """Add one row per image directly in a sub-folder of `folder`; returns how many rows were added.

    node_of: the ontology node that a folder name means, or None, which quarantines the folder's images.
    columns: what all rows have in common.
    """
    before = len(listing.rows)
    for class_folder in visible_folders(folder):
        node = node_of(class_folder.name)
        images = images_in(class_folder, listing, suffixes)
        for image in images:
            listing.add(
                nodes=[node] if node else [],
                problem="" if node else f"unknown class folder: {class_folder.name}",
                file=image.relative_to(data_dir).as_posix(),
                raw_label=class_folder.name,
                label_method="folder",
                **columns,
            )
        if not images:
            listing.notes.append(f"class folder {class_folder.name!r} holds no images")
        if deeper := visible_folders(class_folder):
            listing.notes.append(f"class folder {class_folder.name!r}: {len(deeper)} folders inside it not read")
    return len(listing.rows) - before
