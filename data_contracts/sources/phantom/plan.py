"""Which phantom goes into which file: sources, labels, patients and the copies planted among them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from data_contracts.sources.phantom.disease import Disease
from data_contracts.sources.phantom.randomness import Stream, random_stream
from data_contracts.sources.phantom.settings import PhantomSettings
from data_contracts.sources.phantom.shifts import VARIANTS

SourceName = Literal["radiography", "mendeley", "nih"]
CopyKind = Literal["", "bytes", "rescaled", "reencoded"]
Flaw = Literal["", "truncated", "web page", "wrong label"]

FOLDERS: Mapping[SourceName, str] = {
    "radiography": "covid19-radiography-database/COVID-19_Radiography_Dataset",
    "mendeley": "mendeley-9xkhgts2s6/Curated X-Ray Dataset",
    "nih": "nih-chest-xrays",
}
_NIH_FILES_PER_FOLDER = 100

# (source, label as the source writes it, disease drawn, parts of the collection)
_CLASSES: tuple[tuple[SourceName, str, Disease, int], ...] = (
    ("radiography", "COVID", Disease.COVID19, 62),
    ("radiography", "Lung_Opacity", Disease.OPACITY, 22),
    ("radiography", "Normal", Disease.NORMAL, 44),
    ("radiography", "Viral Pneumonia", Disease.VIRAL, 18),
    ("mendeley", "COVID-19", Disease.COVID19, 48),
    ("mendeley", "Normal", Disease.NORMAL, 40),
    ("mendeley", "Pneumonia-Bacterial", Disease.BACTERIAL, 105),
    ("mendeley", "Pneumonia-Viral", Disease.VIRAL, 14),
    ("nih", "No Finding", Disease.NORMAL, 32),
    ("nih", "Pneumothorax", Disease.PNEUMOTHORAX, 70),
    ("nih", "Effusion|Pneumothorax", Disease.PNEUMOTHORAX, 12),
    ("nih", "Infiltration", Disease.OPACITY, 6),
    ("nih", "Pneumonia", Disease.OPACITY, 4),
    ("nih", "Effusion", Disease.NORMAL, 3),
)

# (source and label of the copies, share of that class, source and label of the originals, how they were made)
_COPIES: tuple[tuple[tuple[SourceName, str], float, tuple[SourceName, str], CopyKind], ...] = (
    (("radiography", "Normal"), 0.10, ("nih", "No Finding"), "rescaled"),
    (("mendeley", "Normal"), 0.06, ("radiography", "Normal"), "reencoded"),
    (("mendeley", "COVID-19"), 0.06, ("radiography", "COVID"), "reencoded"),
    (("mendeley", "Pneumonia-Bacterial"), 0.04, ("mendeley", "Pneumonia-Bacterial"), "reencoded"),
    (("radiography", "COVID"), 0.03, ("radiography", "COVID"), "bytes"),
    (("mendeley", "Normal"), 0.03, ("mendeley", "Normal"), "bytes"),
)


@dataclass(frozen=True, slots=True)
class Plate:
    """One file to write.

    side: pixels. quality: of JPEG, 0 where the file is PNG. variant: of the shortcut mark; a copy shows that of
    its original. copy_of: position of the original in the plan, −1 for an original. followup and view are of the
    NIH table only.
    """

    source: SourceName
    label: str
    disease: Disease
    patient: int
    index: int
    file: str
    side: int
    quality: int = 0
    effusion: float = 0.0
    variant: int = 0
    followup: int = 0
    view: str = ""
    copy_of: int = -1
    copy_kind: CopyKind = ""
    flaw: Flaw = ""


def plan_collection(settings: PhantomSettings) -> list[Plate]:
    """Every file of the collection, in the order of sources and labels; the same settings give the same plan."""
    rng = random_stream(settings.seed, Stream.PLAN, 0)
    counts = _shared_out(settings.images)
    plates = _nih_plates(counts, settings, rng)
    patient = plates[-1].patient
    for source, label, disease, _ in _CLASSES:
        if source == "nih":
            continue
        for number in range(1, counts[source, label] + 1):
            patient += 1
            drawn = Plate(source, label, disease, patient, index=len(plates), file="", side=settings.size)
            plates.append(_filed(drawn, number, rng))
    plates = _with_copies(plates, counts, rng)
    if settings.flawed:
        plates += _flawed_plates(plates, counts, settings, rng)
    return [replace(plate, variant=_variant(plate, settings, rng)) for plate in plates]


def _shared_out(images: int) -> dict[tuple[SourceName, str], int]:
    """Images per class by largest remainder, at least one each."""
    parts = np.array([share for *_, share in _CLASSES], dtype=float)
    exact = 1 + (images - len(parts)) * parts / parts.sum()
    counts = np.floor(exact).astype(int)
    behind = np.argsort(counts - exact, kind="stable")[: images - int(counts.sum())]
    counts[behind] += 1
    return {(source, label): int(n) for (source, label, *_), n in zip(_CLASSES, counts, strict=True)}


def _nih_plates(
    counts: Mapping[tuple[SourceName, str], int], settings: PhantomSettings, rng: np.random.Generator
) -> list[Plate]:
    """Patients with one to four follow-ups; most keep their finding, some have none at another time."""
    diseases = {label: disease for source, label, disease, _ in _CLASSES if source == "nih"}
    left = Counter({label: counts["nih", label] for label in diseases})
    plates: list[Plate] = []
    patient = 0
    while left.total():
        patient += 1
        finding = ""
        for followup in range(min(int(rng.choice(4, p=(0.5, 0.25, 0.15, 0.1))) + 1, left.total())):
            wanted = finding if rng.random() < 0.7 else "No Finding"
            if not left[wanted]:
                names = [label for label in diseases if left[label]]
                wanted = names[int(rng.choice(len(names), p=[left[n] / left.total() for n in names]))]
            finding = wanted
            left[finding] -= 1
            folder = f"images_{len(plates) // _NIH_FILES_PER_FOLDER + 1:03d}/images"
            plates.append(
                Plate(
                    source="nih",
                    label=finding,
                    disease=diseases[finding],
                    patient=patient,
                    index=len(plates),
                    file=f"{FOLDERS['nih']}/{folder}/{patient:08d}_{followup:03d}.png",
                    side=settings.size,
                    effusion=float(rng.uniform(0.2, 0.9)) if "Effusion" in finding else 0.0,
                    followup=followup,
                    view="PA" if rng.random() < 0.6 else "AP",
                )
            )
    return plates


def _filed(plate: Plate, number: int, rng: np.random.Generator) -> Plate:
    """The plate as the `number`-th file of its class folder, with that source's size and format."""
    folder = f"{FOLDERS[plate.source]}/{plate.label}"
    if plate.source == "radiography":
        # The original holds pictures of 299 pixels with masks of 256.
        side = round(plate.side * 299 / 256)
        return replace(plate, file=f"{folder}/images/{plate.label}-{number}.png", side=side)
    side = int(plate.side * rng.uniform(0.85, 1.20))
    quality = int(rng.integers(90, 96))
    return replace(plate, file=f"{folder}/{plate.label} ({number}).jpg", side=side, quality=quality)


