"""A bundle somebody tampered with, and names that would lead elsewhere: refused before anything is loaded."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
import torch

from data_contracts.errors import LunglineError, ModelGateError, UsageProblem
from models.registry.bundle import BUNDLE_FILES, ModelBundle
from models.registry.tracking import TrackingStore
from models.registry.versions import (
    MODEL_FOLDER,
    RegisteredVersion,
    download_bundle,
    register_challenger,
    require_model_name,
)
from tests.unit.test_bundle import make_history, make_model, make_spec, reseal

NAME = "lungline-merged"
WEIGHTS = "weights.safetensors"


class Evil:
    """Leaves a file behind wherever it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.trace,)


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    return ModelBundle.write(
        tmp_path_factory.mktemp("sealed") / "bundle", make_model(), make_spec(), make_history()
    )


@pytest.fixture
def bundle(sealed: ModelBundle, tmp_path: Path) -> ModelBundle:
    """A copy of a bundle for each test to spoil."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    for name in BUNDLE_FILES:
        (folder / name).write_bytes((sealed.folder / name).read_bytes())
    return ModelBundle.open(folder)


# F33, the bundle alone


@pytest.mark.parametrize("name", BUNDLE_FILES)
@pytest.mark.parametrize("where", [0, 0.5, 1])
def test_f33_no_byte_of_any_file_can_be_changed(bundle: ModelBundle, name: str, where: float) -> None:
    registered = bundle.content_hash
    path = bundle.folder / name
    data = bytearray(path.read_bytes())
    data[int(where * (len(data) - 1))] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelGateError):
        ModelBundle.open(bundle.folder).require_hash(registered, "version 1")


def legacy_tar(trace: Path) -> bytes:
    """The oldest form of torch.save, in which weights_only=True once ran code (CVE-2025-32434)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("storages", "tensors", "pickle"):
            data = pickle.dumps(Evil(trace))
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def zipped(trace: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(2), "evil": Evil(trace)}, buffer)
    return buffer.getvalue()


def behind_a_header(trace: Path) -> bytes:
    """Begins like safetensors: a length, a JSON header without tensors, and then a pickle."""
    return struct.pack("<Q", 2) + b"{}" + pickle.dumps(Evil(trace))


def pickled(trace: Path) -> bytes:
    return pickle.dumps(Evil(trace))


@pytest.mark.parametrize("forge", [pickled, zipped, legacy_tar, behind_a_header])
def test_f33_code_hidden_in_weights_never_runs_though_the_manifest_agrees(
    bundle: ModelBundle, forge: Callable[[Path], bytes], tmp_path: Path
) -> None:
    trace = tmp_path / "ran"
    (bundle.folder / WEIGHTS).write_bytes(forge(trace))
    reseal(bundle.folder)
    with pytest.raises(ModelGateError):
        ModelBundle.open(bundle.folder).load_model()
    assert not trace.exists()
    if forge is pickled:  # it would have run
        pickle.loads((bundle.folder / WEIGHTS).read_bytes())  # noqa: S301
        assert trace.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"options": {"checkpoint_path": "evil.pth"}},
        {"options": {"pretrained_cfg": {"file": "evil.pth"}}},
        {"options": {"pretrained": True}},
        {"architecture": "hf-hub:somebody/evil"},
        {"architecture": "local-dir:evil"},
        {"architecture": "../evil"},
    ],
    ids=lambda changes: str(next(iter(changes.values()))),
)
def test_f33_a_spec_cannot_make_the_program_read_a_checkpoint_from_elsewhere(
    bundle: ModelBundle, changes: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    trace = tmp_path / "ran"
    (tmp_path / "evil.pth").write_bytes(zipped(trace))
    spec = bundle.folder / "bundle.json"
    spec.write_text(json.dumps({**json.loads(spec.read_text()), **changes}))
    reseal(bundle.folder)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("a checkpoint was read"))
    with pytest.raises(LunglineError):
        ModelBundle.open(bundle.folder).load_model()
    assert not trace.exists()


# F33, in the registry


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> TrackingStore:
    home = tmp_path_factory.mktemp("home")
    return TrackingStore(f"sqlite:///{home}/mlflow.db", home / "artifacts")


