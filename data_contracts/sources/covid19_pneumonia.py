"""Chest X-ray (Covid-19 & Pneumonia) (Kaggle): train and test folders with three classes each, no patient ids."""

from __future__ import annotations

from pathlib import Path

from data_contracts.sources.base import Listing, SourceDescription, class_folders, folders_below
from data_contracts.sources.folder_classes import list_class_folders, visible_folders

# The pneumonias are bacterial and viral ones, mixed: their file names no longer say which.
NODES = {"covid19": "covid19", "normal": "no_finding", "pneumonia": "pneumonia"}
SPLITS = ("train", "test")


class Covid19Pneumonia:
    """Reads `Data/{train,test}/{COVID19,NORMAL,PNEUMONIA}/`; the official split is noted and not used."""

    description = SourceDescription(
        name="covid19-pneumonia",
        title="Chest X-ray (Covid-19 & Pneumonia)",
        handle="kaggle: prashant268/chest-xray-covid19-pneumonia",
        licence="see the dataset's page on Kaggle; original authors of each image",
        citation="P. Patel, Kaggle (2020); Cohen et al., arXiv:2003.11597; Kermany et al., Cell 172 (2018)",
        expected_images=6_432,
    )

    def find(self, data_dir: Path) -> Path | None:
        """The nearest folder with a split of exactly these classes: other collections add tuberculosis."""
        return next((folder for folder in folders_below(data_dir) if any(_splits(folder))), None)

    def read(self, folder: Path, data_dir: Path) -> Listing:
        listing = Listing()
        counts = {
            split.name: list_class_folders(
                split,
                data_dir,
                lambda name: NODES.get(name.casefold()),
                listing,
                source=self.description.name,
                licence=self.description.licence,
            )
            for split in _splits(folder)
        }
        official = ", ".join(f"{name} {count}" for name, count in counts.items())
        listing.notes.append(f"official split noted, not used: {official}")
        return listing


def _splits(folder: Path) -> list[Path]:
    folders = class_folders(folder)
    present = [folders[name] for name in SPLITS if name in folders]
    return [split for split in present if {c.name.casefold() for c in visible_folders(split)} == NODES.keys()]
