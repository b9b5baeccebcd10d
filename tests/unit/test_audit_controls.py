"""The audit's controls: it must accuse a network where the border gives the class away, and clear an honest one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from timm.models import register_model
from torch import nn

from data_contracts.catalog import Catalog
from data_contracts.errors import ModelGateError
from data_contracts.identity import IdentitySettings, assign_groups
from data_contracts.image_store import ImageStore, ImageStoreSettings, build_image_store
from data_contracts.labels import assign_labels
from data_contracts.ontology import task_named
from data_contracts.sources import merge
from data_contracts.sources.phantom import PhantomSettings, ShortcutKind, ShortcutSettings, write_phantom_datasets
from data_contracts.splits import SplitSettings, assign_splits
from models.audit.candidate import audit_candidate
from models.audit.descriptions import DESCRIPTIONS
from models.audit.embeddings import embed
from models.audit.results import REQUIRED, AuditReport
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
BRIEFLY = {"epochs": 5, "batch_size": 16, "learning_rate": 3e-3, "ema_decay": 0.95}
# So long, so gently and with so much decay that the network is steady as well as good.
THOROUGHLY = {"epochs": 40, "batch_size": 32, "learning_rate": 4e-3, "ema_decay": 0.98, "weight_decay": 0.1}
Audited = tuple[ModelBundle, ImageStore, Catalog, Predictions, Path]


class WindowOnTheLungs(nn.Module):
    """A small network that sees neither border nor upper corners, so that it cannot learn from them.

    It averages where others take strides or maxima, so that turning an image a little turns its answer little.
    """

    def __init__(self, num_classes: int, in_chans: int = 1, widths: tuple[int, ...] = (16, 32, 64, 64)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, width in pairwise((in_chans, *widths)):
            layers += [nn.AvgPool2d(2), nn.Conv2d(before, width, 3, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        self.features = nn.Sequential(*layers)
        self.fc = nn.Linear(widths[-1], num_classes)
        self.feature_info = [{"module": "features", "num_chs": widths[-1], "reduction": 2 ** len(widths)}]

    def get_classifier(self) -> nn.Linear:
        return self.fc

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.fc(self.features(images[..., 10:56, 6:58]).mean(dim=(2, 3)))


@register_model
def window_on_the_lungs(pretrained: bool = False, **options: Any) -> WindowOnTheLungs:
    """timm's entry point."""
    return WindowOnTheLungs(options["num_classes"], options["in_chans"])


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Nets this small only lose by waiting for threads on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def audited(folder: Path, shortcut: ShortcutKind, images: int, architecture: str, **training: Any) -> Audited:
    """One source, so that only the picture can give a class away; the shortcut, if any, follows the disease."""
    marks = ShortcutSettings(kind=shortcut, follows="disease")
    phantom = PhantomSettings(datasets=(SOURCE,), images=images, size=SIZE, shortcut=marks)
    write_phantom_datasets(folder / "raw", phantom)
    offered, _ = merge([SOURCE], folder / "raw")
    store = build_image_store(offered, folder / "raw", ImageStoreSettings(size=SIZE), folder / "stores")
    labelled = assign_labels(assign_groups(store.catalog, store.images, IdentitySettings()), task_named(TASK))
    catalog = assign_splits(labelled, SplitSettings(train=0.6, val=0.2, test=0.2))
    small_changes = {"rotation_degrees": 15, "horizontal_flip": False, "brightness": 0.05, "contrast": 0.1}
    shaped_by = {
        "name": "control",
        "task": TASK,
        "training": TrainingSettings(**training).model_dump(mode="json"),
        "architecture": ArchitectureSettings(name=architecture).model_dump(mode="json"),
        "augmentation": AugmentationSettings(**small_changes).model_dump(mode="json"),
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
    return audited(tmp_path_factory.mktemp("border"), ShortcutKind.BORDER, 240, "test_resnet", **BRIEFLY)


def test_a_border_that_follows_the_class_fails(with_border: Audited) -> None:
    report = audit(with_border)
    failed = {item.name for item in report.items if item.verdict == "fail"}
    assert report.verdict == "fail"
    assert {"border_only", "centre_black", "lungs_removed"} <= failed
    assert report.item("border_only").estimate.value == pytest.approx(1, abs=0.02)


def test_an_honest_network_on_unconfounded_images_passes(tmp_path: Path) -> None:
    report = audit(audited(tmp_path, ShortcutKind.NONE, 1000, "window_on_the_lungs", **THOROUGHLY))
    assert {name: report.item(name).verdict for name in REQUIRED} == dict.fromkeys(REQUIRED, "pass")
    assert report.verdict == "pass"
    model = report.item("border_only").also["macro AUC of the model"]
    assert model.low is not None
    assert model.low > 0.9  # it has learned something that could have been a shortcut


def test_what_one_source_without_ages_cannot_show_is_not_passed(with_border: Audited) -> None:
    report = audit(with_border, changed_images=50)
    missing = [item for item in report.items if item.verdict == "not evaluated"]
    assert [item.name for item in missing] == ["association", "source_probe", "paediatric_probe", "source_swap"]
    assert all(item.reason and item.estimate.value is None for item in missing)
    assert any("Not evaluated" in statement for statement in report.statements)
    assert [item.name for item in report.items] == list(DESCRIPTIONS)


def test_the_same_inputs_give_the_same_report(with_border: Audited) -> None:
    first, second = (audit(with_border, changed_images=50, seed=3) for _ in range(2))
    assert first.model_dump_json() == second.model_dump_json()


def test_a_handful_of_images_is_no_evidence(with_border: Audited) -> None:
    bundle, store, catalog, predictions, data_dir = with_border
    few = Predictions(predictions.frame.head(5))
    report = audit((bundle, store, catalog, few, data_dir))
    assert (report.verdict, report.n) == ("not evaluated", len(few.frame))
    assert {item.verdict for item in report.items} == {"not evaluated"}


def test_predictions_of_another_task_are_refused(with_border: Audited) -> None:
    bundle, store, catalog, predictions, data_dir = with_border
    renamed = Predictions(predictions.frame.rename(columns={"p_pneumonia": "p_bacterial"}))
    with pytest.raises(ModelGateError, match="bacterial"):
        audit((bundle, store, catalog, renamed, data_dir))


def test_embeddings_follow_the_order_of_the_rows_and_are_averaged_over_cells(with_border: Audited) -> None:
    bundle, store, *_ = with_border
    rows = np.arange(70)
    forwards, backwards = embed(bundle, store.images, rows), embed(bundle, store.images, rows[::-1])
    assert forwards.shape == (70, 96)
    assert forwards.dtype == np.float32
    np.testing.assert_allclose(forwards, backwards[::-1], atol=1e-5)
