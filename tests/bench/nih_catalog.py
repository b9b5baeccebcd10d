"""A stand-in for NIH ChestX-ray14 of its full size: its table in the published format, and empty image files."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from data_contracts.catalog import KEPT, Catalog

IMAGES, PATIENTS, NO_FINDING = 112_120, 30_805, 60_361
# Images that carry each finding, as the release has them; an image may carry several.
FINDINGS = {
    "Infiltration": 19_894,
    "Effusion": 13_317,
    "Atelectasis": 11_559,
    "Nodule": 6_331,
    "Mass": 5_782,
    "Pneumothorax": 5_302,
    "Consolidation": 4_667,
    "Pleural_Thickening": 3_385,
    "Cardiomegaly": 2_776,
    "Emphysema": 2_516,
    "Edema": 2_303,
    "Fibrosis": 1_686,
    "Pneumonia": 1_431,
    "Hernia": 227,
}
HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
)
_PER_FOLDER = 10_000


def write_dataset(folder: Path) -> None:
    """The table and twelve folders of empty files below `folder`, as Kaggle lays them out."""
    rng = np.random.default_rng(0)
    patients = np.sort(np.concatenate([np.arange(PATIENTS), rng.integers(0, PATIENTS, IMAGES - PATIENTS)]))
    follow_up = np.arange(IMAGES) - np.searchsorted(patients, patients)
    labels = _labels(rng)
    ages, sexes, views = (
        rng.integers(1, 95, PATIENTS),
        rng.choice(["F", "M"], PATIENTS),
        rng.choice(["AP", "PA"], IMAGES),
    )
    folder.mkdir(parents=True)
    with (folder / "Data_Entry_2017.csv").open("w", newline="") as table:
        table.write(HEADER)
        rows = csv.writer(table, lineterminator="\n")
        for image, patient in enumerate(patients.tolist()):
            name = f"{patient + 1:08d}_{follow_up[image]:03d}.png"
            facts = (
                name,
                labels[image],
                follow_up[image],
                patient + 1,
                ages[patient],
                sexes[patient],
                views[image],
            )
            rows.writerow([*facts, 2500, 2048, 0.171, 0.171, ""])
            place = folder / f"images_{image // _PER_FOLDER + 1:03d}" / "images"
            if image % _PER_FOLDER == 0:
                place.mkdir(parents=True)
            (place / name).touch()


def as_decoded(offered: Catalog) -> Catalog:
    """The catalog as the store and identity leave it: every image decoded, one group for each patient."""
    rng = np.random.default_rng(1)
    frame, count = offered.frame, len(offered.frame)
    ids = [hashlib.sha256(str(row).encode()).hexdigest() for row in range(count)]
    grey = {
        name: rng.uniform(60, 180, count) for name in ("mean", "p01", "p50", "p99", "sharpness", "border_energy")
    }
    decoded = frame.assign(
        status=KEPT,
        row=np.arange(count),
        image_id=ids,
        file_sha256=ids,
        phash=ids,
        width=1024,
        height=1024,
        mode="L",
        format="PNG",
        std=60.0,
        saturated=0.01,
        group_id=[hashlib.sha256(patient.encode()).hexdigest()[:16] for patient in frame["patient"]],
        **grey,
    )
    return Catalog.of(pd.DataFrame(decoded))


def _labels(rng: np.random.Generator) -> list[str]:
    """Finding Labels of every image: the published number of each finding, among images with any finding."""
    findings: list[list[str]] = [[] for _ in range(IMAGES)]
    ill = rng.permutation(IMAGES)[NO_FINDING:]
    spread = np.concatenate([ill, rng.choice(ill, sum(FINDINGS.values()) - len(ill), replace=False)])
    names = rng.permutation(np.repeat(list(FINDINGS), list(FINDINGS.values())))
    for image, name in zip(spread.tolist(), names.tolist(), strict=True):
        if name not in findings[image]:
            findings[image].append(name)
    return ["|".join(sorted(found)) or "No Finding" for found in findings]
