"""Decodes a DICOM radiograph to 8-bit grey as its header says it is to be shown."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile

from data_contracts.dicom_header import COMPRESSED, PIXELS, USABLE, check_usable, read_elements
from data_contracts.picture import DecodeLimits, Picture, UnreadableImage, check_size

if TYPE_CHECKING:
    from pydicom import Dataset

_COLOUR = frozenset({"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"})
_GREY = frozenset({"MONOCHROME1", "MONOCHROME2"})
_CODESTREAMS = {"JPEG": JpegImageFile, "JPEG 2000": Jpeg2KImageFile}


def read_dicom(data: bytes, limits: DecodeLimits) -> Picture:
    """The picture of a DICOM file: modality LUT, VOI LUT or the first window, MONOCHROME1 turned to white on black.

    Grey levels without a VOI are scaled over the bits that the brightest pixel needs, as in a 16-bit PNG; signed ones
    from the darkest to the brightest pixel. Colour becomes ITU-R 601 luma. Only allow-listed elements are looked at.

    Raises UnreadableImage where the header says that the file must not be used, its size is beyond the limits (known
    before any pixel is decoded), it has several frames, or it is damaged.
    """
    header = read_elements(io.BytesIO(data), (*USABLE, *PIXELS), stop_before_pixels=True)
    check_usable(header)
    try:
        _check_layout(header, limits)
        dataset = read_elements(io.BytesIO(data), (*PIXELS, "PixelData"), stop_before_pixels=False)
        stored = _stored_pixels(dataset, limits)
        if dataset.PhotometricInterpretation in _COLOUR:
            grey, changes = Image.fromarray(stored.astype(np.uint8)).convert("L"), ["colour to grey"]
            mode = "RGB"
        else:
            levels, changes = _shown(stored, dataset)
            grey = Image.fromarray(levels)
            mode = f"{dataset.PhotometricInterpretation}/{dataset.BitsStored}"
    except UnreadableImage:
        raise
    except Exception:  # pydicom and its decoders raise nearly anything, with values in the message
        raise UnreadableImage("damaged or not supported") from None
    return Picture(grey, grey, grey.width, grey.height, mode, "DICOM", tuple(changes))


def _check_layout(header: Dataset, limits: DecodeLimits) -> None:
    """Refuses by the header alone what would be too large or is not one 8- or 16-bit picture."""
    if header.get("Rows") is None or header.get("Columns") is None:
        raise UnreadableImage("no picture in the DICOM file")
    check_size(int(header.Columns), int(header.Rows), limits)
    if int(header.get("NumberOfFrames") or 1) != 1:
        raise UnreadableImage("several frames")
    if header.BitsAllocated == 1:
        raise UnreadableImage("two grey levels only (a mask?)")
    colour = header.PhotometricInterpretation in _COLOUR
    if not colour and header.PhotometricInterpretation not in _GREY:
        raise UnreadableImage("photometric interpretation is neither grey nor RGB nor YBR")
    samples, bits = (3, (8,)) if colour else (1, (8, 16))
    if header.SamplesPerPixel != samples or header.BitsAllocated not in bits:
        raise UnreadableImage("neither 8 nor 16 bits of grey, nor 8 of each colour")
    if not 1 <= header.BitsStored <= header.BitsAllocated:
        raise UnreadableImage("damaged or not supported")


def _stored_pixels(dataset: Dataset, limits: DecodeLimits) -> NDArray[np.generic]:
    """(H, W) stored values, or (H, W, 3) RGB."""
    from pydicom.encaps import get_frame
    from pydicom.pixels.utils import pixel_array

    if "PixelData" not in dataset:
        raise UnreadableImage("no picture in the DICOM file")
    compression = COMPRESSED.get(str(dataset.file_meta.TransferSyntaxUID))
    shape = (int(dataset.Rows), int(dataset.Columns))
    if compression is None:
        expected = shape[0] * shape[1] * dataset.SamplesPerPixel * dataset.BitsAllocated // 8
        if dataset.PhotometricInterpretation == "YBR_FULL_422":
            expected = expected * 2 // 3
        if len(dataset.PixelData) < expected:
            raise UnreadableImage("truncated")
    else:
        # The compressed picture has a header of its own, and decoders allocate what that one claims.
        codestream = _CODESTREAMS[compression](io.BytesIO(get_frame(dataset.PixelData, 0, number_of_frames=1)))
        check_size(*codestream.size, limits)
        if codestream.size != (shape[1], shape[0]):
            raise UnreadableImage("damaged or not supported")
    return pixel_array(dataset)


def _shown(stored: NDArray[np.generic], dataset: Dataset) -> tuple[NDArray[np.uint8], list[str]]:
    """Grey levels for the eye, (H, W) uint8, and what was done.

    Everything is done to a table of all values that a pixel can have, at most 65,536, and looked up at the end.
    """
    from pydicom.pixels.processing import apply_modality_lut

    bits = int(dataset.BitsStored)
    first = -(2 ** (bits - 1)) if dataset.PixelRepresentation == 1 else 0
    index = np.clip(stored.astype(np.int32) - first if first else stored, 0, 2**bits - 1)
    mapped = apply_modality_lut(np.arange(first, first + 2**bits, dtype=np.int32), dataset)
    if dataset.get("ModalityLUTSequence"):
        changes = ["modality LUT"]
    else:
        changes = ["rescaled"] if float(dataset.get("RescaleSlope") or 1) != 1 else []

    if dataset.get("VOILUTSequence") or None not in (dataset.get("WindowCenter"), dataset.get("WindowWidth")):
        shown, low, high, change = _by_voi(mapped, dataset)
    else:
        shown, low, high, change = mapped, *_range_in_use(mapped, index, signed=first < 0)
    if low == high or not np.isfinite(high - low):
        raise UnreadableImage("damaged or not supported")
    scaled = (shown.astype(np.float64) - low) * (255 / (high - low))
    table = np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)
    changes += [change] if change else []
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        table = 255 - table
        changes.append("MONOCHROME1 inverted")
    return table[index], changes


def _by_voi(mapped: NDArray[np.generic], dataset: Dataset) -> tuple[NDArray[np.generic], float, float, str]:
    """The table after the VOI LUT or, without one, the first window; what is black, what is white, what was done."""
    from pydicom.pixels.processing import apply_voi_lut

    if dataset.get("VOILUTSequence"):
        shown = apply_voi_lut(np.rint(mapped).astype(np.int32), dataset)
        return shown, 0.0, 2.0 ** int(shown.max()).bit_length() - 1, "VOI LUT"
    shown = apply_voi_lut(mapped, dataset)
    # pydicom's windows have the range of the modality LUT's entries or, without one, of all values mapped.
    if dataset.get("ModalityLUTSequence"):
        return shown, 0.0, 2.0 ** int(dataset.ModalityLUTSequence[0].LUTDescriptor[2]) - 1, "window"
    return shown, float(mapped[0]), float(mapped[-1]), "window"


def _range_in_use(
    mapped: NDArray[np.generic], index: NDArray[np.integer], *, signed: bool
) -> tuple[float, float, str]:
    """Of a table that has neither VOI LUT nor window: what is black, what is white, what scaling that is called."""
    first, last, change = int(index.min()), int(index.max()), "signed levels stretched"
    if not signed:
        bits = max(8, last.bit_length())
        first, last, change = 0, 2**bits - 1, "" if bits == 8 and len(mapped) == 256 else f"{bits}-bit scaled"
    low, high = sorted((float(mapped[first]), float(mapped[min(last, len(mapped) - 1)])))
    return low, high, change
