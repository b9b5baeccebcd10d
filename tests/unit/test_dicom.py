"""A DICOM radiograph is shown as its header says, or refused by it; nothing of a person is let through."""

from __future__ import annotations

import io
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.processing import apply_windowing
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    RLELossless,
)

from data_contracts.dicom_header import DicomFacts, read_facts
from data_contracts.images import DecodedImage, DecodeLimits, UnreadableImage, read_image
from data_contracts.pseudonyms import pseudonym
from tests.dicom_files import dicom, radiograph, saved, texture

KEY = b"a key for tests only"
NAME = "Doe^Jane^Confidential"
GREY = texture(64, 64)
TWELVE = GREY.astype(np.uint16) * 16


def read(content: bytes, limits: DecodeLimits | None = None) -> DecodedImage:
    return read_image(content, size=64, limits=limits or DecodeLimits())


def reason(content: bytes, limits: DecodeLimits | None = None) -> str:
    with pytest.raises(UnreadableImage) as refusal:
        read(content, limits)
    assert refusal.value.__suppress_context__ or refusal.value.__context__ is None
    return refusal.value.reason


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", ImplicitVRLittleEndian])
def test_eight_bits_are_taken_as_they_are(syntax: str) -> None:
    decoded = read(dicom(GREY, syntax=syntax))
    assert np.array_equal(decoded.pixels, GREY)
    assert (decoded.width, decoded.height, decoded.mode, decoded.format, decoded.conversions) == (
        *(64, 64, "MONOCHROME2/8", "DICOM", ()),
    )


def test_f16_a_dicom_file_and_a_png_of_its_pixels_have_the_same_id() -> None:
    assert read(dicom(GREY)).image_id == read(png(GREY)).image_id
    assert read(dicom(TWELVE, BitsStored=12)).image_id == read(png(TWELVE)).image_id


@pytest.mark.parametrize("bits", [12, 16])
def test_grey_levels_are_scaled_over_the_bits_that_are_used(bits: int) -> None:
    decoded = read(dicom(TWELVE, BitsStored=bits))
    assert abs(decoded.pixels.astype(int) - GREY).max() <= 1
    assert (decoded.mode, decoded.conversions) == (f"MONOCHROME2/{bits}", ("12-bit scaled",))


def test_signed_levels_are_stretched_from_the_darkest_to_the_brightest() -> None:
    pixels = read(dicom(GREY.astype(np.int16) - 1000)).pixels
    levels = GREY.astype(float)
    expected = (levels - levels.min()) / (levels.max() - levels.min()) * 255
    assert abs(pixels - expected).max() <= 0.5


def test_monochrome1_is_inverted_by_the_header_alone() -> None:
    decoded = read(dicom(255 - GREY, PhotometricInterpretation="MONOCHROME1"))
    assert np.array_equal(decoded.pixels, GREY)
    assert decoded.conversions == ("MONOCHROME1 inverted",)
    assert np.array_equal(read(dicom(255 - GREY)).pixels, 255 - GREY)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (2, -500)])
def test_the_first_window_is_applied_after_the_rescale(function: str, slope: float, intercept: float) -> None:
    header = {"RescaleSlope": slope, "RescaleIntercept": intercept, "VOILUTFunction": function}
    dataset = radiograph(TWELVE, BitsStored=12, WindowCenter=[1800, 3], WindowWidth=[900, 7], **header)
    shown = apply_windowing(TWELVE * float(slope) + intercept, dataset)
    expected = (shown - intercept) / (4095 * slope) * 255
    decoded = read(saved(dataset))
    assert abs(decoded.pixels - expected).max() <= 0.51
    assert decoded.conversions == (*(["rescaled"] if slope != 1 else []), "window")


def lut(table: np.ndarray, bits: int) -> Sequence:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(table), 0, bits])
    item.add_new("LUTData", "US", table.tolist())
    return Sequence([item])


