"""Features of a frozen trunk: what they are equal to, when they are computed, and when they are not used."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from data_contracts import disk
from data_contracts.errors import EnvironmentProblem
from models.architectures import build
from models.architectures.trunk import trunk_and_head
from models.preprocessing import Preprocessing
from models.training import feature_cache, frozen_features
from models.training.augmentation import augment
from models.training.augmentation_settings import AugmentationSettings
from models.training.batches import LabelledRows, epoch_batches
from models.training.device import Compute
from models.training.epoch import TrainingData
from models.training.feature_cache import FeatureCache
from models.training.feeding import Feed
from models.training.frozen_features import FrozenFeatures
from models.training.loop import TrainedClassifier, train_classifier
from models.training.settings import ArchitectureSettings, TrainingSettings

SIZE, IMAGES = 32, 44
CPU = Compute(torch.device("cpu"), "fp32")
HALF = Preprocessing(size=SIZE, mode="half")
UNCHANGED = AugmentationSettings(
    rotation_degrees=0, horizontal_flip=False, zoom=0, shift=0, brightness=0, contrast=0
)
CHANGED = AugmentationSettings(rotation_degrees=10)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    drawn = np.random.default_rng(0).integers(0, 90, (IMAGES, SIZE, SIZE)).astype(np.uint8)
    for row in range(IMAGES):
        drawn[row, slice(0, 12) if row % 2 else slice(20, SIZE)] += 60
    return drawn


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights, so that a trunk may be frozen."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "resnet10t.pt"
    torch.save(build("resnet10t", num_classes=7, img_size=SIZE).state_dict(), path)
    return path


def rows(*numbers: int) -> LabelledRows:
    index = np.array(numbers)
    return LabelledRows.of_labels(index, index % 2, 2)


# In no particular order, as a catalog may give them.
TRAIN, VAL = rows(*range(31, -1, -1)), rows(*range(32, IMAGES))


def fit(images: NDArray[np.uint8], weights: Path, **changes: Any) -> TrainedClassifier:
    """changes: settings of training where they are named as these are, else arguments of train_classifier."""
    settings: dict[str, Any] = {
        "init": f"file:{weights}",
        "epochs": 2,
        "freeze_epochs": 2,
        "batch_size": 8,
        "learning_rate": 1e-2,
        "precision": "fp32",
    }
    settings |= {name: changes.pop(name) for name in [*changes] if name in TrainingSettings.model_fields}
    arguments: dict[str, Any] = {
        "architecture": ArchitectureSettings(name="resnet10t", options={"drop_rate": 0.3}),
        "classes": ["low", "high"],
        "images": images,
        "train": TRAIN,
        "val": VAL,
        "settings": TrainingSettings.model_validate(settings),
        "augmentation": UNCHANGED,
        "preprocessing": HALF,
    }
    return train_classifier(**{**arguments, **changes})


def computed(
    images: NDArray[np.uint8], model: nn.Module, views: int, cache: FeatureCache | None = None, **changes: Any
) -> tuple[FrozenFeatures, FrozenFeatures]:
    data = TrainingData(Feed(images, CPU.device), TRAIN, changes.pop("augmentation", CHANGED), HALF)
    return frozen_features.frozen_features(
        model, data, VAL, HALF, CPU, views=views, seed=changes.pop("seed", 0), cache=cache, **changes
    )


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return build("resnet10t", num_classes=2, img_size=SIZE)


@pytest.mark.parametrize("sampling", ["natural", "class_balanced"])
def test_a_head_trained_on_features_is_the_one_trained_on_images(
    images: NDArray[np.uint8], weights: Path, sampling: str
) -> None:
    over_images = fit(images, weights, feature_views=0, sampling=sampling)
    on_features = fit(images, weights, feature_views=1, sampling=sampling)

    expected, found = over_images.model.state_dict(), on_features.model.state_dict()
    for parameter in expected:
        assert torch.allclose(found[parameter], expected[parameter], atol=1e-4), parameter
    assert np.allclose(on_features.val_probabilities, over_images.val_probabilities, atol=1e-3)
    for one, other in zip(on_features.history.epochs, over_images.history.epochs, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-3)
        assert one.val_loss == pytest.approx(other.val_loss, rel=1e-3)
    assert over_images.history.notes == []
    assert on_features.history.notes[0].endswith(
        "the head learned from every image as it is, without augmentation"
    )


def test_the_trained_model_is_its_head_on_its_trunk_which_kept_its_weights(
    images: NDArray[np.uint8], weights: Path
) -> None:
    trained = fit(images, weights, ema_decay=0.9).model
    trunk, head = trunk_and_head(trained)
    inputs = HALF.apply(images[:4])

    with torch.inference_mode():
        assert torch.equal(head.eval()(trunk(inputs)), trained(inputs))
    before = torch.load(weights, weights_only=True)
    after = trained.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before if not name.startswith(("fc.", "conv1.")))


def test_the_whole_network_learns_from_images_once_it_has_thawed(images: NDArray[np.uint8], weights: Path) -> None:
    thawed = fit(images, weights, epochs=3).history.epochs
    frozen = fit(images, weights, epochs=3, freeze_epochs=3).history.epochs

    assert thawed[:2] == frozen[:2]
    assert thawed[2].val_loss != pytest.approx(frozen[2].val_loss, rel=1e-3)


def test_a_head_that_reads_a_map_gets_the_map(images: NDArray[np.uint8]) -> None:
    model = build("resnet50_flatten", num_classes=2, img_size=SIZE).eval()
    _, val = computed(images, model, views=1)
    (features,) = val.stream([VAL.rows])

    assert features.shape == (len(VAL), 2048, 1, 1)
    with torch.inference_mode():
        logits = trunk_and_head(model)[1](features)
        assert torch.allclose(logits, model(HALF.apply(images[VAL.rows])), atol=1e-5)


def test_views_are_the_image_and_what_augmentation_makes_of_it(
    images: NDArray[np.uint8], model: nn.Module
) -> None:
    train, val = computed(images, model, views=3)
    trunk = trunk_and_head(model)[0].eval()
    some = np.array([3, 17])
    changed = augment(torch.from_numpy(images[some]), some, CHANGED, seed=0, epoch=2)
    with torch.inference_mode():
        expected = {view: trunk(HALF.apply(shown)) for view, shown in ((0, images[some]), (2, changed))}

    assert [view.shape for view in train.views] == [(32, 512)] * 3
    assert len(val.views) == 1
    for view, features in expected.items():
        assert np.allclose(train.views[view][some], features, atol=1e-5)
    assert not np.allclose(train.views[0], train.views[1], atol=1e-2)


def test_an_image_goes_through_its_views_and_a_repeated_one_is_at_another(
    images: NDArray[np.uint8], model: nn.Module
) -> None:
    train, _ = computed(images, model, views=4)
    seen: dict[int, list[int]] = {}
    for epoch in range(1, 5):
        batches = epoch_batches(TRAIN, 8, seed=0, epoch=epoch)
        for batch, inputs in zip(batches, train.inputs(batches, seed=0, epoch=epoch), strict=True):
            for row, features in zip(batch.rows.tolist(), inputs.numpy(), strict=True):
                view = next(v for v in range(4) if np.array_equal(train.views[v][row], features))
                seen.setdefault(row, []).append(view)
    balanced = epoch_batches(rows(0, 1, 3, 5, 7), 10, seed=0, epoch=1, sampling="class_balanced")
    (inputs,) = train.inputs(balanced, seed=0, epoch=1)

    assert all(sorted(views) == [0, 1, 2, 3] for views in seen.values())
    assert len({views[0] for views in seen.values()}) == 4
    repeated = inputs.numpy()[balanced[0].rows == 0]
    assert len(repeated) > 1
    assert len(np.unique(repeated, axis=0)) == len(repeated)


def test_features_are_computed_once_for_all_heads_and_trainings(
    images: NDArray[np.uint8], weights: Path, tmp_path: Path
) -> None:
    cache = FeatureCache(tmp_path / "features", "a" * 64)
    said: list[str] = []
    first = fit(images, weights, features=cache, say=said.append, feature_views=2)
    files = {path.name: path.stat().st_mtime_ns for path in cache.folder.glob("*.npy")}
    other_head = ArchitectureSettings(name="resnet10t", options={"drop_rate": 0.0}, weight_decay=0.3)

    again = fit(images, weights, features=cache, say=said.append, feature_views=2)
    fit(images, weights, features=cache, say=said.append, feature_views=1, architecture=other_head, epochs=4)

    reads = [line for line in said if "reads" in line]
    assert reads == [
        "the frozen trunk reads 32 images once, view 0",
        "the frozen trunk reads 32 images once, view 1",
        "the frozen trunk reads 12 images once, view 0",
    ]
    assert {path.name for path in cache.folder.glob("*.npy")} == set(files)
    assert not list(cache.folder.glob("*.part"))
    in_memory = fit(images, weights, feature_views=2)
    for trained in (again, in_memory):
        assert trained.history == first.history
        assert np.array_equal(trained.val_probabilities, first.val_probabilities)


@pytest.mark.parametrize("changed", ["weights", "preprocessing", "augmentation", "seed", "store", "rows"])
def test_other_features_are_not_taken_for_these(
    images: NDArray[np.uint8], model: nn.Module, tmp_path: Path, changed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed(images, model, 2, FeatureCache(tmp_path, "a" * 64))
    before = len(list(tmp_path.glob("*.npy")))
    changes: dict[str, Any] = {}
    store = "a" * 64
    if changed == "weights":
        next(model.parameters()).data += 1e-3
    elif changed == "preprocessing":
        monkeypatch.setattr("tests.unit.test_frozen_features.HALF", Preprocessing(size=SIZE, mode="unit"))
    elif changed == "augmentation":
        changes["augmentation"] = AugmentationSettings(rotation_degrees=11)
    elif changed == "seed":
        changes["seed"] = 1
    elif changed == "store":
        store = "b" * 64
    else:
        monkeypatch.setattr("tests.unit.test_frozen_features.TRAIN", rows(*range(31)))

    computed(images, model, 2, FeatureCache(tmp_path, store), **changes)

    # View 0 knows neither augmentation nor seed, and validation has rows of its own.
    anew = {"weights": 3, "preprocessing": 3, "augmentation": 1, "seed": 1, "store": 3, "rows": 2}[changed]
    assert len(list(tmp_path.glob("*.npy"))) == before + anew


def test_trunks_of_the_same_weights_and_other_settings_have_features_of_their_own(
    images: NDArray[np.uint8], tmp_path: Path
) -> None:
    small = {"depth": 1, "embed_dim": 48, "num_heads": 1}
    found = []
    for pool in ("avg", "max"):
        torch.manual_seed(0)
        model = build("vit_tiny_patch16_224", num_classes=2, img_size=SIZE, options={**small, "global_pool": pool})
        found.append(computed(images, model, 1, FeatureCache(tmp_path, "a" * 64))[0].views[0])

    assert not np.allclose(found[0], found[1], atol=1e-3)


@pytest.mark.parametrize("name", ["resnet50", "resnet50_two_layer", "resnet50_four_layer"])
def test_networks_that_differ_in_their_head_have_the_same_trunk(name: str) -> None:
    torch.manual_seed(0)
    plain = build("resnet50", num_classes=2, img_size=SIZE)
    model = build(name, num_classes=3, img_size=SIZE, options={"drop_rate": 0.2})
    model.load_state_dict(
        {key: value for key, value in plain.state_dict().items() if not key.startswith("fc.")}, strict=False
    )

    trunks = [trunk_and_head(network)[0] for network in (plain, model)]
    assert frozen_features._identity(trunks[0], CPU) == frozen_features._identity(trunks[1], CPU)


def test_a_file_cut_short_is_computed_again(images: NDArray[np.uint8], model: nn.Module, tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, "a" * 64)
    expected = computed(images, model, 1, cache)[0].views[0].copy()
    for path in tmp_path.glob("*.npy"):
        path.write_bytes(path.read_bytes()[:-100])

    assert np.array_equal(computed(images, model, 1, cache)[0].views[0], expected)


def test_a_disk_without_room_is_named_and_leaves_nothing(
    images: NDArray[np.uint8], model: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "SPARE_BYTES", 1 << 60)

    with pytest.raises(EnvironmentProblem, match="feature_views"):
        computed(images, model, 1, FeatureCache(tmp_path, "a" * 64))
    assert not list(tmp_path.glob("[0-9a-f]*"))


def test_files_that_nobody_reads_are_removed_when_others_are_written(
    images: NDArray[np.uint8], model: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed(images, model, 1, FeatureCache(tmp_path, "a" * 64))
    monkeypatch.setattr(feature_cache, "_KEPT_SECONDS", -1)

    computed(images, model, 1, FeatureCache(tmp_path, "b" * 64))

    assert len(list(tmp_path.glob("*.npy"))) == 1


def test_a_random_trunk_is_never_frozen_and_has_no_features(
    images: NDArray[np.uint8], weights: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    cache = FeatureCache(tmp_path / "features", "a" * 64)

    fit(images, weights, init="random", epochs=1, features=cache)

    assert not cache.folder.exists()
