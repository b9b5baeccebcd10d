"""What may go wrong while a network is trained: kills, damaged checkpoints, full disks, numbers, memory."""

from __future__ import annotations

import errno
import gc
import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from timm.models import register_model
from torch import nn

from data_contracts.errors import EnvironmentProblem, ModelGateError
from models.training import checkpoint
from models.training.augmentation_settings import AugmentationSettings
from models.training.batches import LabelledRows
from models.training.history import EpochRecord
from models.training.loop import TrainedClassifier
from tests.faults.small_training import KILLED_AT, fit, pictures, rows


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def _always_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "LARGEST_SHARE", 1)
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN", 0)


@pytest.fixture(scope="module")
def undisturbed() -> TrainedClassifier:
    return fit()


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders that killed trainings left behind, by the point they were killed at."""
    folder = tmp_path_factory.mktemp("killed")
    subprocess.run(
        [sys.executable, "-m", "tests.faults.small_training", str(folder)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
        timeout=300,
    )
    return folder


def assert_equal(found: TrainedClassifier, expected: TrainedClassifier) -> None:
    """Bit for bit: the curve, the weights, the probabilities."""
    assert found.history == expected.history
    assert np.array_equal(found.val_probabilities, expected.val_probabilities)
    weights = expected.model.state_dict()
    for name, value in found.model.state_dict().items():
        assert torch.equal(value, weights[name]), name


@pytest.mark.parametrize("point", KILLED_AT)
def test_f23_a_killed_training_resumes_and_ends_with_the_same_numbers(
    killed: Path, undisturbed: TrainedClassifier, point: str
) -> None:
    said: list[str] = []
    epochs: list[EpochRecord] = []

    resumed = fit(killed / point, say=said.append, on_epoch=epochs.append)

    wanted = {"batch": "resumed at epoch 2, after 2 of its batches", "epoch": "resumed at epoch 3"}
    assert len(said) == 1
    assert said[0].startswith(wanted.get(point, "resumed at epoch "))
    assert epochs == resumed.history.epochs
    assert_equal(resumed, undisturbed)


@pytest.fixture
def stopped(tmp_path: Path, _always_due: None) -> Path:
    """The folder of a training that was stopped in its third epoch, with its last two checkpoints."""

    def stop(record: EpochRecord) -> None:
        if record.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, on_epoch=stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0002-0000003", "0003-0000000"]
    return tmp_path


def truncate(path: Path) -> None:
    state = path / checkpoint.STATE
    state.write_bytes(state.read_bytes()[:-100])


def forget_the_manifest(path: Path) -> None:
    (path / "manifest.json").unlink()


def make_older(path: Path) -> None:
    reseal(path, {"format_version": 0})


def give_it_to_another_training(path: Path) -> None:
    facts = json.loads((path / checkpoint.FACTS).read_text())
    reseal(path, {"identity": {**facts["identity"], "data": "0" * 64, "torch": "1.0"}})


def leave_out_tensors(path: Path) -> None:
    reseal(path, {}, lambda name: "exp_avg_sq" not in name)


def reseal(path: Path, changes: dict[str, object], keep: object = None) -> None:
    from safetensors.torch import load_file, save

    facts = json.loads((path / checkpoint.FACTS).read_text()) | changes
    tensors = {name: v for name, v in load_file(path / checkpoint.STATE).items() if keep is None or keep(name)}  # type: ignore[operator]
    for file in path.iterdir():
        file.unlink()
    files = {checkpoint.STATE: save(tensors), checkpoint.FACTS: checkpoint.canonical_json(facts)}
    checkpoint.write_sealed(path, files)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (truncate, "was changed"),
        (forget_the_manifest, "manifest.json is missing"),
        (make_older, "another format"),
        (give_it_to_another_training, "another training; these differ: data, torch"),
        (leave_out_tensors, "exp_avg_sq is missing"),
    ],
)
def test_f24_a_checkpoint_that_cannot_be_trusted_is_refused_and_the_one_before_it_used(
    stopped: Path, undisturbed: TrainedClassifier, damage: object, reason: str
) -> None:
    damage(stopped / "0003-0000000")  # type: ignore[operator]
    said: list[str] = []

    resumed = fit(stopped, say=said.append)

    assert said[0].startswith("checkpoint 0003-0000000 is not used: ")
    assert reason in said[0]
    assert said[1] == "resumed at epoch 2, after 3 of its batches"
    assert_equal(resumed, undisturbed)


def test_f24_with_no_sound_checkpoint_training_starts_again(stopped: Path, undisturbed: TrainedClassifier) -> None:
    for path in stopped.iterdir():
        truncate(path)
    said: list[str] = []

    again = fit(stopped, say=said.append)

    assert len(said) == 2
    assert_equal(again, undisturbed)
    assert len(list(stopped.iterdir())) == checkpoint.KEPT


def test_f24_other_settings_do_not_go_on_from_these_checkpoints(stopped: Path) -> None:
    said: list[str] = []

    fit(stopped, epochs=1, say=said.append)

    assert all("these differ: training" in line for line in said)
    assert len(said) == 2


@pytest.mark.usefixtures("_always_due")
def test_f08_a_full_disk_costs_the_checkpoints_and_not_the_training(
    tmp_path: Path, undisturbed: TrainedClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    said: list[str] = []

    trained = fit(tmp_path / "checkpoints", say=said.append)

    assert len(said) == 1
    assert "No space left on device; the training goes on" in said[0]
    assert list((tmp_path / "checkpoints").iterdir()) == []
    assert_equal(trained, undisturbed)


class LogarithmOfBrightness(nn.Module):
    """Infinite for a black image and for no other; where asked, finite with an infinite gradient."""

    def __init__(self, num_classes: int, gradient_only: bool = False) -> None:
        super().__init__()
        self.scale = nn.Linear(1, num_classes)
        self.gradient_only = gradient_only

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        level = images.mean(dim=(1, 2, 3))[:, None]
        # The square root is finite at 0, its slope is not.
        return (
            self.scale.bias + (level * self.scale.weight[0, 0] ** 2).sqrt()
            if self.gradient_only
            else self.scale(level.log())
        )


@register_model
def fault_logarithm(num_classes: int, gradient_only: bool = False, **_: object) -> LogarithmOfBrightness:
    return LogarithmOfBrightness(num_classes, gradient_only)


@pytest.mark.usefixtures("_always_due")
@pytest.mark.parametrize("gradient_only", [False, True])
def test_f25_a_number_that_is_not_finite_stops_training_and_names_the_images(
    tmp_path: Path, gradient_only: bool
) -> None:
    from models.preprocessing import Preprocessing
    from models.training.settings import ArchitectureSettings

    black = pictures()
    black[20] = 0

    with pytest.raises(ModelGateError) as problem:
        fit(
            tmp_path,
            images=black,
            architecture=ArchitectureSettings(name="fault_logarithm", options={"gradient_only": gradient_only}),
            preprocessing=Preprocessing(size=32, mode="unit"),
            augmentation=AugmentationSettings(),
            sampling="natural",
        )

    written = json.loads((tmp_path / "invalid_batch.json").read_text())
    culprits = [image["store_row"] for image in written["images"] if image["loss"] in ("inf", "nan")]
    assert f"The training {'gradient' if gradient_only else 'loss'} became" in problem.value.what
    assert "epoch 1" in problem.value.what
    assert 20 in [image["store_row"] for image in written["images"]]
    assert culprits == ([] if gradient_only else [20])
    assert all(image["image_id"] == f"{image['store_row']:064x}" for image in written["images"])
    # The last good state is kept: no checkpoint was written after that batch.
    good = sorted(path.name for path in tmp_path.iterdir() if path.is_dir())
    assert good == [f"0001-{batch:07d}" for batch in range(max(1, written["batch"] - 2), written["batch"])]


class TooLargeAtOnce(nn.Module):
    """Has memory for so many images."""

    def __init__(self, num_classes: int, room: int) -> None:
        super().__init__()
        self.room = room
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(32 * 32, num_classes))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.training and len(images) > self.room:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return self.head(images)


@register_model
def fault_too_large(num_classes: int, room: int = 64, **_: object) -> TooLargeAtOnce:
    return TooLargeAtOnce(num_classes, room)


def fit_with_room_for(images: int) -> TrainedClassifier:
    from models.training.settings import ArchitectureSettings

    return fit(architecture=ArchitectureSettings(name="fault_too_large", options={"room": images}))


def test_f26_a_batch_that_does_not_fit_the_gpu_is_computed_in_halves_and_that_is_recorded() -> None:
    roomy, tight = fit_with_room_for(8), fit_with_room_for(4)

    assert roomy.history.notes == []
    assert len(tight.history.notes) == 1
    assert tight.history.notes[0].startswith("out of GPU memory in epoch 1: each batch of 8 was computed in two")
    np.testing.assert_allclose(tight.val_probabilities, roomy.val_probabilities, atol=1e-5)


def test_f26_half_a_batch_that_does_not_fit_either_ends_training_with_a_cure() -> None:
    with pytest.raises(EnvironmentProblem, match="Half a batch of 8 images") as problem:
        fit_with_room_for(3)
    assert "batch_size" in problem.value.cure


def test_f27_training_starts_no_worker_process_that_could_die() -> None:
    children: list[object] = []

    def look(_: EpochRecord) -> None:
        children.extend(multiprocessing.active_children())
        for task in Path("/proc/self/task").iterdir():
            children.extend((task / "children").read_text().split())

    before = {
        child for task in Path("/proc/self/task").iterdir() for child in (task / "children").read_text().split()
    }
    fit(epochs=1, on_epoch=look)

    assert set(children) <= before


def test_f30_a_validation_split_of_one_class_leaves_the_auc_undefined_and_says_why() -> None:
    val = rows(32, 48)
    one_class = LabelledRows.of_labels(val.rows[::2], val.labels[::2], 2)

    history = fit(val=one_class, epochs=1).history

    assert history.epochs[0].val_macro_auc is None
    assert "val_macro_auc is undefined" in history.selection
    assert "low, high" in history.selection


def test_f31_two_trainings_with_one_seed_are_equal_bit_for_bit(undisturbed: TrainedClassifier) -> None:
    assert_equal(fit(), undisturbed)


def test_checkpoints_of_trainings_that_nobody_repeated_are_removed_after_a_month(tmp_path: Path) -> None:
    running, abandoned = tmp_path / "0a", tmp_path / "0b"
    for folder in (running, abandoned):
        (folder / "0001-0000000").mkdir(parents=True)
        os.utime(folder, (0, 0))
    os.utime(abandoned / "0001-0000000", (0, 0))

    checkpoint.remove_abandoned(tmp_path)

    assert [*tmp_path.iterdir()] == [running]


def test_memory_does_not_grow_from_epoch_to_epoch(tmp_path: Path) -> None:
    held: dict[int, int] = {}

    def look(record: EpochRecord) -> None:
        if record.epoch in (2, 5):
            gc.collect()
            held[record.epoch] = sum(o.nbytes for o in gc.get_objects() if type(o) in (torch.Tensor, nn.Parameter))

    fit(tmp_path, epochs=5, early_stopping_patience=None, on_epoch=look)

    assert held[5] == held[2] > 0
