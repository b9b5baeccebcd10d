"""Stops a training whose loss or gradient is no longer finite, and says which images did it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import torch

from data_contracts.errors import ModelGateError
from models.training.batches import Batch
from models.training.step import StepMeasures

INVALID_BATCH = "invalid_batch.json"
# Asking a GPU for a number stops it; once in so many steps costs nothing that can be measured.
_GPU_STEPS = 16
_NAMED = 8


@dataclass(slots=True)
class LossWatch:
    """Looks at the steps of one epoch, each of them on a CPU and some at a time on a GPU, where waiting costs.

    folder: where the batch that broke is written, None for nowhere.
    """

    epoch: int
    device: torch.device
    folder: Path | None = None
    _unseen: list[tuple[int, Batch, StepMeasures]] = field(default_factory=list)

    def add(self, number: int, batch: Batch, measures: StepMeasures) -> None:
        """Take note of a step; number: of the batch in the epoch, from 0. Raises as `check` does."""
        self._unseen.append((number, batch, measures))
        if len(self._unseen) >= (_GPU_STEPS if self.device.type == "cuda" else 1):
            self.check()

    def check(self) -> None:
        """Raise ModelGateError naming the first batch whose loss or gradient was not finite."""
        if not self._unseen:
            return
        finite = (
            torch.isfinite(torch.stack([measures.sums for _, _, measures in self._unseen])).all(dim=1).tolist()
        )
        for fine, (number, batch, measures) in zip(finite, self._unseen, strict=True):
            if not fine:
                raise self._stop(number, batch, measures)
        self._unseen.clear()

    def _stop(self, number: int, batch: Batch, measures: StepMeasures) -> ModelGateError:
        loss, gradient = measures.sums[3:].tolist()
        losses = measures.per_image.tolist()
        what = "gradient" if torch.isfinite(measures.sums[3]) else "loss"
        written = ""
        if self.folder is not None:
            content = {
                "epoch": self.epoch,
                "batch": number + 1,
                "not_finite": what,
                "loss": str(loss),
                "gradient_norm": str(gradient),
                "images": [
                    {"image_id": str(image_id), "store_row": int(row), "loss": str(value)}
                    for image_id, row, value in zip(batch.image_ids, batch.rows, losses, strict=True)
                ],
            }
            written = _write(self.folder / INVALID_BATCH, content)
        named = [f"{image_id[:12]}…" for image_id in batch.image_ids[:_NAMED] if image_id]
        images = f" The first images: {', '.join(named)}." if named else ""
        return ModelGateError(
            f"The training {what} became {gradient if what == 'gradient' else loss} in epoch {self.epoch}, in the "
            f"batch of store rows {', '.join(map(str, batch.rows))}.{images}{written}",
            why="The weights are spoilt from that batch on.",
            cure="Look at these images; if they are sound, lower learning_rate or set `precision: fp32`.",
        )


def _write(path: Path, content: object) -> str:
    """A sentence on where the file lies, or why it does not."""
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        return f" {path} could not be written: {error.strerror}."
    return f" All of them with their losses: {path}."
