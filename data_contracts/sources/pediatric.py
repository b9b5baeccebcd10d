"""Chest X-Ray Images (Pneumonia) (Kaggle, Kermany et al.): children, with cause and patient in the file names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from data_contracts.sources.base import Listing, SourceDescription, class_folders, folders_below, images_in
from data_contracts.sources.folder_classes import visible_folders

NODES = {"normal": "no_finding", "pneumonia": "pneumonia"}
# The viral films are from before 2020: viral and known not to be COVID-19.
NAMED = {"normal": "no_finding", "bacteria": "bacterial", "virus": "other_viral"}
SPLITS = ("train", "test", "val")
SECOND_COPY = "chest_xray"  # the archive holds everything twice
ARCHIVER_FOLDER = "__MACOSX"

_PNEUMONIA = re.compile(r"(person\d+)_(bacteria|virus)_\d+", re.IGNORECASE)
_NORMAL = re.compile(r"((?:NORMAL2-)?IM-\d+)-\d+", re.IGNORECASE)
_RELEASE_3 = re.compile(r"(NORMAL|BACTERIA|VIRUS)-(\d+)-\d+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class NameFacts:
    """What a file name tells. release: 2 or 3, the version at Mendeley; all "" where the name has another form."""

    release: str = ""
    node: str = ""
    patient: str = ""


class Pediatric:
    """Reads `chest_xray/{train,test,val}/{NORMAL,PNEUMONIA}/*.jpeg`; the second copy inside is counted once."""

    description = SourceDescription(
        name="chest-xray-pneumonia",
        title="Chest X-Ray Images (Pneumonia)",
        handle="kaggle: paultimothymooney/chest-xray-pneumonia",
        licence="CC BY 4.0",
        citation="Kermany et al., Cell 172:1122–1131 (2018)",
        expected_images=5_856,
    )

    def find(self, data_dir: Path) -> Path | None:
        """The nearest folder with a split of exactly these classes and a file named as theirs are."""
        return next((folder for folder in folders_below(data_dir) if _is_pediatric(folder)), None)

    def read(self, folder: Path, data_dir: Path) -> Listing:
        listing = Listing()
        seen: set[str] = set()
        counts = dict.fromkeys(SPLITS, 0)
        repeated = 0
        copy = class_folders(folder).get(SECOND_COPY)
        for root in (folder, copy) if copy else (folder,):
            for split, class_folder in _class_folders_by_split(root):
                images = images_in(class_folder, listing)
                if not images:
                    listing.notes.append(f"class folder {split}/{class_folder.name} holds no images")
                for image in images:
                    place = f"{split}/{class_folder.name}/{image.name}".casefold()
                    if place in seen:
                        repeated += 1
                        continue
                    seen.add(place)
                    counts[split] += 1
                    self._add(listing, image, split, data_dir)
        official = ", ".join(f"{split} {count}" for split, count in counts.items())
        listing.notes.append(f"official split noted, not used (its val is too small to measure on): {official}")
        listing.notes.append("children of 1 to 5 years; no image has an age of its own, so age is unknown")
        if repeated:
            listing.notes.append(f"{repeated} images of the second copy inside {SECOND_COPY}/ are counted once")
        if left_behind := sum(path.is_file() for path in (folder / ARCHIVER_FOLDER).rglob("*")):
            listing.notes.append(f"{ARCHIVER_FOLDER}: {left_behind} files ignored")
        return listing

    def _add(self, listing: Listing, image: Path, split: str, data_dir: Path) -> None:
        raw_label = image.parent.name
        asserted = NODES.get(raw_label.casefold(), "")
        told = read_name(image.name, split)
        problem = "" if asserted else f"unknown class folder: {raw_label}"
        if asserted and told.node and (asserted == "no_finding") != (told.node == "no_finding"):
            problem = f"contradictory label: in {raw_label}, but named {told.node}"
        node = told.node or asserted
        listing.add(
            nodes=[] if problem else [node],
            problem=problem,
            source=self.description.name,
            release=told.release,
            file=image.relative_to(data_dir).as_posix(),
            raw_label=raw_label,
            label_method="folder" if node == asserted else "file-name",
            patient=f"{self.description.name}:{told.patient}" if told.patient else "",
            view="AP",  # the publication selected antero-posterior films
            licence=self.description.licence,
        )


def read_name(name: str, split: str) -> NameFacts:
    """The facts in names as `person1_virus_6.jpeg`, `NORMAL2-IM-0092-0001.jpeg`, `VIRUS-1049278-0001.jpeg`.

    Release 2 numbers bacterial patients, viral patients and each of the two series of normal studies on their own,
    so the key holds the kind. It holds the folder too, because nothing published says that a number in test means
    the same child as in train. val was taken out of train (5,216 + 16 images are the authors' 5,232) and shares its
    numbers. Release 3 has one series of patient numbers.
    """
    numbered_in = "test" if split == "test" else "train"
    if match := _PNEUMONIA.match(name):
        person, cause = match[1].casefold(), match[2].casefold()
        return NameFacts("2", NAMED[cause], f"{numbered_in}:{person}:{cause}")
    if match := _NORMAL.match(name):
        return NameFacts("2", "no_finding", f"{numbered_in}:{match[1].upper()}")
    if match := _RELEASE_3.match(name):
        return NameFacts("3", NAMED[match[1].casefold()], match[2])
    return NameFacts()


def _is_pediatric(folder: Path) -> bool:
    for split in (class_folders(folder).get(name) for name in SPLITS):
        classes = visible_folders(split) if split else []
        if {c.name.casefold() for c in classes} == NODES.keys():
            return any(read_name(file.name, split="").release for c in classes for file in c.iterdir())
    return False


def _class_folders_by_split(root: Path) -> list[tuple[str, Path]]:
    folders = class_folders(root)
    return [(split, c) for split in SPLITS if split in folders for c in visible_folders(folders[split])]
