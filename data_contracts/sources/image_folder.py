"""A team's own images, PNG, JPEG or DICOM: class folders named like findings, or a `labels.csv` beside them.

A folder is taken for one where it holds a `labels.csv`, or is called `image-folder` and has folders inside. Nothing
else is: images without classes have no label, and a folder of any other name may be anything.
"""

from __future__ import annotations

import re
from pathlib import Path

from data_contracts.ontology import PARENT
from data_contracts.sources.base import (
    DICOM_SUFFIXES,
    IMAGE_SUFFIXES,
    Listing,
    SourceDescription,
    folders_below,
    images_in,
)
from data_contracts.sources.dicom_facts import fill_from_headers
from data_contracts.sources.folder_classes import list_class_folders, visible_folders
from data_contracts.sources.labels_table import TABLE, list_labelled_images

FOLDER = "image-folder"

# What people write for a node, beside its own name.
SYNONYMS = {
    "normal": "no_finding",
    "covid": "covid19",
    "covid_19": "covid19",
    "viral_pneumonia": "viral",
    "other_viral_pneumonia": "other_viral",
    "bacterial_pneumonia": "bacterial",
    "fungal_pneumonia": "fungal",
    "lung_opacity": "opacity",
}


def is_image_folder(folder: Path) -> bool:
    """Whether `folder` carries the mark of a team's own data, which no other adapter may claim."""
    named = folder.name.casefold() == FOLDER and bool(visible_folders(folder))
    return named or (folder / TABLE).is_file()


def node_of(label: str) -> str | None:
    """The ontology node that a person means by `label`; case, blanks, hyphens and underscores do not matter."""
    word = re.sub(r"[\s_-]+", "_", label.strip().casefold())
    node = SYNONYMS.get(word, word)
    return node if node in PARENT else None


class ImageFolder:
    """Reads `labels.csv` where there is one, else the class folders with the images directly inside them.

    Of DICOM files, the header gives patient (as a pseudonym), view, age and sex where the table does not.
    """

    description = SourceDescription(
        name="image-folder",
        title="A team's own images",
        handle=f"a folder with {TABLE}, or class folders in a folder called {FOLDER}",
        licence="the team's own",
        citation="none",
        expected_images=0,
    )

    def find(self, data_dir: Path) -> Path | None:
        return next((folder for folder in folders_below(data_dir) if is_image_folder(folder)), None)

    def read(self, folder: Path, data_dir: Path) -> Listing:
        listing = Listing()
        common = {"source": self.description.name, "licence": self.description.licence}
        if (folder / TABLE).is_file():
            list_labelled_images(folder, data_dir, node_of, listing, **common)
        else:
            suffixes = IMAGE_SUFFIXES | DICOM_SUFFIXES
            list_class_folders(folder, data_dir, node_of, listing, suffixes, **common)
            for image in images_in(folder, listing, suffixes):
                file = image.relative_to(data_dir).as_posix()
                listing.add(problem="in no class folder", file=file, **common)
        fill_from_headers(listing, data_dir, self.description.name)
        return listing
