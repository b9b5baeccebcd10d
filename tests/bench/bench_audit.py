"""Evaluation and shortcut audit of 1,000 images against two training epochs of the run they belong to.

At the usual shares 1,000 validation and test images come with 2,333 training images. CPU time, both sides in the same
run, for two small networks: larger ones train slower still for each image they answer. Run with
`python -m tests.bench.bench_audit`; it exits with 1 where the audit costs more than the training.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from data_contracts.catalog import Catalog
from data_contracts.image_store import ImageStore
from data_contracts.ontology import task_named
from models.audit.candidate import audit_candidate
from models.audit.settings import AuditSettings
from models.evaluation.candidate import evaluate_candidate
from models.evaluation.settings import EvaluationSettings
from models.registry.bundle import ModelBundle
from models.training.augmentation_settings import AugmentationSettings
from models.training.candidate import train_candidate
from models.training.settings import ArchitectureSettings, TrainingSettings
from tests.bench.comparison import Comparison, judge
from tests.bench.timing import cpu_seconds

TASK = "covid-pneumonia-normal"
SIZE = 64
AUDITED = 1000
TRAINING = 2333  # 70 % to the 30 % that are audited
TIMED = 512  # training images behind the time of an epoch


def main() -> int:
    """Measure, print the table, and return the exit status."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        return judge([of_architecture(name, Path(temporary)) for name in ("simple_cnn", "resnet18")])


def of_architecture(name: str, folder: Path) -> Comparison:
    """The time of two epochs is that of three less that of one, so that starting up does not count."""
    timed = pictures(TIMED, 60)
    bundle = train(timed, name, folder / f"{name}-0", 1)

    def trained(epochs: int) -> float:
        return cpu_seconds(lambda: train(timed, name, folder / f"{name}-{epochs}", epochs), repeats=1)

    two_epochs = (trained(3) - trained(1)) * TRAINING / TIMED
    store = pictures(TRAINING, AUDITED)

    def judged() -> None:
        predictions, _ = evaluate_candidate(bundle, store, store.catalog, EvaluationSettings())
        report = audit_candidate(bundle, store, store.catalog, predictions, AuditSettings())
        assert report.n == AUDITED

    seconds = cpu_seconds(judged, repeats=1)
    return Comparison(f"evaluation and audit, {name}", two_epochs / AUDITED, seconds / AUDITED, 1)


def train(store: ImageStore, name: str, folder: Path, epochs: int) -> ModelBundle:
    shaped_by = {
        "name": "bench",
        "task": TASK,
        "training": TrainingSettings(epochs=epochs, early_stopping_patience=None).model_dump(mode="json"),
        "architecture": ArchitectureSettings(name=name).model_dump(mode="json"),
        "augmentation": AugmentationSettings().model_dump(mode="json"),
        "evaluation": {},
    }
    return train_candidate(store, store.catalog, shaped_by, folder, lambda *_: None)


def pictures(training: int, audited: int) -> ImageStore:
    """Noise of three classes and two sources, with ages, so that every test of the battery is made."""
    rng = np.random.default_rng(0)
    n = training + audited
    kind, source = rng.integers(0, 3, n), rng.integers(0, 2, n)
    images = rng.integers(0, 120, (n, SIZE, SIZE)).astype(np.uint8)
    images += (20 * kind[:, None, None]).astype(np.uint8)
    names = np.array(task_named(TASK).class_names)
    frame = pd.DataFrame({"row": np.arange(n), "label": names[kind], "source": np.array(["a", "b"])[source]})
    frame = frame.assign(
        file=[f"{row:05d}.png" for row in range(n)],
        image_id=[f"{row:064x}" for row in range(n)],
        group_id=[f"g{row // 2}" for row in range(n)],
        split=np.where(np.arange(n) < training, "train", np.where(np.arange(n) % 2, "val", "test")),
        nodes=np.where(kind == 1, "no_finding", "covid19"),
        age=np.where(rng.random(n) < 0.3, 8.0, 50.0),
        width=rng.integers(200, 400, n),
        height=300,
        mode="L",
        format="PNG",
    )
    return ImageStore(Path(), images, Catalog.of(frame), SIZE, "bench")


if __name__ == "__main__":
    sys.exit(main())
