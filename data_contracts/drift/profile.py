"""The reference profile: held-out images of the training run that every later window is compared with.

A profile folder holds `reference.parquet` (what is known and answered of each image), `projection.safetensors` (the
fixed projection of the embeddings and the projected reference) and `profile.json` with the hashes of both. Its
content hash is that of profile.json.
"""

from __future__ import annotations

import hashlib
import io
import os
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, NonNegativeFloat, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from data_contracts.drift.mmd import median_distance
from data_contracts.errors import ModelGateError, UsageProblem
from data_contracts.expectations.window import DESCRIPTORS, probability_columns

FORMAT_VERSION: Literal[1] = 1
REFERENCE = "reference.parquet"
PROJECTION = "projection.safetensors"
PROFILE = "profile.json"

COMPONENTS = 32
_FITTED_ONE_IN = 3  # groups
# A patient with forty follow-up films would otherwise be a fifth of a window, and an alarm.
MOST_OF_A_GROUP = 3
_TEXTS = ("image_id", "group_id", "source", "view", "sex", "mode", "format", "flags", "label", "unknown_classes")
_NUMBERS = ("age", "width", "height", *DESCRIPTORS, "chest_likeness")
_BUILD_AGAIN = "Make the profile again from the training run; do not repair it by hand."


class _Facts(BaseModel):
    """profile.json. files: name -> sha256. bandwidth: of the kernel; 0 where there are no embeddings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal[1] = FORMAT_VERSION
    class_names: list[str]
    multi_label: bool
    images: int
    groups: int
    bandwidth: NonNegativeFloat
    files: dict[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceProfile:
    """A finished profile.

    frame: one row per image with the columns that `write` was given. components: (c, d), mean: (d,) of the
    projection; projected: (n, c) the reference images' embeddings in it, in the order of frame, NaN for images
    without one; c = 0 where there are none. fitted: (n,) bool, the images that the projection was fitted on: it
    shows more of their spread than of any other images', so embeddings of a window are compared with the others only.
    bandwidth: median distance between these.
    """

    folder: Path
    content_hash: str
    frame: pd.DataFrame
    class_names: tuple[str, ...]
    multi_label: bool
    mean: NDArray[np.float32]
    components: NDArray[np.float32]
    projected: NDArray[np.float32]
    fitted: NDArray[np.bool_]
    bandwidth: float

    @classmethod
    def write(
        cls,
        folder: Path,
        frame: pd.DataFrame,
        embeddings: NDArray[np.float32],
        class_names: Sequence[str],
        *,
        multi_label: bool = False,
    ) -> Self:
        """Write a profile of held-out images; the folder appears only when it is complete.

        frame: image_id, group_id, source, view, age, sex, width, height, mode, format, the descriptors,
        chest_likeness, flags, label, unknown_classes as in the Catalog, and p_<class>; columns that are absent stay
        unknown, others (a patient's name among them) are left behind. embeddings: (n, d) in the same order, d = 0
        where there are none; at most 32 principal components of a third of the groups are kept. Equal inputs give
        equal bytes. A folder that holds this very profile is left as it is. Raises UsageProblem where rows and
        embeddings do not fit each other or a probability column is missing, ModelGateError where the folder holds
        something else.
        """
        missing = [name for name in ("image_id", *probability_columns(class_names)) if name not in frame]
        if missing or not len(frame) or embeddings.ndim != 2 or len(embeddings) != len(frame):
            raise UsageProblem(
                f"A reference profile got {len(frame)} rows and embeddings of shape {embeddings.shape}"
                + (f", without the columns {', '.join(missing)}." if missing else "."),
                why="Windows would be compared with something else than the held-out images.",
                cure="Give one row and one embedding per held-out image, with a probability of every class.",
            )
        table = _kept(frame, class_names)
        files = {REFERENCE: _parquet(table)}
        tensors, bandwidth = _projection(np.asarray(embeddings, dtype=np.float32), groups_of(table))
        files[PROJECTION] = save_tensors(tensors)
        facts = _Facts(
            class_names=list(class_names),
            multi_label=multi_label,
            images=len(table),
            groups=len(np.unique(groups_of(table))),
            bandwidth=bandwidth,
            files={name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        )
        files[PROFILE] = (facts.model_dump_json(indent=2) + "\n").encode()
        _place(folder, files)
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Read a profile and compare its files with their hashes. Raises ModelGateError where they differ."""
        try:
            said = (folder / PROFILE).read_bytes()
            facts = _Facts.model_validate_json(said)
            files = {name: (folder / name).read_bytes() for name in (REFERENCE, PROJECTION)}
            changed = [
                name for name, data in files.items() if hashlib.sha256(data).hexdigest() != facts.files[name]
            ]
            if changed:
                raise _unusable(folder, f"{', '.join(changed)} is not the file that was written")
            frame = pq.read_table(io.BytesIO(files[REFERENCE])).to_pandas()
            tensors = load_tensors(files[PROJECTION])
            return cls(
                folder,
                hashlib.sha256(said).hexdigest(),
                frame,
                tuple(facts.class_names),
                facts.multi_label,
                tensors["mean"],
                tensors["components"],
                tensors["projected"],
                tensors["fitted"].astype(bool),
                facts.bandwidth,
            )
        except (OSError, KeyError, ValidationError, SafetensorError, pa.ArrowException) as error:
            raise _unusable(folder, str(error).splitlines()[0]) from error

    @property
    def compared(self) -> NDArray[np.bool_]:
        """(n,) the rows of frame that windows are compared with: a few of each group."""
        return few_of_each(groups_of(self.frame))

    def project(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, d) embeddings -> (n, c). Rows that are not finite become NaN."""
        finite = np.asarray(np.isfinite(embeddings).all(axis=1))
        projected = np.full((len(embeddings), len(self.components)), np.nan, dtype=np.float32)
        projected[finite] = (embeddings[finite] - self.mean) @ self.components.T
        return projected


def groups_of(frame: pd.DataFrame, column: str = "group_id") -> NDArray[np.int64]:
    """(n,) a number per identity group, or per value of another column; an image without one is a group of its own."""
    if column not in frame:
        return np.arange(len(frame))
    named = frame[column].astype("str").where(frame[column].notna(), "")
    groups = np.asarray(pd.factorize(named)[0], dtype=np.int64)
    alone = (named == "").to_numpy(dtype=bool)
    groups[alone] = groups.max(initial=0) + 1 + np.arange(alone.sum())
    return np.asarray(pd.factorize(groups)[0], dtype=np.int64)


def few_of_each(groups: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(n,) the rows with which each group takes part in a comparison: its first MOST_OF_A_GROUP."""
    return (pd.Series(groups).groupby(groups).cumcount() < MOST_OF_A_GROUP).to_numpy(dtype=bool)


def _kept(frame: pd.DataFrame, class_names: Sequence[str]) -> pd.DataFrame:
    """The profile's columns with fixed types; the rows stay in the order of the embeddings."""
    columns: dict[str, pd.Series] = {}
    for name in _TEXTS:
        if name in frame:
            columns[name] = frame[name].astype("str").where(frame[name].notna(), "").reset_index(drop=True)
    for name in (*_NUMBERS, *probability_columns(class_names)):
        if name in frame:
            columns[name] = pd.to_numeric(frame[name], errors="coerce").astype("float64").reset_index(drop=True)
    return pd.DataFrame(columns)


def _parquet(table: pd.DataFrame) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(table, preserve_index=False), sink)
    return sink.getvalue()


