"""The audit's controls: it must accuse a network where the border gives the class away, and clear an honest one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from timm.models import register_model
from timm.models.resnet import BasicBlock, ResNet

from data_contracts.catalog import Catalog
from data_contracts.identity import IdentitySettings, assign_groups
from data_contracts.image_store import ImageStore, ImageStoreSettings, build_image_store
from data_contracts.labels import assign_labels
from data_contracts.ontology import task_named
from data_contracts.sources import merge
from data_contracts.sources.phantom import PhantomSettings, ShortcutKind, ShortcutSettings, write_phantom_datasets
from data_contracts.splits import SplitSettings, assign_splits
from models.audit.candidate import audit_candidate
from models.audit.descriptions import DESCRIPTIONS
from models.audit.results import AuditReport
from models.audit.settings import AuditSettings
from models.evaluation.candidate import evaluate_candidate
from models.evaluation.predictions import Predictions
from models.evaluation.settings import EvaluationSettings
from models.registry.bundle import ModelBundle
from models.training.augmentation_settings import AugmentationSettings
from models.training.candidate import train_candidate
from models.training.settings import ArchitectureSettings, TrainingSettings

SIZE = 64
SOURCE, TASK = "covid-pneumonia-normal", "covid-pneumonia-normal"
Audited = tuple[ModelBundle, ImageStore, Catalog, Predictions, Path]


class WindowOnTheLungs(ResNet):
    """A small ResNet that sees neither border nor upper corners, so that it cannot learn from them."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images[..., 10:56, 6:58])


@register_model
def window_on_the_lungs(pretrained: bool = False, **options: Any) -> WindowOnTheLungs:
    """timm's entry point."""
    for name in ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"):  # about weights, of which it has none
        options.pop(name, None)
    return WindowOnTheLungs(
        BasicBlock, [1, 1, 1, 1], channels=(32, 48, 48, 96), stem_width=16, stem_type="deep", **options
    )


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Nets this small only lose by waiting for threads on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def audited(folder: Path, shortcut: ShortcutKind, images: int, architecture: str, epochs: int) -> Audited:
    """One source, so that only the picture can give a class away; the shortcut, if any, follows the disease."""
    marks = ShortcutSettings(kind=shortcut, follows="disease")
    write_phantom_datasets(
        folder / "raw", PhantomSettings(datasets=(SOURCE,), images=images, size=SIZE, shortcut=marks)
    )
    offered, _ = merge([SOURCE], folder / "raw")
    store = build_image_store(offered, folder / "raw", ImageStoreSettings(size=SIZE), folder / "stores")
    labelled = assign_labels(assign_groups(store.catalog, store.images, IdentitySettings()), task_named(TASK))
    catalog = assign_splits(labelled, SplitSettings(train=0.5, val=0.25, test=0.25))
    shaped_by = {
        "name": "control",
        "task": TASK,
        "training": TrainingSettings(epochs=epochs, batch_size=16, learning_rate=2e-3).model_dump(mode="json"),
        "architecture": ArchitectureSettings(name=architecture).model_dump(mode="json"),
        "augmentation": AugmentationSettings(
            rotation_degrees=8, horizontal_flip=False, zoom=0.08, shift=0.04, brightness=0.05, contrast=0.1
        ).model_dump(mode="json"),
        "evaluation": {},
    }
    bundle = train_candidate(store, catalog, shaped_by, folder / "bundle", lambda *_: None)
    predictions, _ = evaluate_candidate(bundle, store, catalog, EvaluationSettings(bootstrap_resamples=100))
    return bundle, store, catalog, predictions, folder / "raw"


def audit(of: Audited, **settings: Any) -> AuditReport:
    bundle, store, catalog, predictions, data_dir = of
    chosen = AuditSettings(**{"bootstrap_resamples": 300, **settings})
    return audit_candidate(bundle, store, catalog, predictions, chosen, data_dir)


@pytest.fixture(scope="module")
def with_border(tmp_path_factory: pytest.TempPathFactory) -> Audited:
    return audited(tmp_path_factory.mktemp("border"), ShortcutKind.BORDER, 200, "test_resnet", 6)


@pytest.fixture(scope="module")
def unconfounded(tmp_path_factory: pytest.TempPathFactory) -> AuditReport:
    folder = tmp_path_factory.mktemp("honest")
    return audit(audited(folder, ShortcutKind.NONE, 400, "window_on_the_lungs", 20))


def test_a_border_that_follows_the_class_fails(with_border: Audited) -> None:
    report = audit(with_border)
    failed = {item.name for item in report.items if item.verdict == "fail"}
    assert report.verdict == "fail"
    assert {"border_only", "centre_black", "lungs_removed"} <= failed


def test_an_honest_network_on_unconfounded_images_passes(unconfounded: AuditReport) -> None:
    for i in unconfounded.items: print(i.name, i.verdict, i.estimate, i.also, i.reason)
    assert unconfounded.verdict == "pass"


if __name__ == "__main__":
    raise SystemExit(0)
