"""COVID-19 Radiography Database (Kaggle, 2021 release): class folders with images/ and lung masks/, no patient ids."""

from __future__ import annotations

from pathlib import Path

from data_contracts.sources.base import Listing, SourceDescription, class_folders, folders_below, images_in

# "Lung Opacity" is a finding, not a cause: neither pneumonia nor COVID-19. The viral films are children from
# before 2020: viral and known not to be COVID-19.
NODES = {"COVID": "covid19", "Lung_Opacity": "opacity", "Normal": "no_finding", "Viral Pneumonia": "other_viral"}


class Radiography:
    """Reads `COVID-19_Radiography_Dataset/<class>/images/*.png`; masks share the image's file name."""

    description = SourceDescription(
        name="radiography",
        title="COVID-19 Radiography Database",
        handle="kaggle: tawsifurrahman/covid19-radiography-database",
        licence="original authors of each image",
        citation="Chowdhury et al., IEEE Access 8 (2020); Rahman et al., Comput Biol Med 132 (2021)",
        expected_images=21_165,
    )

    def find(self, data_dir: Path) -> Path | None:
        for folder in folders_below(data_dir):
            classes = class_folders(folder)
            if {"covid", "viral pneumonia"} <= classes.keys() and (classes["covid"] / "images").is_dir():
                return folder
        return None

    def read(self, folder: Path, data_dir: Path) -> Listing:
        listing = Listing()
        classes = class_folders(folder)
        for raw_label, node in NODES.items():
            class_folder = classes.get(raw_label.casefold())
            if class_folder is None or not (class_folder / "images").is_dir():
                listing.notes.append(f"class folder {raw_label!r} is missing")
                continue
            masks = class_folder / "masks"
            for image in images_in(class_folder / "images", listing):
                mask = masks / image.name
                listing.add(
                    nodes=[node],
                    source=self.description.name,
                    release="2021",
                    file=image.relative_to(data_dir).as_posix(),
                    raw_label=raw_label,
                    label_method="folder",
                    mask_file=mask.relative_to(data_dir).as_posix() if mask.is_file() else "",
                    licence=self.description.licence,
                )
        return listing