def test_lookup_tables_are_looked_up() -> None:
    root = np.rint(np.sqrt(np.arange(4096) / 4095) * 4095).astype(int)
    decoded = read(dicom(TWELVE, BitsStored=12, VOILUTSequence=lut(root, 12)))
    assert abs(decoded.pixels - root[TWELVE] / 4095 * 255).max() <= 0.5
    assert decoded.conversions == ("VOI LUT",)
    decoded = read(dicom(TWELVE, BitsStored=12, ModalityLUTSequence=lut(root * 16, 16)))
    assert decoded.conversions[0] == "modality LUT"
    assert abs(decoded.pixels - root[TWELVE] / 4095 * 255).max() <= 1


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_colour_becomes_grey(photometric: str) -> None:
    pixels = np.stack([GREY, GREY, GREY], axis=-1)
    if photometric == "YBR_FULL":
        pixels[..., 1:] = 128
    decoded = read(dicom(pixels, PhotometricInterpretation=photometric))
    assert abs(decoded.pixels.astype(int) - GREY).max() <= 1
    assert (decoded.mode, decoded.conversions) == ("RGB", ("colour to grey",))


@pytest.mark.parametrize(
    ("syntax", "kind", "options"),
    [(JPEGBaseline8Bit, "JPEG", {"quality": 95}), (JPEG2000Lossless, "JPEG2000", {"no_jp2": True})],
)
def test_compressed_pictures_are_read(syntax: str, kind: str, options: dict[str, Any]) -> None:
    dataset = compressed(syntax, kind, GREY, **options)
    assert abs(read(saved(dataset)).pixels.astype(int) - GREY).mean() <= 1


def compressed(syntax: str, kind: str, pixels: np.ndarray, **options: Any) -> Dataset:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    dataset = radiograph(GREY, syntax=syntax)
    dataset.PixelData = encapsulate([buffer.getvalue()])
    dataset["PixelData"].VR = "OB"
    return dataset


