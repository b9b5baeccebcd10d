"""Faults F12, F13, F14, F15 and F22 with pictures drawn on the spot, through adapter and image store."""

from __future__ import annotations

import io
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import ExifTags, Image, PngImagePlugin
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless

from data_contracts.catalog import KEPT, QUARANTINED, Catalog
from data_contracts.errors import LunglineError
from data_contracts.image_store import ImageStore, ImageStoreSettings, build_image_store
from data_contracts.pseudonyms import patient_key, pseudonym
from data_contracts.sources import merge
from tests.dicom_files import dicom, radiograph, saved, texture

SETTINGS = ImageStoreSettings(size=64)
NAME = "DOE^JANE"
IDENTIFIER = "HOSPITAL-4711"


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(seed: int = 0) -> bytes:
    return encoded(Image.fromarray(texture(seed=seed)))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LUNGLINE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LUNGLINE_PATIENT_KEY", raising=False)
    return tmp_path / "home"


def store_of(tmp_path: Path, files: dict[str, bytes]) -> tuple[ImageStore, list[str]]:
    """The store of a team's own image folder that holds these files, and the adapter's notes."""
    folder = tmp_path / "data" / "image-folder"
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    catalog, notes = merge(["image-folder"], tmp_path / "data")
    return build_image_store(catalog, tmp_path / "data", SETTINGS, tmp_path / "stores"), notes


def by_name(store: ImageStore) -> pd.DataFrame:
    frame = store.catalog.frame
    return frame.set_index(frame["file"].str.rpartition("/")[2])


