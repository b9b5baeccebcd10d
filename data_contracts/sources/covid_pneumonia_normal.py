"""COVID19+PNEUMONIA+NORMAL Chest X-Ray (Kaggle): three class folders at the root, no patient ids."""

from __future__ import annotations

from pathlib import Path

from data_contracts.sources.base import Listing, SourceDescription, class_folders, folders_below
from data_contracts.sources.folder_classes import list_class_folders
from data_contracts.sources.image_folder import is_image_folder

# Nothing says what caused the pneumonias: some are children's from before 2020, some adults' findings in reports.
NODES = {"covid": "covid19", "normal": "no_finding", "pneumonia": "pneumonia"}
SPLITS = frozenset({"train", "test", "val"})


class CovidPneumoniaNormal:
    """Reads `COVID/`, `NORMAL/`, `PNEUMONIA/`, in any case; images of further folders go to quarantine."""

    description = SourceDescription(
        name="covid-pneumonia-normal",
        title="COVID19+PNEUMONIA+NORMAL Chest X-Ray Images",
        handle="kaggle: sachinkumar413/covid-pneumonia-normal-chest-xray-images",
        licence="see the dataset's page on Kaggle",
        citation="S. Kumar et al. (2022), as the dataset's page asks",
        expected_images=5_228,
    )

    def find(self, data_dir: Path) -> Path | None:
        """The nearest folder with the three class folders that is neither a split of another dataset nor a
        team's own image folder."""
        for folder in folders_below(data_dir):
            if folder.name.casefold() in SPLITS or not class_folders(folder).keys() >= NODES.keys():
                continue
            if not is_image_folder(folder):
                return folder
        return None

    def read(self, folder: Path, data_dir: Path) -> Listing:
        listing = Listing()
        list_class_folders(
            folder,
            data_dir,
            lambda name: NODES.get(name.casefold()),
            listing,
            source=self.description.name,
            licence=self.description.licence,
        )
        return listing
