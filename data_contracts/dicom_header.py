"""Reads of a DICOM header what is on the allow-list, nothing else, and says which files must not be used.

No value of a header ever enters a reason, a log or an error: the errors and warnings of pydicom quote values, so they
are neither passed on nor chained.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import MutableSequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from data_contracts.picture import UnreadableImage
from data_contracts.pseudonyms import pseudonym

if TYPE_CHECKING:
    from pydicom import Dataset

logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")

NOT_INSTALLED = "DICOM needs the extra 'dicom': pip install 'lungline[dicom]'"

PERSON = ("PatientID", "PatientAge", "PatientSex", "ViewPosition")
USABLE = (
    *("Modality", "BodyPartExamined", "ViewPosition", "PatientOrientation", "BurnedInAnnotation"),
    "PresentationIntentType",
)
PIXELS = (
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("ModalityLUTSequence", "RescaleSlope", "RescaleIntercept"),
    *("VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction"),
)

# Transfer syntaxes by UID. Others need decoders that the extra does not bring; a file that is deflated as a whole
# could fill the memory before anything of it is known.
NATIVE = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1"})
COMPRESSED = {
    "1.2.840.10008.1.2.4.50": "JPEG",
    "1.2.840.10008.1.2.4.51": "JPEG",
    "1.2.840.10008.1.2.4.90": "JPEG 2000",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
}
_SYNTAX_ELSEWHERE = {
    "1.2.840.10008.1.2.1.99": "deflated as a whole",
    "1.2.840.10008.1.2.2": "big endian",
    "1.2.840.10008.1.2.4.57": "JPEG lossless",
    "1.2.840.10008.1.2.4.70": "JPEG lossless",
    "1.2.840.10008.1.2.4.80": "JPEG-LS",
    "1.2.840.10008.1.2.4.81": "JPEG-LS",
    "1.2.840.10008.1.2.4.201": "high-throughput JPEG 2000",
    "1.2.840.10008.1.2.5": "run-length encoded",
}

RADIOGRAPHS = frozenset({"CR", "DX", "RG"})  # computed, digital, film
_OTHER_MODALITIES = frozenset(
    {"CT", "MR", "US", "MG", "NM", "PT", "XA", "RF", "OT", "SC", "PX", "IO", "SR", "SEG"}
)
_CHEST = ("CHEST", "THORA", "LUNG")  # anywhere in the value: makers write CHEST_PA, PORT CHEST, …
# Defined terms of View Position (CR image module), and what makers write in full.
_LATERAL = frozenset({"LL", "RL", "LAT", "LATERAL", "LLAT", "RLAT", "LEFT LATERAL", "RIGHT LATERAL"})
_OBLIQUE = frozenset({"RLO", "LLO", "RAO", "LAO", "RPO", "LPO"})


@dataclass(frozen=True, slots=True)
class DicomFacts:
    """What a header says of the person and the view. patient: a pseudonym, or "". view: AP, PA or "". sex: F, M or "".

    age: as written ("058Y"), or "".
    """

    patient: str
    view: str
    age: str
    sex: str


def read_facts(path: Path, key: bytes) -> DicomFacts:
    """The facts of one file's header; no pixel is read. key: for the pseudonym of the patient.

    Raises UnreadableImage where there is no readable header, or pydicom is not installed.
    """
    try:
        with path.open("rb") as file:
            header = read_elements(file, PERSON, stop_before_pixels=True)
    except OSError as error:
        raise UnreadableImage(f"file cannot be read: {error.strerror}") from None
    return DicomFacts(
        patient=pseudonym(_text(header, "PatientID"), key),
        view=_one_of(_word(header, "ViewPosition"), ("AP", "PA")),
        age=_text(header, "PatientAge"),
        sex=_one_of(_word(header, "PatientSex"), ("F", "M")),
    )


def read_elements(file: BinaryIO, keywords: tuple[str, ...], *, stop_before_pixels: bool) -> Dataset:
    """The named elements of a DICOM file, with its transfer syntax in `file_meta`; the others are passed over.

    Raises UnreadableImage where the file is damaged, or in a transfer syntax that is not read here.
    """
    try:
        from pydicom import dcmread
        from pydicom.filereader import read_dataset, read_preamble
    except ImportError:
        raise UnreadableImage(NOT_INSTALLED) from None
    try:
        read_preamble(file, force=False)
        # The file meta group alone, which is never compressed: dcmread would inflate a deflated file at once.
        meta = read_dataset(
            file, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, _vr, _length: tag >> 16 != 2
        )
        syntax = str(meta.get("TransferSyntaxUID", ""))
        if syntax in NATIVE or syntax in COMPRESSED:
            file.seek(0)
            return dcmread(file, stop_before_pixels=stop_before_pixels, specific_tags=list(keywords))
    except Exception:  # pydicom raises nearly anything on damaged bytes; no file may stop a run
        raise UnreadableImage("damaged or not supported") from None
    reason = _SYNTAX_ELSEWHERE.get(syntax, "none or unknown")
    raise UnreadableImage(f"DICOM transfer syntax not supported: {reason}")


def check_usable(header: Dataset) -> None:
    """Raises UnreadableImage for what is no frontal chest radiograph to be shown, and for what may name its patient."""
    modality = _word(header, "Modality")
    if modality not in RADIOGRAPHS:
        known = modality if modality in _OTHER_MODALITIES else "none or unknown"
        raise UnreadableImage(f"not a radiograph: modality {known}")
    if _word(header, "BurnedInAnnotation") not in ("", "NO"):
        raise UnreadableImage("burned-in annotation")
    body_part = _word(header, "BodyPartExamined")
    if body_part and not any(part in body_part for part in _CHEST):
        raise UnreadableImage("body part is not the chest")
    view = _word(header, "ViewPosition")
    # Rows of a lateral view run from front to back (A, P) and not from side to side (L, R).
    if view in _LATERAL or _word(header, "PatientOrientation").startswith(("A", "P")):
        raise UnreadableImage("lateral view")
    if view in _OBLIQUE:
        raise UnreadableImage("oblique view")
    if _word(header, "PresentationIntentType") == "FOR PROCESSING":
        raise UnreadableImage("raw detector picture (for processing, not for presentation)")


def _text(header: Dataset, keyword: str) -> str:
    """The value of an element as text, the first of several; "" where there is none or it cannot be read."""
    try:
        value = header.get(keyword)
        if isinstance(value, MutableSequence):
            value = value[0] if value else ""
    except Exception:  # a value that cannot be read says nothing, and its text must not be told
        return ""
    return value.strip("\0 \t\r\n") if isinstance(value, str) else ""


def _word(header: Dataset, keyword: str) -> str:
    return _text(header, keyword).upper()


def _one_of(value: str, allowed: tuple[str, ...]) -> str:
    return value if value in allowed else ""
