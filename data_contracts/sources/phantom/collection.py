"""A phantom data collection on disk: datasets in raw layouts, and the truth about them in phantom.json.

The folder appears complete or not at all: everything is drawn into a sibling `NAME.phantom.part`, which is
renamed at the end.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError

from data_contracts.disk import require_room
from data_contracts.errors import EnvironmentProblem, UsageProblem
from data_contracts.sources.phantom.disease import Disease
from data_contracts.sources.phantom.image import PhantomImage, draw_phantom
from data_contracts.sources.phantom.plan import CopyKind, Flaw, Plate, plan_collection
from data_contracts.sources.phantom.settings import PhantomSettings, SourceName
from data_contracts.sources.phantom.shifts import Pixels
from data_contracts.sources.phantom.tables import write_nih_tables, write_radiography_tables

GENERATOR_VERSION = 1  # raise it whenever the same settings would give other bytes
_MASK_SIDE = 256
_WEB_PAGE = b"<!DOCTYPE html><html><head><title>403 Forbidden</title></head><body>Log in first.</body></html>\n"

_FROZEN = ConfigDict(extra="forbid", frozen=True)


class PhantomFile(BaseModel):
    """The truth about one image file. Paths are POSIX and relative to the collection's folder.

    disease and severity (0 … 1): what was drawn, whatever raw_label says. lesion_box: (left, top, width, height)
    in the file's pixels, None without a lesion. mask_file: lung mask or "". copy_of: the file this one was made
    from, or "". patient and index, with the seed of the settings, redraw the picture; a copy has those of its
    original.
    """

    model_config = _FROZEN

    file: str
    source: SourceName
    raw_label: str
    disease: Disease
    severity: float
    patient: int
    index: int
    lesion_box: tuple[int, int, int, int] | None
    mask_file: str
    copy_of: str
    copy_kind: CopyKind
    flaw: Flaw


class PhantomManifest(BaseModel):
    """What phantom.json holds."""

    model_config = _FROZEN

    generator_version: int
    settings: PhantomSettings
    files: tuple[PhantomFile, ...]


def write_phantom_datasets(
    folder: Path, settings: PhantomSettings, progress: Callable[[int, int], None] | None = None
) -> PhantomManifest:
    """Draw the collection into `folder`, or find it there complete and draw nothing.

    progress is called with (files written, files in all). Costs about 40 ms of one core per image of 256 pixels.
    Raises UsageProblem where the folder holds anything else than this very collection; it is left as it is. Raises
    EnvironmentProblem where the disk is full or the place cannot be written.
    """
    folder = folder.absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        return _existing(folder, settings)
    part = folder.with_name(folder.name + ".phantom.part")
    try:
        if part.exists():
            shutil.rmtree(part)  # left by a drawing that was killed
        part.mkdir(parents=True)
    except OSError as error:
        raise EnvironmentProblem(
            f"The phantom cannot be drawn into {folder} ({error.strerror}).",
            why="The pictures have nowhere to go.",
            cure="Choose a folder you may write to.",
        ) from error
    require_room(part, settings.images * settings.size**2, "Drawing the phantom")
    plates = plan_collection(settings)
    files = _write_images(part, plates, settings, progress)
    if "radiography" in settings.datasets:
        write_radiography_tables(part, plates)
    if "nih" in settings.datasets:
        boxes = {entry.file: entry.lesion_box for entry in files if entry.lesion_box is not None}
        write_nih_tables(part, plates, boxes, settings.seed)
    manifest = PhantomManifest(generator_version=GENERATOR_VERSION, settings=settings, files=tuple(files))
    (part / "phantom.json").write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8", newline="\n")
    if folder.exists():
        folder.rmdir()
    os.replace(part, folder)
    return manifest


def _existing(folder: Path, settings: PhantomSettings) -> PhantomManifest:
    """The manifest of a folder that holds exactly this collection. Raises UsageProblem otherwise."""
    problem = ""
    try:
        manifest = PhantomManifest.model_validate_json((folder / "phantom.json").read_bytes())
    except OSError:
        problem = "holds no phantom collection"
    except ValidationError:
        problem = "holds a phantom.json that this version cannot read"
    else:
        missing = [entry.file for entry in manifest.files if not (folder / entry.file).is_file()]
        if manifest.generator_version != GENERATOR_VERSION or manifest.settings != settings:
            problem = "holds a phantom collection of other settings or of another version"
        elif missing:
            problem = f"holds a phantom collection that lacks {len(missing)} files (first: {missing[0]})"
        else:
            return manifest
    raise UsageProblem(
        f"{folder} {problem}.",
        why="Drawing there would overwrite data that is not this phantom.",
        cure="Choose an empty or new folder, or remove this one yourself.",
    )


def _write_images(
    root: Path, plates: Sequence[Plate], settings: PhantomSettings, progress: Callable[[int, int], None] | None
) -> list[PhantomFile]:
    """Draw each original once and write it and its copies."""
    copies: dict[int, list[int]] = {}
    for place, plate in enumerate(plates):
        copies.setdefault(plate.copy_of if plate.copy_of >= 0 else place, []).append(place)
    entries: dict[int, PhantomFile] = {}
    for original, places in sorted(copies.items()):
        plate = plates[original]
        image = draw_phantom(
            plate.disease,
            seed=settings.seed,
            patient=plate.patient,
            index=plate.index,
            size=plate.side,
            effusion=plate.effusion,
            mark=(settings.shortcut.kind, plate.variant),
            shift=settings.shift,
        )
        for place in places:
            copy_of = plate.file if place != original else ""
            entries[place] = _write_one(root, plates[place], image, copy_of)
            if progress is not None:
                progress(len(entries), len(plates))
    return [entries[place] for place in range(len(plates))]


def _write_one(root: Path, plate: Plate, image: PhantomImage, copy_of: str) -> PhantomFile:
    path = root / plate.file
    path.parent.mkdir(parents=True, exist_ok=True)
    content = _encode(image.pixels, plate)
    if plate.flaw == "web page":
        content = _WEB_PAGE
    elif plate.flaw == "truncated":
        content = content[: len(content) * 2 // 3]
    path.write_bytes(content)
    mask_file = ""
    if plate.source == "radiography":
        mask_path = path.parent.parent / "masks" / path.name
        mask_path.parent.mkdir(exist_ok=True)
        mask = Image.fromarray(image.lung_mask.astype(np.uint8) * 255)
        mask.resize((_MASK_SIDE, _MASK_SIDE), Image.Resampling.NEAREST).save(mask_path)
        mask_file = mask_path.relative_to(root).as_posix()
    box = image.lesion_box
    if box is not None and plate.side != len(image.pixels):
        left, top, width, height = (round(x * plate.side / len(image.pixels)) for x in box)
        box = (left, top, max(width, 1), max(height, 1))
    return PhantomFile(
        file=plate.file,
        source=plate.source,
        raw_label=plate.label,
        disease=plate.disease,
        severity=round(image.severity, 6),
        patient=plate.patient,
        index=plate.index,
        lesion_box=box,
        mask_file=mask_file,
        copy_of=copy_of,
        copy_kind=plate.copy_kind,
        flaw=plate.flaw,
    )


def _encode(pixels: Pixels, plate: Plate) -> bytes:
    picture = Image.fromarray(pixels)
    if plate.side != len(pixels):
        picture = picture.resize((plate.side, plate.side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    if plate.quality:
        picture.save(buffer, format="JPEG", quality=plate.quality)
    else:
        picture.save(buffer, format="PNG", compress_level=4)
    return buffer.getvalue()
