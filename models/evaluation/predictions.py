"""Predictions: what a model said of each image, next to what is true of it.

Importing this module does not import torch; only `predict_probabilities` needs it.
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

if TYPE_CHECKING:
    from torch import nn

    from models.preprocessing import Preprocessing

SCHEMA_VERSION = 1
COLUMNS = ("image_id", "group_id", "patient", "source", "split", "label")  # text; as in the Catalog
PROBABILITY = "p_"  # + class name: float64 in [0, 1], one column per class in output order


@dataclass(frozen=True, slots=True)
class Predictions:
    """One row per image: COLUMNS, then one probability column per class in the model's output order.

    Raises DataGateError where columns are missing or unknown, ModelGateError where a row of probabilities is
    not finite, not in [0, 1] or does not sum to 1 within 1e-6.
    """

    frame: pd.DataFrame

    def __post_init__(self) -> None:
        expected = [*COLUMNS, *(PROBABILITY + name for name in self.class_names)]
        if list(self.frame.columns) != expected or not self.class_names:
            raise DataGateError(
                f"A predictions table has the columns {list(self.frame.columns)}.",
                why="Its readers rely on every column and on the order of the classes.",
                cure=f"Give it {list(COLUMNS)} and then one {PROBABILITY}<class> per class, nothing else.",
            )
        p = self.probabilities
        bad = ~np.all((p >= 0) & (p <= 1), axis=1) | ~(np.abs(p.sum(axis=1) - 1) <= 1e-6)
        if bad.any():
            raise ModelGateError(
                f"{int(bad.sum())} of {len(p)} predictions are no probability distribution.",
                why="A model whose training diverged would otherwise be measured as if it had answered.",
                cure="Look at the learning curve; train again with a lower learning rate.",
            )

    @classmethod
    def of(cls, rows: pd.DataFrame, probabilities: NDArray[np.float64], class_names: Sequence[str]) -> Self:
        """Join catalog rows with the (n, K) probabilities of the same images in the same order.

        rows: at least COLUMNS; others are left behind. The result is sorted by image_id.
        """
        frame = rows.loc[:, list(COLUMNS)].reset_index(drop=True).astype("str")
        for k, name in enumerate(class_names):
            frame[PROBABILITY + name] = probabilities[:, k].astype(np.float64)
        return cls(frame.sort_values("image_id", kind="stable").reset_index(drop=True))

    @property
    def class_names(self) -> list[str]:
        return [c.removeprefix(PROBABILITY) for c in self.frame.columns if c.startswith(PROBABILITY)]

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """(n, K) in the order of class_names."""
        return self.frame[[PROBABILITY + name for name in self.class_names]].to_numpy(np.float64)

    @property
    def labels(self) -> NDArray[np.int64]:
        """(n,) class indices of the true labels. Raises DataGateError where a label is no class of these."""
        index = pd.Index(self.class_names).get_indexer(pd.Index(self.frame["label"]))
        if (index < 0).any():
            strange = sorted(set(self.frame["label"][index < 0]))
            raise DataGateError(
                f"{int((index < 0).sum())} predictions carry labels the model does not know: {strange[:5]}.",
                why="They can be neither right nor wrong, so every measure would be off.",
                cure=f"Keep only images labelled as one of {self.class_names}.",
            )
        return index.astype(np.int64)

    def of_split(self, split: str) -> Predictions:
        """The rows of one split."""
        return Predictions(self.frame[self.frame["split"] == split].reset_index(drop=True))

    def content_hash(self) -> str:
        """sha256 over all cells: equal exactly when two tables say the same of the same images in order."""
        digest = hashlib.sha256(f"predictions-{SCHEMA_VERSION}".encode())
        for name in self.frame.columns:
            values = self.frame[name]
            cells = values.map(float.hex) if name.startswith(PROBABILITY) else values.map(str)
            digest.update(b"\x1e" + name.encode() + b"\x1f")
            digest.update("\x1f".join(cells).encode())
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Write parquet with the schema version inside; a file with the final name is complete."""
        table = pa.Table.from_pandas(self.frame, preserve_index=False)
        table = table.replace_schema_metadata({"lungline_predictions": str(SCHEMA_VERSION)})
        part = path.with_name(path.name + ".part")
        pq.write_table(table, part)
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read predictions written by `save`. Raises DataGateError for another schema version."""
        table = pq.read_table(path)
        version = (table.schema.metadata or {}).get(b"lungline_predictions", b"?").decode()
        if version != str(SCHEMA_VERSION):
            raise DataGateError(
                f"{path.name} has predictions schema version {version}; this program reads {SCHEMA_VERSION}.",
                why="Columns may have changed their meaning between versions.",
                cure="Run the training or scoring that wrote it again.",
            )
        return cls(table.to_pandas().astype(dict.fromkeys(COLUMNS, "str")))


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


def predict_probabilities(
    model: nn.Module,
    images: NDArray[np.uint8],
    rows: NDArray[np.int64],
    preprocessing: Preprocessing,
    batch_size: int = 64,
) -> NDArray[np.float64]:
    """Softmax probabilities (n, K) of the images at `rows`, in the order of `rows`.

    images: (N, H, W) uint8, usually the image store's memory map; gathered in store order so that a disk is
    read forwards. The model runs where its weights are, in float32 and channels_last (its weights are brought
    into that memory format, which changes no value, so that the result does not depend on the format it came
    in); the softmax is float64. Raises ModelGateError where an output is not finite.
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
            logits = model(inputs).float().cpu().double()
            batches.append(torch.softmax(logits, dim=1).numpy())
    in_store_order = np.concatenate(batches) if batches else np.empty((0, 0))
    if not np.isfinite(in_store_order).all():
        raise ModelGateError(
            "The model answers some images with numbers that are not finite.",
            why="A model whose training diverged has no probabilities to be measured by.",
            cure="Look at the learning curve; train again with a lower learning rate.",
        )
    probabilities = np.empty_like(in_store_order)
    probabilities[order] = in_store_order
    return probabilities
