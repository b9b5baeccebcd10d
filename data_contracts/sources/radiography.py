"""COVID-19 Radiography Database (Kaggle), its three releases: class folders, lung masks in the last, no patient ids."""

from __future__ import annotations

from pathlib import Path

from data_contracts.sources.base import (
    Listing,
    SourceDescription,
    class_folders,
    folders_below,
    images_in,
    is_image,
)
from data_contracts.sources.origin_sheets import ORIGIN_SHEETS, documented_names, origin_key

# "Lung Opacity" is a finding, not a cause: neither pneumonia nor COVID-19. The viral films are children from
# before 2020: viral and known not to be COVID-19.
NODES = {
    "2021": {
        "COVID": "covid19",
        "Lung_Opacity": "opacity",
        "Normal": "no_finding",
        "Viral Pneumonia": "other_viral",
    },
    # The releases before it hold the images directly in the class folders and know no opacities. The first had 219
    # COVID-19 images; its update, with up to 1,200 of them, renamed their folder.
    "2020": {"COVID-19": "covid19", "NORMAL": "no_finding", "Viral Pneumonia": "other_viral"},
    "2020 update": {"COVID": "covid19", "NORMAL": "no_finding", "Viral Pneumonia": "other_viral"},
}


class Radiography:
    """Reads `<class>/images/*.png`, whose masks share the image's file name, or `<class>/*.png` of 2020."""

    description = SourceDescription(
        name="radiography",
        title="COVID-19 Radiography Database",
        handle="kaggle: tawsifurrahman/covid19-radiography-database",
        licence="original authors of each image",
        citation="Chowdhury et al., IEEE Access 8 (2020); Rahman et al., Comput Biol Med 132 (2021)",
        expected_images=21_165,
    )

    def find(self, data_dir: Path) -> Path | None:
        return next((folder for folder in folders_below(data_dir) if _release(folder)), None)

    def read(self, folder: Path, data_dir: Path) -> Listing:
        listing = Listing()
        release = _release(folder)
        classes = class_folders(folder)
        for raw_label, node in NODES[release].items():
            class_folder = classes.get(raw_label.casefold())
            image_folder = class_folder / "images" if class_folder and release == "2021" else class_folder
            if class_folder is None or image_folder is None or not image_folder.is_dir():
                listing.notes.append(f"class folder {raw_label!r} is missing")
                continue
            for image in images_in(image_folder, listing):
                mask = class_folder / "masks" / image.name
                listing.add(
                    nodes=[node],
                    source=self.description.name,
                    release=release,
                    file=image.relative_to(data_dir).as_posix(),
                    raw_label=raw_label,
                    label_method="folder",
                    mask_file=mask.relative_to(data_dir).as_posix() if mask.is_file() else "",
                    licence=self.description.licence,
                )
        _note_origins(folder, listing)
        return listing


def _release(folder: Path) -> str:
    """The release whose layout `folder` has, or ""."""
    classes = class_folders(folder)
    if {"covid", "viral pneumonia"} <= classes.keys() and (classes["covid"] / "images").is_dir():
        return "2021"
    # Other collections use these class names too: the folder's name or the origin sheets tell this one.
    if "radiography" not in folder.name.casefold() and not any(folder.glob(ORIGIN_SHEETS)):
        return ""
    for release in ("2020", "2020 update"):
        wanted = [name.casefold() for name in NODES[release]]
        if all(name in classes and any(map(is_image, classes[name].iterdir())) for name in wanted):
            return release
    return ""


def _note_origins(folder: Path, listing: Listing) -> None:
    """Say how many of the listed images the sheets beside the class folders trace to a publication, if not all."""
    if not any(folder.glob(ORIGIN_SHEETS)):
        return
    documented = documented_names(folder, listing)
    files = [Path(str(row["file"])) for row in listing.rows]
    known = sum(origin_key(file.stem) in documented for file in files)
    if known < len(files):
        listing.notes.append(f"{known} of {len(files)} images have a documented origin")
