"""Scores images with one verified version: hard input checks first, then the evaluation's probabilities and calls."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_contracts.errors import UsageProblem
from data_contracts.expectations.window import DESCRIPTORS
from data_contracts.images import DecodedImage, DecodeLimits, UnreadableImage, read_image
from data_contracts.input_checks import InputFlag, chest_likeness
from data_contracts.workspace import Workspace
from models.audit.embeddings import embed_with
from models.evaluation.predictions import sealed_probabilities
from models.registry.bundle import ModelBundle
from models.registry.versions import CHAMPION
from models.scoring.champion import chosen_version, take_bundle
from models.scoring.facts import Facts, Header, facts_of, read_header
from models.scoring.log_rows import EMBEDDING, log_columns
from models.scoring.predict import GivenImage, answer_columns

if TYPE_CHECKING:
    from torch import Tensor, nn

Origin = Literal["batch", "service"]

# What a model must not answer although it can be decoded: its answer would be as sure as any other.
REFUSED_FLAGS: dict[InputFlag, str] = {
    "inversion_suspected": "looks inverted: black and white exchanged",
    "unlike_frontal_chest": "unlike a frontal chest film",
}
_LIMITS = DecodeLimits()


@dataclass(frozen=True, slots=True)
class ReadImage:
    """An image as it was found. key: image_id, else the sha256 of the file, "" where not one byte could be read.

    decoded: None where the file was refused before. refused: why it must not be scored, or "". header: what a DICOM
    file says of person and view, see `facts`.
    """

    key: str
    decoded: DecodedImage | None
    refused: str
    header: Header = field(repr=False)


@dataclass(frozen=True)
class Scorer:
    """One version, loaded. Any number of threads may score at once; the network runs for one of them at a time."""

    model_name: str
    version: str
    bundle: ModelBundle
    network: nn.Module
    _running: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @classmethod
    def open(cls, workspace: Workspace, model_name: str, which: str = CHAMPION) -> Scorer:
        """Load a version whose bundle was verified; the champion only where it is the one that was decided on.

        which: champion, another alias, or a version number. Raises as `chosen_version` and `take_bundle` do.
        """
        chosen = chosen_version(workspace, model_name, which)
        bundle = take_bundle(workspace, chosen)
        return cls(model_name, chosen.version, bundle, bundle.load_model())

    def score(
        self,
        images: Sequence[GivenImage],
        facts: pd.DataFrame | None = None,
        *,
        origin: Origin,
        now: datetime,
        taken_on: str = "",
    ) -> pd.DataFrame:
        """Rows for the prediction log (`log_columns`), in the order of the images.

        facts: any of source, patient (as the hospital writes it; only a pseudonym is kept), view, age, sex, taken_on,
        a row per image; a DICOM header fills in what is not given. now: time of scoring, with a time zone. taken_on:
        YYYY-MM-DD of the examinations where facts give none; else the day of scoring. What must not be scored has
        `refused` set, NaN as probabilities and no embedding. Raises UsageProblem for facts that cannot be used,
        ModelGateError where the network answers with numbers that are not finite.
        """
        return self.answer(self.read(images), facts, origin=origin, now=now, taken_on=taken_on)

    def read(self, images: Sequence[GivenImage], limits: DecodeLimits = _LIMITS) -> list[ReadImage]:
        """Decode the images and check them; nothing is scored. limits: what is refused before it is decoded."""
        if len(images) < 2:
            return [self._read(given, limits) for given in images]
        with ThreadPoolExecutor() as pool:  # Pillow and hashlib release the interpreter lock
            return list(pool.map(lambda given: self._read(given, limits), images))

    def answer(
        self,
        images: Sequence[ReadImage],
        facts: pd.DataFrame | None = None,
        *,
        origin: Origin,
        now: datetime,
        taken_on: str = "",
    ) -> pd.DataFrame:
        """The second half of `score`, for images that `read` gave."""
        known = facts_of(facts, [image.header for image in images], taken_on=taken_on)
        scored_at = now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        probabilities, embeddings = self._predict(images)
        columns: dict[str, object] = {
            "image_key": [image.key for image in images],
            "taken_on": [one.taken_on or scored_at[:10] for one in known],
            "scored_at": scored_at,
            "origin": origin,
            "model": self.model_name,
            "version": self.version,
            "bundle": self.bundle.content_hash,
            **{
                name: [getattr(one, name) for one in known] for name in ("source", "patient", "view", "age", "sex")
            },
            **_picture_columns(images, known),
            "refused": [image.refused for image in images],
            **answer_columns(self.bundle.spec, probabilities),
        }
        expected = log_columns(self.bundle.spec.class_names)
        frame = pd.DataFrame(
            {name: columns[name] for name in expected if name != EMBEDDING}, index=range(len(images))
        )
        frame[EMBEDDING] = pd.Series(embeddings, index=frame.index, dtype="object")
        return frame.astype(expected)

    def _read(self, given: GivenImage, limits: DecodeLimits) -> ReadImage:
        try:
            if isinstance(given, UnreadableImage):
                raise given
            decoded = read_image(given, size=self.bundle.spec.image_size, limits=limits)
        except UnreadableImage as refusal:
            return ReadImage(_sha256(given), None, refusal.reason, read_header(given))
        doubts = [REFUSED_FLAGS[flag] for flag in decoded.flags if flag in REFUSED_FLAGS]
        header = read_header(given) if decoded.format == "DICOM" else {}
        return ReadImage(decoded.image_id, decoded, doubts[0] if doubts else "", header)

    def _predict(self, images: Sequence[ReadImage]) -> tuple[NDArray[np.float64], list[NDArray[np.float32]]]:
        spec = self.bundle.spec
        probabilities = np.full((len(images), len(spec.class_names)), np.nan)
        embeddings = [np.empty(0, np.float32) for _ in images]
        rows = [row for row, image in enumerate(images) if not image.refused]
        if not rows:
            return probabilities, embeddings
        pixels = np.stack([image.decoded.pixels for row in rows if (image := images[row]).decoded is not None])
        from models.scoring.in_cache import in_pieces

        all_rows = np.arange(len(rows))
        with self._running, _head_inputs(self.network) as features:
            probabilities[rows] = sealed_probabilities(in_pieces(self.network), spec, pixels, all_rows)
            found = _averages(features)
            if spec.test_time_crop is not None and features:  # the features were those of crops
                found = embed_with(self.network, pixels, all_rows, spec.preprocessing)
        for row, embedding in zip(rows, found, strict=False):
            embeddings[row] = embedding
        return probabilities, embeddings


def _picture_columns(images: Sequence[ReadImage], known: Sequence[Facts]) -> dict[str, list[object]]:
    """What is seen of the pictures: empty values where a file was not decoded."""
    facts: list[dict[str, str | int | float]] = [
        {} if image.decoded is None else image.decoded.facts() for image in images
    ]
    columns: dict[str, list[object]] = {
        name: [one.get(name, "") for one in facts] for name in ("image_id", "mode", "format", "conversion")
    }
    columns |= {name: [one.get(name, 0) for one in facts] for name in ("width", "height")}
    columns |= {name: [one.get(name, np.nan) for one in facts] for name in DESCRIPTORS}
    columns["chest_likeness"] = [
        np.nan if image.decoded is None else chest_likeness(image.decoded.pixels) for image in images
    ]
    columns["flags"] = [
        "|".join(filter(None, (told.flags, str(one.get("flags", "")))))
        for told, one in zip(known, facts, strict=True)
    ]
    return columns


@contextmanager
def _head_inputs(network: nn.Module) -> Iterator[list[Tensor]]:
    """What the classifier head reads of each batch that runs meanwhile; nothing for a network without one head."""
    from models.architectures.trunk import head_of

    features: list[Tensor] = []
    try:
        head = network.get_submodule(head_of(network)[0].removesuffix("."))
    except UsageProblem:
        yield features
        return
    hook = head.register_forward_pre_hook(lambda module, inputs: features.append(inputs[0].detach()))
    try:
        yield features
    finally:
        hook.remove()


def _averages(features: Sequence[Tensor]) -> NDArray[np.float32]:
    """(n, F) the features, of a map the averages over its cells; the same numbers as `embed_with` gives."""
    parts = [(one.mean(dim=(2, 3)) if one.ndim == 4 else one.flatten(1)).float().cpu().numpy() for one in features]
    return np.concatenate(parts) if parts else np.empty((0, 0), np.float32)


def _sha256(given: GivenImage) -> str:
    """Of the whole file; "" where it cannot be read."""
    if isinstance(given, bytes):
        return hashlib.sha256(given).hexdigest()
    try:
        # Whatever is no regular file, a pipe say, might never end.
        if isinstance(given, Path) and given.is_file():
            with given.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        pass  # the refusal says so already
    return ""
