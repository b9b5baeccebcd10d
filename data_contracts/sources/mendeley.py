"""Curated Dataset for COVID-19 PA Chest Radiography (Mendeley 9xkhgts2s6): four class folders, no patient ids."""

from __future__ import annotations

from pathlib import Path

from data_contracts.sources.base import Listing, SourceDescription, class_folders, folders_below, images_in

# The viral films are children from before 2020: viral and known not to be COVID-19.
NODES = {
    "COVID-19": "covid19",
    "Normal": "no_finding",
    "Pneumonia-Bacterial": "bacterial",
    "Pneumonia-Viral": "other_viral",
}


class Mendeley:
    """Reads the class folders wherever the archive nested them; file names say nothing beyond the class."""

    description = SourceDescription(
        name="mendeley",
        title="Curated Dataset for COVID-19 PA Chest Radiography",
        handle="doi: 10.17632/9xkhgts2s6.4",
        licence="CC BY 4.0",
        citation="Sait et al., Mendeley Data V4 (2022); Appl Soft Comput 109 (2021)",
        expected_images=9_208,
    )

    def find(self, data_dir: Path) -> Path | None:
        wanted = {name.casefold() for name in NODES}
        return next((f for f in folders_below(data_dir) if wanted <= class_folders(f).keys()), None)

    def read(self, folder: Path, data_dir: Path) -> Listing:
        listing = Listing()
        classes = class_folders(folder)
        for raw_label, node in NODES.items():
            for image in images_in(classes[raw_label.casefold()], listing):
                listing.add(
                    nodes=[node],
                    source=self.description.name,
                    release="4",
                    file=image.relative_to(data_dir).as_posix(),
                    raw_label=raw_label,
                    label_method="folder",
                    view="PA",  # the collection was curated to postero-anterior films
                    licence=self.description.licence,
                )
        return listing
