"""A pod that loses its disk: what a training kept there comes back from the artifact store, or is made again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.training.feature_cache import FeatureCache
from models.training.loop import TrainedClassifier
from steps import training_copies
from steps.remote_folder import RemoteFolder
from steps.training_copies import Copies
from tests.faults.small_training import always_due, fit
from tests.object_store import BUCKET, ObjectStore, artifact_store
from tests.store_door import Door, failing

FEATURES = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)


@pytest.fixture(autouse=True)
def one_thread_and_a_checkpoint_each_epoch(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from models.training import checkpoint

    monkeypatch.setattr(checkpoint, "LARGEST_SHARE", checkpoint.LARGEST_SHARE)  # put back afterwards
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN", checkpoint.SECONDS_BETWEEN)
    always_due()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def copies(store: Door | ObjectStore, name: str) -> Copies:
    return Copies(RemoteFolder(artifact_store(store.address), f"s3://{BUCKET}/{name}"))


def train(disk: Path, kept: Copies, *, evicted_after: int | None = None) -> tuple[TrainedClassifier, list[str]]:
    """As the step does: copies come before training and go after each epoch."""
    said: list[str] = []

    def on_epoch(record: object) -> None:
        kept.keep_all(disk)
        if getattr(record, "epoch", 0) == evicted_after:
            raise KeyboardInterrupt

    kept.fetch_all(disk)
    return fit(disk, on_epoch=on_epoch, say=said.append), said


def numbers(trained: TrainedClassifier) -> NDArray[np.float64]:
    return np.concatenate(
        [
            trained.val_probabilities.ravel(),
            *[v.detach().double().numpy().ravel() for v in trained.model.state_dict().values()],
        ]
    )


def test_f52_a_training_goes_on_on_another_node_and_ends_with_the_same_numbers(
    s3: ObjectStore, tmp_path: Path
) -> None:
    whole, _ = train(tmp_path / "whole", copies(s3, "whole"))
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "first node", copies(s3, "evicted"), evicted_after=2)
    shutil.rmtree(tmp_path / "first node")

    other = copies(s3, "evicted")
    resumed, said = train(tmp_path / "other node", other)
    assert said == ["resumed at epoch 3"]
    assert np.array_equal(numbers(resumed), numbers(whole))
    assert len({Path(name).parent for name in other.remote.sizes()}) == 2  # as many as on the disk
    other.remove_all()
    assert other.remote.sizes() == {}


def test_a_damaged_copy_of_a_checkpoint_is_refused_and_the_one_before_it_is_used(
    s3: ObjectStore, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "first node", copies(s3, "damaged"), evicted_after=2)
    kept = copies(s3, "damaged")
    newest = max(name for name in kept.remote.sizes() if name.endswith("state.safetensors"))
    (tmp_path / "half").write_bytes(b"half of it")
    kept.remote.put(tmp_path / "half", newest)
    _, said = train(tmp_path / "other node", copies(s3, "damaged"))
    assert "is not used" in said[0]
    assert said[-1].startswith("resumed at epoch 2")


def test_a_store_that_fails_never_stops_a_training(
    s3: ObjectStore, door: Door, tmp_path: Path, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(training_copies, "say", lines.append)
    door.fault = lambda request: 503 if "/down/" in request.path or "down" in request.path else 0
    trained, _ = train(tmp_path / "node", copies(door, "down"))
    assert len(trained.history.epochs) == 3
    assert "nothing is taken from" in lines[0]
    assert "could not be copied" in lines[1]


def test_an_older_copy_stays_until_the_newer_one_is_there(
    s3: ObjectStore, door: Door, tmp_path: Path, waits: list[float]
) -> None:
    kept = copies(door, "order")
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "state").write_text(str(number))
        kept.keep_all(tmp_path)
    shutil.rmtree(tmp_path / "1")
    (tmp_path / "3").mkdir()
    (tmp_path / "3" / "state").write_text("3")
    door.fault = failing(100, 503, "PUT", "/state")
    kept.keep_all(tmp_path)
    assert sorted(kept.remote.sizes()) == ["1/state", "2/state"]
    door.fault = lambda request: 0
    kept.keep_all(tmp_path)
    assert sorted(kept.remote.sizes()) == ["2/state", "3/state"]


def test_features_that_one_node_computed_are_fetched_by_another(s3: ObjectStore, tmp_path: Path) -> None:
    asked: list[str] = []

    def computed() -> Iterator[NDArray[np.float32]]:
        asked.append("computed")
        yield FEATURES

    for node in ("one", "other", "one"):
        cache = FeatureCache(tmp_path / node, "a" * 64, copies(s3, "features"))
        assert np.array_equal(cache.get({"trunk": "x"}, len(FEATURES), computed), FEATURES)
    assert asked == ["computed"]


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_features_that_cannot_be_had_are_computed(
    s3: ObjectStore, door: Door, tmp_path: Path, waits: list[float], method: str
) -> None:
    if method == "GET":
        FeatureCache(tmp_path / "one", "b" * 64, copies(s3, method)).get(
            {}, len(FEATURES), lambda: iter([FEATURES])
        )
    door.fault = failing(100, 500, method, ".npy")
    cache = FeatureCache(tmp_path / "other", "b" * 64, copies(door, method))
    assert np.array_equal(cache.get({}, len(FEATURES), lambda: iter([FEATURES])), FEATURES)
    assert not list((tmp_path / "other").glob("*.part"))
