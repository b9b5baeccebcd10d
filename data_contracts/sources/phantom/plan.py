"""Which phantom goes into which file: sources, labels, patients and the copies planted among them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from data_contracts.sources.phantom.disease import Disease
from data_contracts.sources.phantom.randomness import Stream, random_stream
from data_contracts.sources.phantom.settings import PhantomSettings, SourceName
from data_contracts.sources.phantom.shifts import VARIANTS

CopyKind = Literal["", "bytes", "rescaled", "reencoded"]
Flaw = Literal["", "truncated", "web page", "wrong label"]

FOLDERS: Mapping[SourceName, str] = {
    "radiography": "covid19-radiography-database/COVID-19_Radiography_Dataset",
    "mendeley": "mendeley-9xkhgts2s6/Curated X-Ray Dataset",
    "nih": "nih-chest-xrays",
    "covid-pneumonia-normal": "covid-pneumonia-normal-chest-xray-images",
    "covid19-pneumonia": "chest-xray-covid19-pneumonia/Data",
    "chest-xray-pneumonia": "chest-xray-pneumonia/chest_xray",
}
_NIH_FILES_PER_FOLDER = 100

_Class = tuple[SourceName, str, Disease, int]

# (source, label as the source writes it, disease drawn, parts of the collection)
_CLASSES: tuple[_Class, ...] = (
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
    ("covid-pneumonia-normal", "COVID", Disease.COVID19, 50),
    ("covid-pneumonia-normal", "NORMAL", Disease.NORMAL, 50),
    ("covid-pneumonia-normal", "PNEUMONIA", Disease.BACTERIAL, 50),
    ("covid19-pneumonia", "COVID19", Disease.COVID19, 30),
    ("covid19-pneumonia", "NORMAL", Disease.NORMAL, 45),
    ("covid19-pneumonia", "PNEUMONIA", Disease.BACTERIAL, 75),
    ("chest-xray-pneumonia", "NORMAL", Disease.NORMAL, 60),
    ("chest-xray-pneumonia", "PNEUMONIA bacteria", Disease.BACTERIAL, 75),
    ("chest-xray-pneumonia", "PNEUMONIA virus", Disease.VIRAL, 45),
)

# Findings that the phantom cannot draw, for the task that needs all fourteen.
_OTHER_FINDINGS: tuple[_Class, ...] = tuple(
    ("nih", finding, Disease.OPACITY, 14)
    for finding in (
        *("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Emphysema"),
        *("Fibrosis", "Hernia", "Mass", "Nodule", "Pleural_Thickening"),
    )
)

# (source and label of the copies, share of that class, source and label of the originals, how they were made)
_COPIES: tuple[tuple[tuple[SourceName, str], float, tuple[SourceName, str], CopyKind], ...] = (
    (("radiography", "Normal"), 0.10, ("nih", "No Finding"), "rescaled"),
    (("mendeley", "Normal"), 0.06, ("radiography", "Normal"), "reencoded"),
    (("mendeley", "COVID-19"), 0.06, ("radiography", "COVID"), "reencoded"),
    (("mendeley", "Pneumonia-Bacterial"), 0.04, ("mendeley", "Pneumonia-Bacterial"), "reencoded"),
    (("radiography", "COVID"), 0.03, ("radiography", "COVID"), "bytes"),
    (("mendeley", "Normal"), 0.03, ("mendeley", "Normal"), "bytes"),
    (("covid-pneumonia-normal", "COVID"), 0.10, ("radiography", "COVID"), "rescaled"),
    (("covid19-pneumonia", "COVID19"), 0.06, ("covid19-pneumonia", "COVID19"), "bytes"),
    (("covid19-pneumonia", "NORMAL"), 0.30, ("chest-xray-pneumonia", "NORMAL"), "reencoded"),
    (("covid19-pneumonia", "PNEUMONIA"), 0.30, ("chest-xray-pneumonia", "PNEUMONIA bacteria"), "reencoded"),
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
    classes = _classes(settings)
    counts = _shared_out(classes, settings.images)
    plates = _nih_plates(classes, counts, settings, rng) if "nih" in settings.datasets else []
    patient = plates[-1].patient if plates else 0
    for source, label, disease, _ in classes:
        if source == "nih":
            continue
        for number in range(1, counts[source, label] + 1):
            # Every third film of the children's collection is a second one of the same child.
            repeated = source == "chest-xray-pneumonia" and number % 3 == 0
            patient += not repeated
            drawn = Plate(source, label, disease, patient, index=len(plates), file="", side=settings.size)
            plates.append(_filed(drawn, number, rng))
    plates = _with_copies(plates, counts, rng)
    if settings.flawed:
        plates += _flawed_plates(plates, counts, settings, rng)
    return [replace(plate, variant=_variant(plate, settings, rng)) for plate in plates]


def _classes(settings: PhantomSettings) -> list[_Class]:
    others = _OTHER_FINDINGS if settings.all_findings else ()
    return [entry for entry in (*_CLASSES, *others) if entry[0] in settings.datasets]


def _shared_out(classes: list[_Class], images: int) -> dict[tuple[SourceName, str], int]:
    """Images per class by largest remainder, at least one each."""
    parts = np.array([share for *_, share in classes], dtype=float)
    exact = 1 + (images - len(parts)) * parts / parts.sum()
    counts = np.floor(exact).astype(int)
    behind = np.argsort(counts - exact, kind="stable")[: images - int(counts.sum())]
    counts[behind] += 1
    return {(source, label): int(n) for (source, label, *_), n in zip(classes, counts, strict=True)}


def _nih_plates(
    classes: list[_Class],
    counts: Mapping[tuple[SourceName, str], int],
    settings: PhantomSettings,
    rng: np.random.Generator,
) -> list[Plate]:
    """Patients with one to four follow-ups; most keep their finding, some have none at another time."""
    diseases = {label: disease for source, label, disease, _ in classes if source == "nih"}
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
    if plate.source == "covid-pneumonia-normal":
        return replace(plate, file=f"{folder}/{plate.label}_{number}.png")
    side = int(plate.side * rng.uniform(0.85, 1.20))
    quality = int(rng.integers(90, 96))
    name = f"{folder}/{plate.label} ({number}).jpg"
    if plate.source == "covid19-pneumonia":
        split = "test" if number % 4 == 0 else "train"
        name = f"{FOLDERS[plate.source]}/{split}/{plate.label}/{plate.label}({number - 1}).jpg"
        quality *= number % 5 != 0  # some files of the original are PNG under this name
    elif plate.source == "chest-xray-pneumonia":
        name = _child_file(plate, number)
    return replace(plate, file=name, side=side, quality=quality)


def _child_file(plate: Plate, number: int) -> str:
    """The place by split and class, and the name that holds cause and patient; val holds a few films, as published."""
    split = "test" if plate.patient % 7 == 0 else "val" if plate.patient % 29 == 0 else "train"
    label, _, cause = plate.label.partition(" ")
    name = f"person{plate.patient}_{cause}_{number}.jpeg" if cause else f"IM-{plate.patient:04d}-{number:04d}.jpeg"
    return f"{FOLDERS[plate.source]}/{split}/{label}/{name}"


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
        if (source, label) not in counts or (from_source, from_label) not in counts:
            continue
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
        return list(FOLDERS).index(plate.source) % VARIANTS
    return list(Disease).index(plate.disease)
