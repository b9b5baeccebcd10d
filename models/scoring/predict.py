"""Pictures in, answers out: decode, prepare, predict, apply the frozen thresholds; one row per picture.

Decoding, preprocessing and prediction are the functions that training and evaluation use, so a picture gets the
probabilities here that it would get in an evaluation of the same bundle.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_contracts.images import DecodedImage, DecodeLimits, UnreadableImage, read_image
from data_contracts.ontology import join_classes
from models.evaluation.abstain import abstain_zone
from models.evaluation.predictions import PROBABILITY, sealed_probabilities
from models.registry.bundle import BundleSpec, ModelBundle

if TYPE_CHECKING:
    from torch import nn

CALL = "call_"  # + class name: "positive" or "negative" at the operating point, "" where there is none
POSITIVE, NEGATIVE = "positive", "negative"

# A picture, the file it is in, or why there is none.
GivenImage = bytes | Path | UnreadableImage

_LIMITS = DecodeLimits()


def predict_images(
    bundle: ModelBundle, images: Sequence[GivenImage], *, model: nn.Module | None = None, batch_size: int = 64
) -> pd.DataFrame:
    """What a bundle says of each picture, in the order given; one that cannot be read is a row that says why.

    images: PNG, JPEG or DICOM, as content or file. model: the bundle's network where the caller has loaded it, on
    whatever device; else it is loaded for this call. batch_size: pictures decoded and predicted together.

    Columns, as in `output_columns`: image_id (sha256 of the decoded pixels, as in the Catalog); p_<class>, float64
    in [0, 1], after the bundle's temperature; predicted, the most probable class, or with several classes at once
    those called positive, joined by "|", "none" where every class is called negative and "" where that is open
    because a class has no operating point; call_<class>; abstain, the classes joined by "|" whose probability lies
    between operating point and rule-in threshold, so that a person has to read the picture; flags, what is doubtful
    about the picture (input_checks), joined by "|"; refused, why the picture was not read, else "". A refused
    picture has nan as probabilities and "" everywhere else.

    Raises ModelGateError where the bundle was changed or its network answers with numbers that are not finite.
    """
    network = bundle.load_model() if model is None else model
    size = bundle.spec.image_size
    tables = []
    with ThreadPoolExecutor() as pool:  # Pillow and hashlib release the interpreter lock
        for start in range(0, max(len(images), 1), batch_size):
            decoded = list(pool.map(lambda given: _read(given, size), images[start : start + batch_size]))
            tables.append(_answers(bundle.spec, network, decoded))
    return pd.concat(tables, ignore_index=True)


def answer_columns(
    spec: BundleSpec, probabilities: NDArray[np.float64]
) -> dict[str, list[str] | NDArray[np.float64]]:
    """What the bundle says at these (n, K) probabilities: p_<class>, predicted, call_<class> and abstain.

    A row of nan stands for a picture that was not scored; its texts are "".
    """
    calls = _calls(spec, probabilities)
    of_class = dict(zip(spec.class_names, probabilities.T, strict=True))
    return {
        **{PROBABILITY + name: column for name, column in of_class.items()},
        "predicted": _predicted(spec, probabilities, calls),
        **{CALL + name: calls[name] for name in spec.class_names},
        "abstain": _undecided(spec, of_class, len(probabilities)),
    }


def output_columns(spec: BundleSpec) -> dict[str, type]:
    """Column -> float or str, of what `predict_images` gives, in order."""
    return {
        "image_id": str,
        **{PROBABILITY + name: float for name in spec.class_names},
        "predicted": str,
        **{CALL + name: str for name in spec.class_names},
        "abstain": str,
        "flags": str,
        "refused": str,
    }


def _read(given: GivenImage, size: int) -> DecodedImage | UnreadableImage:
    if isinstance(given, UnreadableImage):
        return given
    try:
        return read_image(given, size=size, limits=_LIMITS)
    except UnreadableImage as refusal:
        return refusal


def _answers(
    spec: BundleSpec, network: nn.Module, decoded: Sequence[DecodedImage | UnreadableImage]
) -> pd.DataFrame:
    read = {row: image for row, image in enumerate(decoded) if isinstance(image, DecodedImage)}
    probabilities = np.full((len(decoded), len(spec.class_names)), np.nan)
    if read:
        pixels = np.stack([image.pixels for image in read.values()])
        rows = np.arange(len(read))
        probabilities[list(read)] = sealed_probabilities(network, spec, pixels, rows, batch_size=len(read))
    columns = {
        "image_id": [image.image_id if isinstance(image, DecodedImage) else "" for image in decoded],
        **answer_columns(spec, probabilities),
        "flags": ["|".join(image.flags) if isinstance(image, DecodedImage) else "" for image in decoded],
        "refused": [image.reason if isinstance(image, UnreadableImage) else "" for image in decoded],
    }
    return pd.DataFrame(columns).astype(output_columns(spec))


def _calls(spec: BundleSpec, probabilities: NDArray[np.float64]) -> dict[str, list[str]]:
    calls = {}
    for name, column in zip(spec.class_names, probabilities.T, strict=True):
        point = spec.operating_points.get(name)
        if point is None:
            calls[name] = [""] * len(column)
        else:
            said = np.where(column >= point.threshold, POSITIVE, NEGATIVE)
            calls[name] = np.where(np.isnan(column), "", said).tolist()
    return calls


def _predicted(spec: BundleSpec, probabilities: NDArray[np.float64], calls: dict[str, list[str]]) -> list[str]:
    read = ~np.isnan(probabilities).any(axis=1)
    if spec.output != "sigmoid":
        best = np.where(read, np.nan_to_num(probabilities).argmax(axis=1), -1)
        return ["" if k < 0 else spec.class_names[k] for k in best]
    predicted = []
    for row in range(len(probabilities)):
        positive = [name for name in spec.class_names if calls[name][row] == POSITIVE]
        all_negative = all(calls[name][row] == NEGATIVE for name in spec.class_names)
        predicted.append(join_classes(positive) if positive or all_negative else "")
    return predicted


def _undecided(spec: BundleSpec, of_class: dict[str, NDArray[np.float64]], n: int) -> list[str]:
    """The classes of each picture that are neither ruled out nor ruled in, joined by "|"."""
    found: list[list[str]] = [[] for _ in range(n)]
    for name, column in of_class.items():
        point, rule_in = spec.operating_points.get(name), spec.rule_in.get(name)
        if point is not None and rule_in is not None:
            zone = abstain_zone(point.threshold, rule_in.threshold)
            for row in np.flatnonzero((column >= zone.rule_out) & (column < zone.rule_in)):
                found[row].append(name)
    return ["|".join(names) for names in found]
