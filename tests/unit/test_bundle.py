"""Model bundles: complete, verified before anything is loaded, equal bytes for equal models."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from torch import nn

from data_contracts.errors import EnvironmentProblem, ModelGateError
from data_contracts.ontology import NIH_FINDINGS
from models import architectures
from models.evaluation.results import Estimate, OperatingPoint
from models.preprocessing import Preprocessing
from models.registry.bundle import BUNDLE_FILES, BundleSpec, ModelBundle
from models.training.history import EpochRecord, TrainingHistory

CLASSES = ["covid19", "normal", "pneumothorax"]
SIZE = 32


def make_model(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return architectures.build("simple_cnn", num_classes=len(CLASSES), in_chans=1, img_size=SIZE, options={})


def make_spec(**changes: object) -> BundleSpec:
    estimate = Estimate(value=0.96, low=0.91, high=0.98, n=100, method="wilson")
    point = OperatingPoint(
        threshold=0.31, target_sensitivity=0.95, sensitivity=estimate, specificity=estimate, assured=True
    )
    settings: dict[str, object] = {
        "task": "three-classes",
        "class_names": CLASSES,
        "architecture": "simple_cnn",
        "image_size": SIZE,
        "preprocessing": Preprocessing(size=SIZE, mode="half"),
        "operating_points": {"covid19": point},
        "seed": 7,
        "recipe_name": "quickstart",
        "recipe": {"training": {"epochs": 2}, "title": "Größe"},
        "data_hash": "d" * 64,
        "versions": {"torch": "2.13.0"},
    }
    return BundleSpec.model_validate({**settings, **changes})


def make_history() -> TrainingHistory:
    record = EpochRecord(
        epoch=0, learning_rate=0.001, train_loss=0.7, val_loss=0.6, val_macro_auc=None, val_accuracy=0.5
    )
    return TrainingHistory(epochs=[record], best_epoch=0)


@pytest.fixture
def bundle(tmp_path: Path) -> ModelBundle:
    return ModelBundle.write(tmp_path / "bundle", make_model(), make_spec(), make_history())


def reseal(folder: Path) -> None:
    """Write a manifest that agrees with the files, as somebody who changes a bundle on purpose would."""
    manifest = {}
    for name in BUNDLE_FILES[:3]:
        data = (folder / name).read_bytes()
        manifest[name] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_a_bundle_gives_back_the_same_outputs_spec_and_history(bundle: ModelBundle) -> None:
    inputs = torch.rand(4, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    opened = ModelBundle.open(bundle.folder)
    model = opened.load_model()
    with torch.inference_mode():
        assert torch.equal(model(inputs), make_model().eval()(inputs))
    assert not model.training
    assert (opened.spec, opened.history) == (make_spec(), make_history())


def _network(outputs: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return architectures.build("simple_cnn", num_classes=outputs, in_chans=1, img_size=SIZE, options={})


@pytest.mark.parametrize(
    ("output", "task", "classes", "logits"),
    [
        ("binary", "covid-binary", ["not_covid19", "covid19"], 1),
        ("softmax", "covid-binary", ["not_covid19", "covid19"], 2),
        ("sigmoid", "nih-14", list(NIH_FINDINGS), 14),
    ],
)
def test_the_network_is_built_with_as_many_logits_as_its_output_needs(
    output: str, task: str, classes: list[str], logits: int, tmp_path: Path
) -> None:
    spec = make_spec(output=output, task=task, class_names=classes, operating_points={})
    ModelBundle.write(tmp_path / "bundle", _network(logits), spec, make_history())
    opened = ModelBundle.open(tmp_path / "bundle")
    assert opened.spec.output == output
    with torch.inference_mode():
        assert opened.load_model()(torch.zeros(2, 1, SIZE, SIZE)).shape == (2, logits)


def test_weights_that_do_not_fit_the_output_are_refused(tmp_path: Path) -> None:
    spec = make_spec(output="binary", task="two", class_names=["a", "b"], operating_points={})
    bundle = ModelBundle.write(tmp_path / "bundle", _network(2), spec, make_history())
    with pytest.raises(ModelGateError, match="with 1 binary outputs for 2 classes"):
        bundle.load_model()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"output": "binary"}, "one logit tells two classes apart"),
        ({"output": "softmax", "task": "nih-14"}, "softmax outputs do not answer"),
        ({"output": "sigmoid", "task": "covid-pneumonia-normal"}, "sigmoid outputs do not answer"),
        ({"output": "logistic"}, "output"),
    ],
)
def test_an_output_that_cannot_answer_the_task_is_refused(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        make_spec(**changes)


def test_equal_models_give_equal_bytes_and_hash(bundle: ModelBundle, tmp_path: Path) -> None:
    again = ModelBundle.write(tmp_path / "elsewhere" / "again", make_model(), make_spec(), make_history())
    for name in BUNDLE_FILES:
        assert (again.folder / name).read_bytes() == (bundle.folder / name).read_bytes()
    manifest = (again.folder / "manifest.json").read_bytes()
    assert again.content_hash == bundle.content_hash == hashlib.sha256(manifest).hexdigest()


def test_the_folder_holds_exactly_the_four_files_and_no_part_is_left(bundle: ModelBundle) -> None:
    assert sorted(path.name for path in bundle.folder.iterdir()) == sorted(BUNDLE_FILES)
    assert [path.name for path in bundle.folder.parent.iterdir()] == ["bundle"]
    assert (bundle.folder / "bundle.json").read_text(encoding="utf-8").endswith("}\n")


def test_writing_the_same_bundle_again_changes_nothing(bundle: ModelBundle) -> None:
    before = (bundle.folder / "weights.safetensors").stat().st_mtime_ns
    again = ModelBundle.write(bundle.folder, make_model(), make_spec(), make_history())
    assert again.content_hash == bundle.content_hash
    assert (bundle.folder / "weights.safetensors").stat().st_mtime_ns == before


def test_another_bundle_is_never_written_over_it(bundle: ModelBundle) -> None:
    with pytest.raises(ModelGateError, match="already holds another model bundle"):
        ModelBundle.write(bundle.folder, make_model(seed=1), make_spec(), make_history())
    assert ModelBundle.open(bundle.folder).content_hash == bundle.content_hash


def test_a_folder_of_other_things_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ModelGateError):
        ModelBundle.write(tmp_path, make_model(), make_spec(), make_history())
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_disk_that_refuses_is_an_environment_problem_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentProblem):
        ModelBundle.write(tmp_path / "file" / "bundle", make_model(), make_spec(), make_history())
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_writer_interrupted_before_the_end_leaves_no_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        ModelBundle.write(tmp_path / "bundle", make_model(), make_spec(), make_history())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", BUNDLE_FILES[:3])
def test_one_flipped_bit_is_refused_with_both_hashes(bundle: ModelBundle, name: str) -> None:
    path = bundle.folder / name
    data = bytearray(path.read_bytes())
    expected = hashlib.sha256(data).hexdigest()
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelGateError) as caught:
        ModelBundle.open(bundle.folder)
    message = str(caught.value)
    assert all(part in message for part in (name, expected, hashlib.sha256(data).hexdigest()))
    assert caught.value.exit_code == 4


def test_weights_changed_after_opening_are_not_loaded(bundle: ModelBundle) -> None:
    path = bundle.folder / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelGateError, match="was changed"):
        bundle.load_model()


@pytest.mark.parametrize("name", BUNDLE_FILES)
def test_a_missing_file_is_refused(bundle: ModelBundle, name: str) -> None:
    (bundle.folder / name).unlink()
    with pytest.raises(ModelGateError, match=f"{name} is missing"):
        ModelBundle.open(bundle.folder)


@pytest.mark.parametrize("name", ["model.pkl", "weights.bin", ".hidden", "manifest.json.part"])
def test_an_added_file_is_refused(bundle: ModelBundle, name: str) -> None:
    (bundle.folder / name).write_bytes(b"")
    with pytest.raises(ModelGateError, match="does not belong there"):
        ModelBundle.open(bundle.folder)


@pytest.mark.parametrize("name", BUNDLE_FILES)
def test_a_link_is_refused_even_to_the_right_bytes(bundle: ModelBundle, name: str, tmp_path: Path) -> None:
    (bundle.folder / name).rename(tmp_path / "moved")
    (bundle.folder / name).symlink_to(tmp_path / "moved")
    with pytest.raises(ModelGateError, match="is a link"):
        ModelBundle.open(bundle.folder)


def pickled(kind: str) -> bytes:
    if kind == "torch.save":
        buffer = io.BytesIO()
        torch.save({"weight": torch.zeros(2)}, buffer)
        return buffer.getvalue()
    return pickle.dumps({"weight": [0.0] * 50}, protocol=int(kind))


@pytest.mark.parametrize("resealed", [False, True])
@pytest.mark.parametrize("kind", ["torch.save", "0", "2", "4", "5"])
def test_pickled_weights_are_refused_whatever_the_manifest_says(
    bundle: ModelBundle, kind: str, resealed: bool
) -> None:
    path = bundle.folder / "weights.safetensors"
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(pickled(kind))
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if resealed:
        reseal(bundle.folder)
        expected = found
    with pytest.raises(ModelGateError, match="Nothing was loaded") as caught:
        ModelBundle.open(bundle.folder)
    assert f"expected sha256 {expected}" in str(caught.value)
    assert f"found {found}" in str(caught.value)
    kinds = {"torch.save": "is a zip archive", "0": "is not a safetensors file"}  # protocol 0 has no mark
    assert kinds.get(kind, "is a Python pickle") in caught.value.what


def test_weights_whose_first_byte_is_that_of_a_pickle_are_still_weights(tmp_path: Path) -> None:
    # A header of 8 + 128 bytes begins with 0x80, and so does every binary pickle.
    class OneTensor(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("x" * 72, torch.zeros(1))

    bundle = ModelBundle.write(tmp_path / "bundle", OneTensor(), make_spec(), make_history())
    assert (bundle.folder / "weights.safetensors").read_bytes()[0] == 0x80
    assert ModelBundle.open(bundle.folder).content_hash == bundle.content_hash


@pytest.mark.parametrize("resealed", [False, True])
@pytest.mark.parametrize("keep", [0, 5, 500, 10_000])
def test_truncated_weights_are_refused(bundle: ModelBundle, keep: int, resealed: bool) -> None:
    path = bundle.folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    if resealed:
        reseal(bundle.folder)
    with pytest.raises(ModelGateError):
        ModelBundle.open(bundle.folder).load_model()


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_an_unknown_format_version_is_refused(bundle: ModelBundle, version: object) -> None:
    path = bundle.folder / "bundle.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": version}))
    reseal(bundle.folder)
    with pytest.raises(ModelGateError, match="has format version"):
        ModelBundle.open(bundle.folder)


@pytest.mark.parametrize(
    "content", ["[]", "{", '{"format_version": 1}', '{"weights.safetensors": {"sha256": "x"}}']
)
@pytest.mark.parametrize("name", ["manifest.json", "bundle.json", "history.json"])
def test_json_that_is_not_what_its_name_says_is_refused(bundle: ModelBundle, name: str, content: str) -> None:
    (bundle.folder / name).write_text(content)
    if name != "manifest.json":
        reseal(bundle.folder)
    with pytest.raises(ModelGateError):
        ModelBundle.open(bundle.folder)


def test_a_manifest_may_not_point_outside_the_folder(bundle: ModelBundle, tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"")
    entry = {"sha256": hashlib.sha256(b"").hexdigest(), "size": 0}
    path = bundle.folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "../outside": entry}))
    with pytest.raises(ModelGateError, match="speaks of"):
        ModelBundle.open(bundle.folder)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelGateError, match="There is no model bundle"):
        ModelBundle.open(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "changes",
    [{"class_names": [*CLASSES, "edema"]}, {"architecture": "resnet18"}],
    ids=["one class more", "another architecture"],
)
def test_weights_that_do_not_fit_the_spec_are_not_loaded(tmp_path: Path, changes: dict[str, object]) -> None:
    bundle = ModelBundle.write(tmp_path / "bundle", make_model(), make_spec(**changes), make_history())
    with pytest.raises(ModelGateError, match="do not fit"):
        bundle.load_model()


def test_tied_and_transposed_weights_are_stored_in_full(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(3, 2)
            self.second = nn.Linear(3, 2)
            self.second.weight = self.first.weight
            self.register_buffer("transposed", torch.arange(6.0).reshape(2, 3).T)

    model = Tied()
    bundle = ModelBundle.write(tmp_path / "bundle", model, make_spec(), make_history())
    stored = load_file(bundle.folder / "weights.safetensors")
    assert all(torch.equal(stored[name], tensor) for name, tensor in model.state_dict().items())
    assert set(stored) == set(model.state_dict())


def test_loading_does_not_move_the_global_random_state(bundle: ModelBundle) -> None:
    before = torch.random.get_rng_state()
    bundle.load_model()
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"class_names": ["normal", "normal"]}, "class names"),
        ({"class_names": ["normal"]}, "operating points"),
        ({"preprocessing": Preprocessing(size=64, mode="half")}, "64 pixels"),
        ({"unknown": 1}, "Extra inputs"),
    ],
)
def test_a_spec_that_contradicts_itself_is_refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        make_spec(**changes)


def test_opening_and_loading_a_bundle_never_unpickles(
    bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        pytest.fail("something was unpickled")

    for module, name in [(torch, "load"), (pickle, "load"), (pickle, "loads"), (pickle, "Unpickler")]:
        monkeypatch.setattr(module, name, refuse)
    ModelBundle.open(bundle.folder).load_model()


def test_reading_a_bundle_needs_neither_torch_nor_mlflow() -> None:
    program = "import sys, models.registry.bundle; print([n for n in ('torch', 'mlflow') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