def _with_copies(
    plates: list[Plate], counts: Mapping[tuple[SourceName, str], int], rng: np.random.Generator
) -> list[Plate]:
    """The plan with some plates turned into copies of others, as the public collections borrow from each other."""
    plates = list(plates)
    used: set[int] = set()

    def unused(source: SourceName, label: str) -> list[int]:
        return [
            place
            for place, plate in enumerate(plates)
            if (plate.source, plate.label) == (source, label) and place not in used
        ]

    for (source, label), share, (from_source, from_label), kind in _COPIES:
        for _ in range(max(1, round(share * counts[source, label]))):
            originals, places = unused(from_source, from_label), unused(source, label)
            if len(places) < 2 or len(originals) < 2:
                continue
            place = int(rng.choice(places))
            original = int(rng.choice([candidate for candidate in originals if candidate != place]))
            used.update((place, original))
            plates[place] = _copy(plates[place], plates[original], original, kind)
    return plates


def _copy(plate: Plate, original: Plate, place: int, kind: CopyKind) -> Plate:
    side = plate.side if kind == "rescaled" else original.side
    quality = {"bytes": original.quality, "reencoded": 88}.get(kind, plate.quality)
    return replace(
        original,
        source=plate.source,
        label=plate.label,
        file=plate.file,
        side=side,
        quality=quality,
        copy_of=place,
        copy_kind=kind,
    )


def _flawed_plates(
    plates: list[Plate],
    counts: Mapping[tuple[SourceName, str], int],
    settings: PhantomSettings,
    rng: np.random.Generator,
) -> list[Plate]:
    """Three more files: one cut short, one that is no picture, one under a label that its original contradicts."""
    flawed = []
    bad: tuple[tuple[SourceName, str, Disease, Flaw], ...] = (
        ("radiography", "Lung_Opacity", Disease.OPACITY, "truncated"),
        ("mendeley", "Normal", Disease.NORMAL, "web page"),
        ("mendeley", "COVID-19", Disease.COVID19, "wrong label"),
    )
    for extra, (source, label, disease, flaw) in enumerate(bad):
        patient, index = plates[-1].patient + 1 + extra, len(plates) + extra
        plate = Plate(source, label, disease, patient, index, file="", side=settings.size, flaw=flaw)
        flawed.append(_filed(plate, counts[source, label] + 1, rng))
    place = next(i for i, p in enumerate(plates) if p.label == "No Finding")
    wrong = replace(_copy(flawed[-1], plates[place], place, "reencoded"), flaw="wrong label")
    return [*flawed[:-1], wrong]


def _variant(plate: Plate, settings: PhantomSettings, rng: np.random.Generator) -> int:
    """Which mark the plate carries: its source's or disease's own one, or by chance another."""
    follows, by_chance = rng.random() < settings.shortcut.strength, int(rng.integers(VARIANTS))
    if not follows:
        return by_chance
    if settings.shortcut.follows == "source":
        return list(FOLDERS).index(plate.source)
    return list(Disease).index(plate.disease)