def _projection(
    embeddings: NDArray[np.float32], groups: NDArray[np.int64]
) -> tuple[dict[str, NDArray[np.float32] | NDArray[np.uint8]], float]:
    """Principal components of a third of the groups, and the median distance between the others' rows projected."""
    from sklearn.decomposition import PCA

    finite = np.asarray(np.isfinite(embeddings).all(axis=1))
    turns = np.random.default_rng(0).permutation(groups.max() + 1) % _FITTED_ONE_IN == 0
    fitted = turns[groups]
    rows, width = embeddings[finite & fitted].astype(np.float64), embeddings.shape[1]
    count = min(COMPONENTS, width, len(rows) - 1)
    mean, components = np.zeros(width, dtype=np.float32), np.zeros((0, width), dtype=np.float32)
    if count > 0:
        found = PCA(count, svd_solver="covariance_eigh").fit(rows)
        mean = found.mean_.astype(np.float32)
        components = np.ascontiguousarray(found.components_, dtype=np.float32)
    projected = np.full((len(embeddings), len(components)), np.nan, dtype=np.float32)
    projected[finite] = (embeddings[finite] - mean) @ components.T
    distance = median_distance(projected[finite & ~fitted]) if count > 0 else 0.0
    return {
        "mean": mean,
        "components": components,
        "projected": projected,
        "fitted": fitted.astype(np.uint8),
    }, distance


def _place(folder: Path, files: dict[str, bytes]) -> None:
    if folder.exists() and any(folder.iterdir()):
        if all((folder / name).is_file() and (folder / name).read_bytes() == files[name] for name in files):
            return
        raise ModelGateError(
            f"{folder} already holds something else than this reference profile.",
            why="Overwriting it would change what earlier windows were compared with.",
            cure="Write the profile to a new folder.",
        )
    part = folder.with_name(f"{folder.name}.part-{secrets.token_hex(4)}")
    part.mkdir(parents=True)
    try:
        for name, data in files.items():
            with (part / name).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        part.replace(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _unusable(folder: Path, what: str) -> ModelGateError:
    return ModelGateError(
        f"The reference profile {folder} cannot be used: {what}.",
        why="A window compared with a damaged reference says nothing.",
        cure=_BUILD_AGAIN,
    )