def test_sixteen_bit_jpeg_2000_is_read() -> None:
    dataset = radiograph(TWELVE, BitsStored=12)
    dataset.compress(JPEG2000Lossless)
    assert abs(read(saved(dataset)).pixels.astype(int) - GREY).max() <= 1


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "other modality": ({"Modality": "CT"}, "not a radiograph: modality CT"),
    "unknown modality": ({"Modality": "JANE"}, "not a radiograph: modality none or unknown"),
    "no modality": ({"Modality": None}, "not a radiograph: modality none or unknown"),
    "other body part": ({"BodyPartExamined": "HAND"}, "body part is not the chest"),
    "left lateral": ({"ViewPosition": "LL"}, "lateral view"),
    "lateral in words": ({"ViewPosition": "lateral"}, "lateral view"),
    "lateral by orientation": ({"PatientOrientation": ["P", "F"]}, "lateral view"),
    "oblique": ({"ViewPosition": "RAO"}, "oblique view"),
    "burned in": ({"BurnedInAnnotation": "YES"}, "burned-in annotation"),
    "perhaps burned in": ({"BurnedInAnnotation": "UNKNOWN"}, "burned-in annotation"),
    "raw": (
        {"PresentationIntentType": "FOR PROCESSING"},
        "raw detector picture (for processing, not for presentation)",
    ),
    "several frames": ({"NumberOfFrames": 2}, "several frames"),
    "palette": (
        {"PhotometricInterpretation": "PALETTE COLOR"},
        "photometric interpretation is neither grey nor RGB nor YBR",
    ),
    "one bit": ({"BitsAllocated": 1, "BitsStored": 1}, "two grey levels only (a mask?)"),
    "32 bits": ({"BitsAllocated": 32}, "neither 8 nor 16 bits of grey, nor 8 of each colour"),
    "more stored than allocated": ({"BitsStored": 60_000}, "damaged or not supported"),
    "no size": ({"Rows": None}, "no picture in the DICOM file"),
    "small": ({"Rows": 5}, "below minimum size 32 px: 64x5"),
    "large": ({"Rows": 65_000, "Columns": 65_000}, "too large: 65000x65000"),
    "fewer pixels than said": ({"Rows": 100}, "truncated"),
    "no window width": ({"WindowCenter": 5, "WindowWidth": 0}, "damaged or not supported"),
    "no rescale": ({"RescaleSlope": 0, "RescaleIntercept": 0}, "damaged or not supported"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_header_refuses_its_file(name: str) -> None:
    header, expected = REFUSED[name]
    assert reason(dicom(GREY, **header)) == expected


@pytest.mark.parametrize("view", ["AP", "PA", "", None, "LLD"])
def test_frontal_views_are_read(view: str | None) -> None:
    read(dicom(GREY, ViewPosition=view, PatientOrientation=["L", "F"], BurnedInAnnotation="NO"))


@pytest.mark.parametrize(
    ("syntax", "said"),
    [
        (JPEGLosslessSV1, "JPEG lossless"),
        (RLELossless, "run-length encoded"),
        (DeflatedExplicitVRLittleEndian, "deflated as a whole"),
    ],
)
def test_a_transfer_syntax_that_is_not_read_is_named(syntax: str, said: str) -> None:
    dataset = radiograph(GREY, syntax=syntax)
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        dataset.PixelData = encapsulate([b"anything"])
        dataset["PixelData"].VR = "OB"
    assert reason(saved(dataset)) == f"DICOM transfer syntax not supported: {said}"


def test_an_unknown_transfer_syntax_is_not_guessed() -> None:
    content = dicom(GREY).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.7\0")
    assert reason(content) == "DICOM transfer syntax not supported: none or unknown"


def test_a_file_without_its_end_is_refused() -> None:
    content = dicom(GREY)
    for length in (140, 400, len(content) - 1):
        assert reason(content[:length]) in (
            *("truncated", "damaged or not supported", "no picture in the DICOM file"),
            *(
                "not a radiograph: modality none or unknown",
                "DICOM transfer syntax not supported: none or unknown",
            ),
        )
    assert reason(content[:-1]) == "truncated"


def test_without_pydicom_the_reason_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    assert reason(dicom(GREY)) == "DICOM needs the extra 'dicom': pip install 'lungline[dicom]'"


def header_facts(tmp_path: Path, **header: Any) -> DicomFacts:
    path = tmp_path / "film.dcm"
    path.write_bytes(dicom(GREY, **header))
    return read_facts(path, KEY)


def test_view_age_sex_and_a_pseudonym_are_read_of_a_header(tmp_path: Path) -> None:
    header = {"PatientID": " 4711 ", "PatientName": NAME, "PatientAge": "058Y", "PatientSex": "F"}
    facts = header_facts(tmp_path, ViewPosition="PA", **header)
    assert facts == DicomFacts(patient=pseudonym("4711", KEY), view="PA", age="058Y", sex="F")
    assert header_facts(tmp_path, PatientSex="O", ViewPosition="LLD") == DicomFacts("", "", "", "")


def test_no_pixel_is_read_for_the_facts_of_a_header(tmp_path: Path) -> None:
    path = tmp_path / "film.dcm"
    content = dicom(GREY, PatientSex="M")
    path.write_bytes(content[: len(content) - GREY.size])
    assert read_facts(path, KEY).sex == "M"


def test_f22_what_pydicom_says_of_bad_values_reaches_no_log(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    long_name = NAME + "x" * 80
    content = saved(radiograph(GREY, PatientName=NAME)).replace(b"CHEST ", b"\xff\xfe\xfd\xfc??")
    with caplog.at_level(logging.DEBUG):
        reason(content)
        reason(dicom(GREY, Modality=None, PatientName=long_name))
    said = caplog.text + "".join(capfd.readouterr())
    assert "Jane" not in said


CONTENT = dicom(TWELVE, BitsStored=12, PatientName=NAME, WindowCenter=2000, WindowWidth=3000)
META = 132


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=200, deadline=None)
@given(edits=st.lists(st.tuples(st.integers(META, 900), st.integers(0, 255)), min_size=1, max_size=6))
def test_f12_damaged_bytes_give_a_picture_or_a_reason(edits: list[tuple[int, int]]) -> None:
    content = bytearray(CONTENT)
    for position, value in edits:
        content[position] = value
    try:
        outcome = str(read(bytes(content)).pixels.shape)
    except UnreadableImage as refusal:
        outcome = refusal.reason
    assert outcome
    assert "Jane" not in outcome