def test_f12_truncated_files_are_quarantined_and_the_others_kept(tmp_path: Path, home: Path) -> None:
    jpeg = encoded(Image.fromarray(texture()), "JPEG")
    film = dicom(texture(seed=9))
    files = {f"normal/{seed}.png": png(seed) for seed in range(1, 6)}
    half = {"half.png": png()[:900], "half.jpg": jpeg[: len(jpeg) // 2], "half.dcm": film[: len(film) // 2]}
    store, _ = store_of(tmp_path, files | {f"normal/{name}": content for name, content in half.items()})
    assert store.catalog.counts() == {"offered": 8, KEPT: 5, QUARANTINED: 3, "duplicate": 0}
    assert by_name(store).loc[list(half), "reason"].tolist() == ["truncated"] * 3


def big_png(side: int) -> bytes:
    """A valid PNG of side × side zeros, in under a megabyte, written without holding them in memory."""
    packer = zlib.compressobj(9)
    row = b"\0" * (side + 1)
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = side.to_bytes(4, "big") * 2 + b"\x08\0\0\0\0"
    chunks = [b"IHDR" + header, b"IDAT" + data, b"IEND"]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (len(chunk) - 4).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big") for chunk in chunks
    )


def jpeg_2000_claiming(side: int) -> bytes:
    """A DICOM file that says 64 × 64, around a JPEG 2000 picture whose own header says side × side."""
    codestream = bytearray(encoded(Image.fromarray(texture(64, 64)), "JPEG2000", no_jp2=True))
    assert codestream[2:4] == b"\xff\x51"  # SIZ: length, capabilities, then width and height
    codestream[8:16] = side.to_bytes(4, "big") * 2
    dataset = radiograph(texture(64, 64), syntax=JPEG2000Lossless)
    dataset.PixelData = encapsulate([bytes(codestream)])
    dataset["PixelData"].VR = "OB"
    return saved(dataset)


def deflated(size: int) -> bytes:
    """A DICOM file whose elements are deflated as a whole and inflate to `size` zeros."""
    meta = dicom(texture(64, 64)).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99", 1)
    place = meta.index(b"1.2.840.10008.1.2.1.99")
    meta = meta[: place - 2] + (22).to_bytes(2, "little") + meta[place : place + 22]
    packer = zlib.compressobj(9, wbits=-15)
    return meta + b"".join(packer.compress(bytes(1 << 20)) for _ in range(size >> 20)) + packer.flush()


BOMBS = {
    "png": (lambda: big_png(13_000), "too large: 13000x13000"),
    "dicom": (lambda: dicom(texture(64, 64), Rows=60_000, Columns=60_000), "too large: 60000x60000"),
    "frames": (lambda: dicom(texture(64, 64), NumberOfFrames=100_000), "several frames"),
    "jpeg 2000 in dicom": (lambda: jpeg_2000_claiming(30_000), "too large: 30000x30000"),
    "deflated dicom": (
        lambda: deflated(1 << 28),
        "DICOM transfer syntax not supported: deflated as a whole",
    ),
}

# Prints for each file the reason, and by how many MiB the peak of memory rose above that of two small pictures.
DECODE = """
import resource, sys
from pathlib import Path
from data_contracts.images import DecodeLimits, UnreadableImage, read_image
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
small, bombs = sys.argv[1:3], sys.argv[3:]
for place in small:
    read_image(Path(place), size=64, limits=DecodeLimits())
before = peak()
for place in bombs:
    try:
        read_image(Path(place), size=64, limits=DecodeLimits())
    except UnreadableImage as refusal:
        print(refusal.reason, peak() - before, sep=";")
"""


def test_f13_bombs_are_refused_by_their_headers_and_memory_stays_flat(tmp_path: Path) -> None:
    contents = [png(), dicom(texture()), *(make() for make, _ in BOMBS.values())]
    places = [tmp_path / f"{number}.bin" for number in range(len(contents))]
    for place, content in zip(places, contents, strict=True):
        place.write_bytes(content)
    command = [sys.executable, "-c", DECODE, *map(str, places)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    reasons, rises = zip(*(line.split(";") for line in lines), strict=True)
    assert list(reasons) == [reason for _, reason in BOMBS.values()]
    assert float(rises[-1]) < 40


def drawn(mode: str) -> Image.Image:
    return Image.fromarray(texture()).convert(mode)


EXIF = Image.Exif()
EXIF[ExifTags.Base.Orientation] = 6
EXIF[ExifTags.Base.ImageDescription] = f"Patient: {NAME}"
NOTES = PngImagePlugin.PngInfo()
NOTES.add_text("Description", f"Patient: {NAME}")
SIXTEEN = Image.fromarray(texture().astype(np.uint16) * 257)
TWELVE = Image.fromarray(texture().astype(np.uint16) * 16)
CONVERSIONS = {
    "grey.png": (png(), "L", ""),
    "sixteen.png": (encoded(SIXTEEN), "I;16", "16-bit scaled"),
    "twelve.png": (encoded(TWELVE), "I;16/12", "12-bit scaled"),
    "colour.png": (encoded(drawn("RGB")), "RGB", "colour to grey"),
    "colour.jpg": (encoded(drawn("RGB"), "JPEG"), "RGB", "colour to grey"),
    "palette.png": (encoded(drawn("P")), "P", "palette"),
    "palette with a hole.png": (encoded(drawn("P"), transparency=0), "P", "palette|alpha composited"),
    "alpha.png": (encoded(drawn("LA")), "LA", "alpha composited"),
    "colour and alpha.png": (encoded(drawn("RGBA")), "RGBA", "colour to grey|alpha composited"),
    "cmyk.jpg": (encoded(drawn("CMYK"), "JPEG"), "CMYK", "CMYK"),
    "turned.jpg": (encoded(drawn("RGB"), "JPEG", exif=EXIF), "RGB", "colour to grey|rotated"),
    "film.dcm": (
        dicom(255 - texture(), PhotometricInterpretation="MONOCHROME1"),
        "MONOCHROME1/8",
        "MONOCHROME1 inverted",
    ),
}
REFUSED = {
    "animated.png": (encoded(drawn("L"), save_all=True, append_images=[drawn("L").rotate(9)]), "several frames"),
    "animated.gif.png": (encoded(drawn("L"), "GIF"), "format not allowed: GIF"),
    "one bit.png": (encoded(drawn("1")), "two grey levels only (a mask?)"),
}


def test_f14_conversions_are_defined_and_recorded_and_the_unknown_is_quarantined(
    tmp_path: Path, home: Path
) -> None:
    contents = {name: content for name, (content, *_) in {**CONVERSIONS, **REFUSED}.items()}
    store, _ = store_of(tmp_path, {f"normal/{name}": content for name, content in contents.items()})
    frame = by_name(store)
    for name, (_, mode, conversion) in CONVERSIONS.items():
        assert frame.loc[name, ["mode", "conversion", "reason"]].tolist()[:2] == [mode, conversion], name
        assert frame.loc[name, "status"] != QUARANTINED, name
    assert {name: frame.loc[name, "reason"] for name in REFUSED} == {
        n: reason for n, (_, reason) in REFUSED.items()
    }
    assert frame.loc["sixteen.png", "image_id"] == frame.loc["grey.png", "image_id"]


def chest(seed: int = 0) -> np.ndarray:
    """Dark lungs beside a bright middle over a bright abdomen, and some noise: (96, 96) uint8."""
    y, x = np.mgrid[0:96, 0:96] / 96
    lungs = np.minimum(
        np.hypot((x - 0.27) / 0.16, (y - 0.45) / 0.3), np.hypot((x - 0.73) / 0.16, (y - 0.45) / 0.3)
    )
    body = (x > 0.08) & (x < 0.92) & (y > 0.1)
    levels = 20 + 130 * body + 60 * body * (y > 0.75) + 40 * (abs(x - 0.5) < 0.08) - 110 * (lungs < 1) * body
    noise = np.random.default_rng(seed).normal(0, 4, levels.shape)
    return np.clip(levels + noise, 0, 255).astype(np.uint8)


def test_f15_pictures_without_contrast_are_quarantined(tmp_path: Path, home: Path) -> None:
    flat = {f"normal/{level}.png": encoded(Image.new("L", (64, 64), level)) for level in (0, 128, 255)}
    store, _ = store_of(tmp_path, flat | {"normal/black.dcm": dicom(np.zeros((64, 64), np.uint8))})
    assert store.catalog.frame["reason"].tolist() == ["no contrast"] * 4


def test_f15_inversion_is_repaired_by_the_header_alone_and_else_only_flagged(tmp_path: Path, home: Path) -> None:
    negative = 255 - chest()
    files = {
        "upright.png": encoded(Image.fromarray(chest(1))),
        "negative.png": encoded(Image.fromarray(negative)),
        "said.dcm": dicom(255 - chest(2), PhotometricInterpretation="MONOCHROME1"),
        "not said.dcm": dicom(255 - chest(3)),
        "stripes.png": encoded(Image.fromarray(np.tile(np.array([9, 90, 240], np.uint8).repeat(8), (96, 4)))),
    }
    store, _ = store_of(tmp_path, {f"normal/{name}": content for name, content in files.items()})
    frame = by_name(store)
    assert frame["flags"].to_dict() == {
        **{"upright.png": "", "said.dcm": "", "stripes.png": "unlike_frontal_chest"},
        **{"negative.png": "inversion_suspected", "not said.dcm": "inversion_suspected"},
    }
    assert set(frame["status"]) == {KEPT}
    shown = Image.fromarray(negative).resize((64, 64), Image.Resampling.BILINEAR, reducing_gap=2.0)
    assert np.array_equal(store.images[frame.loc["negative.png", "row"]], np.asarray(shown))


def test_f15_flags_are_those_of_source_and_pictures_also_when_nothing_is_decoded_again(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "a.png").write_bytes(encoded(Image.fromarray(255 - chest())))
    for said in ("age_missing", "age_implausible", ""):
        offered = Catalog.of(pd.DataFrame({"source": ["nih"], "file": ["a.png"], "flags": [said]}))
        store = build_image_store(offered, data, SETTINGS, tmp_path / "stores")
        expected = "|".join(filter(None, (said, "inversion_suspected")))
        assert store.catalog.frame["flags"].tolist() == [expected]


def test_f15_lateral_views_and_other_body_parts_are_told_by_the_header(tmp_path: Path, home: Path) -> None:
    files = {
        "lateral.dcm": dicom(texture(seed=1), ViewPosition="LL"),
        "hand.dcm": dicom(texture(seed=2), BodyPartExamined="HAND"),
        "ct.dcm": dicom(texture(seed=3), Modality="CT"),
    }
    store, _ = store_of(tmp_path, {f"normal/{name}": content for name, content in files.items()})
    assert by_name(store)["reason"].to_dict() == {
        "lateral.dcm": "lateral view",
        "hand.dcm": "body part is not the chest",
        "ct.dcm": "not a radiograph: modality CT",
    }


def film(seed: int, **header: Any) -> bytes:
    person = {
        **{"PatientID": IDENTIFIER, "PatientName": NAME, "PatientBirthDate": "19800101", "PatientSex": "F"},
        **{
            "PatientAge": "044Y",
            "ViewPosition": "PA",
            "AccessionNumber": "ACC-991",
            "InstitutionName": "CLINIC-X",
        },
        "OtherPatientIDs": "OTHER-17",
    }
    return dicom(texture(seed=seed), **person | header)


SECRETS = [
    text.encode()
    for text in (NAME, "DOE", "JANE", IDENTIFIER, "4711", "19800101", "ACC-991", "CLINIC-X", "OTHER-17")
]


def nothing_is_told(tmp_path: Path, *said: str) -> None:
    written = [path for name in ("stores", "home") for path in (tmp_path / name).rglob("*") if path.is_file()]
    assert any(path.name == "catalog.parquet" for path in written)
    for text in [*(path.read_bytes() for path in written), *(words.encode() for words in said)]:
        assert [secret for secret in SECRETS if secret in text] == []
    # Parquet compresses: look into the cells too.
    catalogs = [Catalog.load(path) for path in written if path.name == "catalog.parquet"]
    cells = " ".join(str(cell) for catalog in catalogs for cell in catalog.frame.to_numpy().ravel())
    assert [secret for secret in SECRETS if secret.decode() in cells] == []


def test_f22_a_dicom_folder_keeps_its_patients_together_and_tells_nobody_who_they_are(
    tmp_path: Path, home: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    files = {
        "normal/a.dcm": film(1),
        "normal/b.DICOM": film(2),
        "covid/c.dcm": film(3, PatientID="HOSPITAL-4712", PatientSex="M", PatientAge="414Y", ViewPosition="AP"),
        "normal/burned.dcm": film(4, BurnedInAnnotation="YES"),
        "normal/lateral.dcm": film(5, ViewPosition="LATERAL"),
        "normal/broken.dcm": film(6)[:300],
        "normal/photo.jpg": encoded(drawn("L"), "JPEG", exif=EXIF),
        "normal/noted.png": encoded(Image.fromarray(texture(seed=8)), pnginfo=NOTES),
    }
    store, notes = store_of(tmp_path, files)
    frame = by_name(store)
    assert frame.loc["burned.dcm", "reason"] == "burned-in annotation"
    assert frame.loc["lateral.dcm", "reason"] == "lateral view"
    assert frame.loc[["a.dcm", "b.DICOM", "c.dcm"], "status"].tolist() == [KEPT] * 3
    first, second = frame.loc["a.dcm"], frame.loc["c.dcm"]
    assert (first["view"], first["age"], first["sex"], first["format"]) == ("PA", 44.0, "F", "DICOM")
    assert first["patient"] == frame.loc["b.DICOM", "patient"] != second["patient"]
    source, _, pseudonym = first["patient"].partition(":")
    assert (source, len(bytes.fromhex(pseudonym))) == ("image-folder", 8)
    assert np.isnan(second["age"])
    assert "age_implausible" in second["flags"]
    nothing_is_told(tmp_path, "\n".join(notes), caplog.text, *capfd.readouterr())


def test_f22_a_table_goes_before_the_header_and_leaves_gaps_to_it(tmp_path: Path, home: Path) -> None:
    table = f"file,label,patient,view,age\nx/a.dcm,normal,{IDENTIFIER},,30\nx/b.dcm,covid,,AP,\n"
    store, _ = store_of(tmp_path, {"x/a.dcm": film(1), "x/b.dcm": film(2), "labels.csv": table.encode()})
    first, second = by_name(store).loc[["a.dcm", "b.dcm"]].to_dict("records")
    assert (first["view"], first["age"], first["sex"]) == ("PA", 30.0, "F")
    assert (second["nodes"], second["view"], second["age"]) == ("covid19", "AP", 44.0)
    assert first["patient"] == second["patient"] == "image-folder:" + pseudonym(IDENTIFIER, patient_key())
    nothing_is_told(tmp_path)


def test_a_folder_of_dicom_files_gives_the_same_store_as_a_folder_of_png_files(tmp_path: Path, home: Path) -> None:
    films = {f"{label}/{seed}": seed for label in ("normal", "covid") for seed in range(len(label))}
    as_dicom, _ = store_of(tmp_path / "d", {f"{n}.dcm": dicom(texture(seed=s)) for n, s in films.items()})
    as_png, _ = store_of(tmp_path / "p", {f"{n}.png": png(s) for n, s in films.items()})
    assert np.array_equal(as_dicom.images, as_png.images)
    columns = ["nodes", "status", "image_id", "row", "phash", "width", "height", "mean", "flags"]
    pd.testing.assert_frame_equal(as_dicom.catalog.frame[columns], as_png.catalog.frame[columns])


def test_without_pydicom_films_are_quarantined_and_read_once_it_is_there(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "pydicom", None)
        without.setattr("data_contracts.image_store.decoder_versions", lambda: {"pydicom": ""})
        store, notes = store_of(tmp_path, {"normal/a.dcm": film(1), "normal/b.png": png()})
    reason = by_name(store).loc["a.dcm", "reason"]
    assert reason == "DICOM needs the extra 'dicom': pip install 'lungline[dicom]'"
    assert any("1 DICOM headers cannot be read" in note for note in notes)
    store, _ = store_of(tmp_path, {})
    assert by_name(store).loc["a.dcm", ["status", "sex"]].tolist() == [KEPT, "F"]


def test_f22_errors_of_the_key_name_no_patient(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUNGLINE_PATIENT_KEY", "short")
    with pytest.raises(LunglineError) as refused:
        store_of(tmp_path, {"normal/a.dcm": film(1)})
    assert not any(secret.decode() in str(refused.value) for secret in SECRETS)
