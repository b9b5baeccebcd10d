"""Predictions: what a model said of each image, next to what is true of it.

Importing this module does not import torch; only predicting needs it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data_contracts.errors import DataGateError, ModelGateError
from data_contracts.targets import truth_table
from models.evaluation.temperature import tempered
from models.output import Output, to_probabilities
from models.test_time import crop_side, ten_crop

if TYPE_CHECKING:
    from torch import nn

    from models.preprocessing import Preprocessing
    from models.registry.bundle import BundleSpec

SCHEMA_VERSION = 2
COLUMNS = ("image_id", "group_id", "patient", "source", "split", "label")  # text; as in the Catalog
UNKNOWN = "unknown_classes"  # beside the label where several classes may be true at once; as in the Catalog
PROBABILITY = "p_"  # + class name: float64 in [0, 1], one column per class in output order


@dataclass(frozen=True, slots=True)
class Predictions:
    """One row per image: COLUMNS, then one probability column per class in the model's output order.

    multi_label: any number of classes may be true of an image. label then holds the positive ones joined by "|",
    the column UNKNOWN after it the classes of which that is not known, and probabilities need not sum to 1.
    Raises DataGateError where columns are missing or unknown, ModelGateError where a probability is not finite or
    not in [0, 1], or where a row of them should sum to 1 and does not within 1e-6.
    """

    frame: pd.DataFrame
    multi_label: bool = False

    def __post_init__(self) -> None:
        text = text_columns(self.multi_label)
        expected = [*text, *(PROBABILITY + name for name in self.class_names)]
        if list(self.frame.columns) != expected or not self.class_names:
            raise DataGateError(
                f"A predictions table has the columns {list(self.frame.columns)}.",
                why="Its readers rely on every column and on the order of the classes.",
                cure=f"Give it {text} and then one {PROBABILITY}<class> per class, nothing else.",
            )
        p = self.probabilities
        good = np.all((p >= 0) & (p <= 1), axis=1)
        if not self.multi_label:
            good &= np.abs(p.sum(axis=1) - 1) <= 1e-6
        if not good.all():
            raise ModelGateError(
                f"{int((~good).sum())} of {len(p)} predictions are no "
                f"{'probabilities' if self.multi_label else 'probability distribution'}.",
                why="A model whose training diverged would otherwise be measured as if it had answered.",
                cure="Look at the learning curve; train again with a lower learning rate.",
            )

    @classmethod
    def of(
        cls,
        rows: pd.DataFrame,
        probabilities: NDArray[np.float64],
        class_names: Sequence[str],
        *,
        multi_label: bool = False,
    ) -> Self:
        """Join catalog rows with the (n, K) probabilities of the same images in the same order.

        rows: at least the text columns; others are left behind. The result is sorted by image_id.
        """
        frame = rows.loc[:, text_columns(multi_label)].reset_index(drop=True).astype("str")
        for k, name in enumerate(class_names):
            frame[PROBABILITY + name] = probabilities[:, k].astype(np.float64)
        return cls(frame.sort_values("image_id", kind="stable").reset_index(drop=True), multi_label)

    @property
    def class_names(self) -> list[str]:
        return [c.removeprefix(PROBABILITY) for c in self.frame.columns if c.startswith(PROBABILITY)]

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """(n, K) in the order of class_names."""
        return self.frame[[PROBABILITY + name for name in self.class_names]].to_numpy(np.float64)

    @property
    def truth(self) -> NDArray[np.int8]:
        """(n, K) 1 the class is there, 0 it is not, -1 unknown. Raises DataGateError where a label names no class."""
        labels = self.frame["label"]
        unknown = self.frame[UNKNOWN] if self.multi_label else pd.Series("", index=labels.index)
        return truth_table(labels, unknown, self.class_names, multi_label=self.multi_label)

    @property
    def labels(self) -> NDArray[np.int64]:
        """(n,) class indices of the true labels.

        Raises DataGateError where a label is no class of these or several classes may be true at once.
        """
        if self.multi_label:
            raise DataGateError(
                "These predictions have no single label per image: several classes may be true at once.",
                why="Taking one of them would call the others wrong.",
                cure="Read `truth` instead.",
            )
        found: NDArray[np.int64] = self.truth.argmax(axis=1)
        return found

    def of_split(self, split: str) -> Predictions:
        """The rows of one split."""
        return Predictions(self.frame[self.frame["split"] == split].reset_index(drop=True), self.multi_label)

    def content_hash(self) -> str:
        """sha256 over all cells: equal exactly when two tables say the same of the same images in order."""
        digest = hashlib.sha256(f"predictions-{SCHEMA_VERSION}-{self.multi_label}".encode())
        for name in self.frame.columns:
            values = self.frame[name]
            cells = values.map(float.hex) if name.startswith(PROBABILITY) else values.map(str)
            digest.update(b"\x1e" + name.encode() + b"\x1f")
            digest.update("\x1f".join(cells).encode())
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Write parquet with the schema version inside; a file with the final name is complete."""
        table = pa.Table.from_pandas(self.frame, preserve_index=False)
        kind = "multi-label" if self.multi_label else "single-label"
        table = table.replace_schema_metadata({"lungline_predictions": str(SCHEMA_VERSION), "lungline_kind": kind})
        part = path.with_name(path.name + ".part")
        pq.write_table(table, part)
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read predictions written by `save`. Raises DataGateError for another schema version."""
        table = pq.read_table(path)
        metadata = table.schema.metadata or {}
        version = metadata.get(b"lungline_predictions", b"?").decode()
        if version != str(SCHEMA_VERSION):
            raise DataGateError(
                f"{path.name} has predictions schema version {version}; this program reads {SCHEMA_VERSION}.",
                why="Columns may have changed their meaning between versions.",
                cure="Run the training or scoring that wrote it again.",
            )
        multi_label = metadata.get(b"lungline_kind") == b"multi-label"
        return cls(table.to_pandas().astype(dict.fromkeys(text_columns(multi_label), "str")), multi_label)


def text_columns(multi_label: bool) -> list[str]:
    """The columns before the probabilities."""
    return [*COLUMNS, UNKNOWN] if multi_label else list(COLUMNS)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put the model into eval mode and afterwards every module back into the mode it had.

    Module by module, because a fine-tuned net may train while its frozen batch norms stay in eval mode.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def sealed_probabilities(
    model: nn.Module,
    spec: BundleSpec,
    images: NDArray[np.uint8],
    rows: NDArray[np.int64],
    batch_size: int = 64,
) -> NDArray[np.float64]:
    """(n, K) probabilities as the bundle's thresholds read them: its preprocessing, crops and temperature.

    model: the bundle's network, on any device; the rest as in `predict_probabilities`.
    """
    return predict_probabilities(
        model,
        images,
        rows,
        spec.preprocessing,
        batch_size=batch_size,
        output=spec.output,
        temperature=spec.temperature,
        test_time_crop=spec.test_time_crop,
    )


def predict_probabilities(
    model: nn.Module,
    images: NDArray[np.uint8],
    rows: NDArray[np.int64],
    preprocessing: Preprocessing,
    batch_size: int = 64,
    output: Output = "softmax",
    temperature: float = 1.0,
    test_time_crop: float | None = None,
) -> NDArray[np.float64]:
    """Probabilities (n, K) of the images at `rows`, in the order of `rows`; output says what the logits mean.

    temperature: what the logits are divided by, as frozen with the model; 1 changes nothing. test_time_crop: share of
    the input's side in ten crops whose logits are averaged; None shows the network the image whole.
    images: (N, H, W) uint8, usually the image store's memory map; gathered in store order so that a disk is
    read forwards. The model runs where its weights are, in float32 and channels_last (its weights are brought
    into that memory format, which changes no value, so that the result does not depend on the format it came
    in); probabilities are float64. Raises ModelGateError where an output is not finite.
    """
    import torch

    device = next(model.parameters()).device
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    order = np.argsort(rows, kind="stable")
    batches: list[NDArray[np.float64]] = []
    with evaluating(model), torch.inference_mode():
        for start in range(0, len(order), batch_size):
            batch = images[rows[order[start : start + batch_size]]]
            inputs = preprocessing.apply(batch, device=device).contiguous(memory_format=torch.channels_last)
            if test_time_crop is None:
                answers = model(inputs)
            else:
                answers = ten_crop(model, inputs, crop_side(inputs.shape[-1], test_time_crop))
            batches.append(answers.float().cpu().double().numpy())
    if not batches:
        return np.empty((0, 0))
    logits = np.concatenate(batches)
    if not np.isfinite(logits).all():
        raise ModelGateError(
            "The model answers some images with numbers that are not finite.",
            why="A model whose training diverged has no probabilities to be measured by.",
            cure="Look at the learning curve; train again with a lower learning rate.",
        )
    # In the same two steps as where the thresholds were chosen, so that an image on a threshold stays on it.
    in_store_order = tempered(to_probabilities(logits, output), temperature, output)
    probabilities = np.empty_like(in_store_order)
    probabilities[order] = in_store_order
    return probabilities