@pytest.fixture
def kept(store: TrackingStore, sealed: ModelBundle, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a registered version in the artifact store, whole again for each test."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.tracking_uri)
    version = register(store, sealed)
    folder = (
        Path(store.tracking_uri.removeprefix("sqlite:///")).parent / "artifacts" / version.run_id / "artifacts"
    )
    (folder / MODEL_FOLDER / "MLmodel").unlink()
    (folder / MODEL_FOLDER / "bundle" / "manifest.json").unlink()
    register(store, sealed)
    return folder / MODEL_FOLDER


def register(store: TrackingStore, bundle: ModelBundle, name: str = NAME) -> RegisteredVersion:
    return register_challenger(store, bundle, model_name=name, tags={}, description_markdown="")


def load() -> mlflow.pyfunc.PyFuncModel:
    return mlflow.pyfunc.load_model(f"models:/{NAME}@challenger")


def flip(kept: Path) -> None:
    data = bytearray((kept / "bundle" / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (kept / "bundle" / WEIGHTS).write_bytes(data)


def remove(kept: Path) -> None:
    (kept / "bundle" / "history.json").unlink()


def replace_by_a_pickle(kept: Path) -> None:
    (kept / "bundle" / WEIGHTS).write_bytes(pickle.dumps({"weight": [0.0] * 9}))
    reseal(kept / "bundle")


def replace_by_another_bundle(kept: Path) -> None:
    spec = kept / "bundle" / "bundle.json"
    spec.write_text(json.dumps({**json.loads(spec.read_text()), "seed": 8}))
    reseal(kept / "bundle")
    assert ModelBundle.open(kept / "bundle").spec.seed == 8  # sound in itself


@pytest.mark.parametrize("spoil", [flip, remove, replace_by_a_pickle, replace_by_another_bundle])
def test_f33_a_version_spoiled_in_the_artifact_store_is_neither_loaded_nor_served(
    kept: Path,
    store: TrackingStore,
    tmp_path: Path,
    spoil: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load()
    spoil(kept)
    monkeypatch.setattr(ModelBundle, "load_model", lambda *_: pytest.fail("the network was built"))
    with pytest.raises(ModelGateError):  # `mlflow models serve` loads the same way before it listens
        load()
    with pytest.raises(LunglineError):
        download_bundle(store, NAME, "challenger", tmp_path / "taken")
    assert not (tmp_path / "taken").exists()


def test_f33_an_mlflow_model_around_a_pickle_is_not_loaded(kept: Path, tmp_path: Path) -> None:
    """Somebody rewrites MLmodel so that MLflow itself would unpickle something of theirs."""
    trace = tmp_path / "ran"
    (kept / "python_model.pkl").write_bytes(pickled(trace))
    text = (kept / "MLmodel").read_text()
    changed = text.replace("model_code_path: pyfunc_model.py", "python_model: python_model.pkl").replace(
        "mlflow.pyfunc.loaders.code_model", "mlflow.pyfunc.model"
    )
    assert changed != text
    (kept / "MLmodel").write_text(changed)
    with pytest.raises(mlflow.MlflowException, match="pickle is disallowed"):
        load()
    assert not trace.exists()


# F34


@pytest.mark.parametrize(
    "name",
    [
        "../champion",
        "..",
        "a/../b",
        "/etc/x",
        "a#b",
        "#",
        "a%2e%2e",
        "a?b=c",
        "a b",
        "a\0",
        "a\n",
        "a'--",
        "x" * 65,
        "",
        "é",
    ],
)
def test_f34_a_name_that_would_lead_elsewhere_is_no_model(
    store: TrackingStore, sealed: ModelBundle, name: str, tmp_path: Path
) -> None:
    for attempt in (
        lambda: require_model_name(name),
        lambda: register(store, sealed, name),
        lambda: download_bundle(store, name, "challenger", tmp_path / "taken"),
    ):
        with pytest.raises(UsageProblem, match="cannot name a model"):
            attempt()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "which", ["../1", "1#", "champion/..", "'", "\N{ARABIC-INDIC DIGIT ONE}", "1 or 1=1", "a" * 500]
)
def test_f34_an_odd_alias_or_number_finds_no_version(
    kept: Path, store: TrackingStore, which: str, tmp_path: Path
) -> None:
    with pytest.raises(LunglineError):
        download_bundle(store, NAME, which, tmp_path / "taken")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("outside", ["../outside", "/etc/passwd", "x#/../../outside"])
def test_f34_a_manifest_that_names_files_elsewhere_is_refused(bundle: ModelBundle, outside: str) -> None:
    manifest = bundle.folder / "manifest.json"
    entry = {"sha256": hashlib.sha256(b"").hexdigest(), "size": 0}
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), outside: entry}))
    with pytest.raises(ModelGateError, match="a bundle consists of"):
        ModelBundle.open(bundle.folder)


def test_f34_a_source_that_points_elsewhere_is_not_followed(
    kept: Path, store: TrackingStore, sealed: ModelBundle, tmp_path: Path
) -> None:
    """A version made by hand, whose tags promise our bundle and whose source is a folder of somebody's own."""
    client = store.client
    run = register(store, sealed).run_id
    mine = client.create_model_version(
        NAME, f"runs:/{run}/{MODEL_FOLDER}#/../../x", run_id="../../outside", tags={"lungline.bundle": "0" * 64}
    )
    with pytest.raises(LunglineError):
        download_bundle(store, NAME, str(mine.version), tmp_path / "taken")
    assert not list(tmp_path.iterdir())
