"""What is left of a model elsewhere: the difference with its interval, and reading a bundle on held-out sources."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from statsmodels.stats.proportion import confint_proportions_2indep

from data_contracts.catalog import Catalog
from data_contracts.image_store import ImageStore
from data_contracts.ontology import task_named
from models import architectures
from models.evaluation.candidate import evaluate_candidate
from models.evaluation.external import class_gaps, independent_difference, primary_gap, without_external_images
from models.evaluation.intervals import proportion
from models.evaluation.results import Estimate, Evaluations
from models.evaluation.settings import EvaluationSettings
from models.preprocessing import Preprocessing
from models.registry.bundle import BundleSpec, ModelBundle
from models.training.history import EpochRecord, TrainingHistory

SIZE = 32


def test_the_difference_has_newcombes_published_interval() -> None:
    # Newcombe 1998, Stat Med 17:873, table II, case (a), method 10: 56/70 - 48/80.
    gap = independent_difference(proportion(56, 70, undefined=""), proportion(48, 80, undefined=""))
    assert (gap.value, gap.n, gap.method) == (pytest.approx(0.2), 150, "square-and-add")
    assert (gap.low, gap.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert (gap.low, gap.high) == pytest.approx(
        confint_proportions_2indep(56, 70, 48, 80, method="newcomb"), abs=1e-9
    )


def test_a_difference_of_something_undefined_is_undefined() -> None:
    nothing, half = proportion(0, 0, undefined="no image of this class"), proportion(5, 10, undefined="")
    assert independent_difference(nothing, half).undefined == "no image of this class"
    assert independent_difference(half, nothing).value is None
    point = Estimate(value=1, n=4, method="no interval: all resamples give the same value")
    gap = independent_difference(half, point)
    assert (gap.value, gap.low, gap.high) == (-0.5, None, None)
    assert gap.method.startswith("no interval")


def _catalog(task_name: str, external: bool) -> Catalog:
    """60 images, 20 each of val, test and another source; classes in turn, the last one never external."""
    task = task_named(task_name)
    names = task.class_names
    n = 60 if external else 40
    split = np.repeat(["val", "test", "external"], 20)[:n]
    label = [names[i % (len(names) - (split[i] == "external"))] for i in range(n)]
    return Catalog.of(
        pd.DataFrame(
            {
                "source": np.where(split == "external", "elsewhere", "here"),
                "file": [f"{i:03d}.png" for i in range(n)],
                "image_id": [f"{i:064d}" for i in range(n)],
                "group_id": [f"g{i}" for i in range(n)],
                "row": np.arange(n),
                "label": label,
                "unknown_classes": ["edema" if task.multi_label and i % 7 == 0 else "" for i in range(n)],
                "split": split,
            }
        )
    )


def _images() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(256, size=(60, SIZE, SIZE), dtype=np.uint8)


def _evaluated(tmp_path: Path, task_name: str, output: str, *, external: bool = True) -> Evaluations:
    task = task_named(task_name)
    logits = 1 if output == "binary" else len(task.classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = architectures.build("simple_cnn", num_classes=logits, in_chans=1, img_size=SIZE, options={})
    record = EpochRecord(
        epoch=1, learning_rate=0.1, train_loss=1, val_loss=1, val_macro_auc=None, val_accuracy=0.5
    )
    spec = BundleSpec(
        task=task_name,
        class_names=task.class_names,
        output=output,
        architecture="simple_cnn",
        image_size=SIZE,
        preprocessing=Preprocessing(size=SIZE, mode="half"),
        operating_points={},
        seed=0,
        recipe_name="r",
        recipe={},
        data_hash="d",
        versions={},
    )
    bundle = ModelBundle.write(tmp_path / "b", model, spec, TrainingHistory(epochs=[record], best_epoch=1))
    catalog = _catalog(task_name, external)
    store = ImageStore(tmp_path, _images(), catalog, SIZE, "hash")
    predictions, evaluations = evaluate_candidate(
        bundle, store, catalog, EvaluationSettings(bootstrap_resamples=100)
    )
    assert list(predictions.frame["split"]) == list(catalog.kept["split"])
    assert predictions.multi_label == task.multi_label
    return evaluations


@pytest.mark.parametrize(
    ("task_name", "output", "last"),
    [
        ("covid-pneumonia-normal", "softmax", "Other pneumonia"),
        ("covid-binary", "binary", "COVID-19"),
        ("nih-14", "sigmoid", "Hernia"),
    ],
)
def test_a_bundle_is_read_on_every_split_it_was_not_trained_on(
    tmp_path: Path, task_name: str, output: str, last: str
) -> None:
    evaluations = _evaluated(tmp_path, task_name, output)
    external = evaluations.external
    assert external is not None
    assert [e.split for e in (evaluations.validation, evaluations.test, external)] == ["val", "test", "external"]
    assert (evaluations.test.n, external.n) == (20, 20)
    assert without_external_images(external) == [last]
    gaps = class_gaps(evaluations.test, external)
    assert [one.title for one in gaps] == [c.title for c in external.classes[:-1]]
    assert list(gaps[0].gaps) == ["roc_auc", "sensitivity", "specificity"]
    auc = gaps[0].gaps["roc_auc"]
    if task_name != "covid-binary":  # whose only external class has no negative
        assert auc.difference.value == pytest.approx(auc.external.value - auc.internal.value)
    primary = primary_gap(evaluations.test, external)
    assert (primary.difference.value is None) == (external.primary.value is None)


def test_without_a_held_out_source_there_is_no_external_evaluation(tmp_path: Path) -> None:
    evaluations = _evaluated(tmp_path, "covid-pneumonia-normal", "softmax", external=False)
    assert evaluations.external is None
    assert evaluations.architecture == "simple_cnn"
    assert Evaluations.model_validate_json(evaluations.model_dump_json()) == evaluations
