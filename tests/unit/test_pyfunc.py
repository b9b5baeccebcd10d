"""A registered version is an MLflow model that others load, serve and score with, and no pickle is involved."""

from __future__ import annotations

import base64
import json
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import cloudpickle
import mlflow
import numpy as np
import pandas as pd
import pytest
import requests
import torch
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PyFuncModel

from data_contracts.workspace import Workspace
from models.evaluation.selection import Selection
from models.registry.bundle import BUNDLE_FILES, ModelBundle
from models.registry.challenger import register_winner
from models.registry.code_revision import code_revision
from models.registry.pyfunc_packaging import pyfunc_files
from models.registry.tracking import TrackingStore
from models.registry.version_card import version_description
from models.registry.versions import (
    CHAMPION,
    DESCRIPTION_CHARACTERS,
    RegisteredVersion,
    register_challenger,
)
from models.scoring.predict import output_columns, predict_images
from tests.unit.test_bundle import CLASSES, make_history, make_model, make_spec
from tests.unit.test_input_checks import chest
from tests.unit.test_scoring_call import content
from tests.unit.test_tracking import make_evaluation

NAME = "lungline-merged"
URI = f"models:/{NAME}@{CHAMPION}"
PNG = content(chest())
TEXT = base64.b64encode(PNG).decode()
SERVING_SECONDS = 300  # of a machine that does other things; about 20 else


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder the process stands in; MLflow is pointed to the store in it as another team would do it."""
    folder = tmp_path_factory.mktemp("another team's place")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow/mlflow.db")
        yield folder


@pytest.fixture(scope="module")
def store(home: Path) -> TrackingStore:
    return TrackingStore(f"sqlite:///{home}/mlflow/mlflow.db", home / "artifacts")


@pytest.fixture(scope="module")
def bundle(home: Path) -> ModelBundle:
    return ModelBundle.write(home / "bundle", make_model(), make_spec(), make_history())


def register(store: TrackingStore, bundle: ModelBundle, name: str = NAME) -> RegisteredVersion:
    return register_challenger(store, bundle, model_name=name, tags={}, description_markdown="")


@pytest.fixture(scope="module")
def registered(store: TrackingStore, bundle: ModelBundle) -> RegisteredVersion:
    version = register(store, bundle)
    store.client.set_registered_model_alias(NAME, CHAMPION, version.version)
    return version


@pytest.fixture(scope="module")
def loaded(registered: RegisteredVersion) -> PyFuncModel:
    return mlflow.pyfunc.load_model(URI)


# Loading


def test_loading_and_predicting_reads_no_pickle(
    registered: RegisteredVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        pytest.fail("something was unpickled")

    for module in (pickle, cloudpickle):
        for name in ("load", "loads"):
            monkeypatch.setattr(module, name, refuse)
    monkeypatch.setattr(pickle, "Unpickler", refuse)
    monkeypatch.setattr(torch, "load", refuse)
    answers = mlflow.pyfunc.load_model(URI).predict([TEXT])
    assert list(answers["refused"]) == [""]


def test_the_champion_answers_as_the_bundle_does(loaded: PyFuncModel, bundle: ModelBundle) -> None:
    answers = loaded.predict(pd.DataFrame({"image": [TEXT, "/nowhere.png"]}))
    pd.testing.assert_frame_equal(answers, predict_images(bundle, [PNG, Path("/nowhere.png")]))


def test_tables_lists_and_records_are_understood_and_a_table_keeps_its_index(
    loaded: PyFuncModel, home: Path
) -> None:
    (home / "film.png").write_bytes(PNG)
    table = loaded.predict(pd.DataFrame({"patient": [1, 2], "image": [TEXT, "film.png"]}, index=["a", "b"]))
    assert list(table.index) == ["a", "b"]
    for request in ([TEXT, "film.png"], [{"image": TEXT}, {"image": "film.png"}], {"image": [TEXT, "film.png"]}):
        pd.testing.assert_frame_equal(loaded.predict(request), table.reset_index(drop=True))


@pytest.mark.parametrize("cells", [[None], [float("nan")], [3], [b"\x89PNG"], [TEXT[:400]], ["\0"], ["../x#y"]])
def test_unreadable_cells_are_rows_with_a_reason(loaded: PyFuncModel, cells: list[object]) -> None:
    answers = loaded.predict(pd.DataFrame({"image": [*cells, TEXT]}))
    assert list(answers["refused"] != "") == [True, False]
    assert np.isnan(answers["p_covid19"][0])


def test_a_request_without_pictures_is_told_where_they_are_looked_for(loaded: PyFuncModel) -> None:
    with pytest.raises(MlflowException, match="column or key called 'image'") as caught:
        loaded.predict(pd.DataFrame({"picture": [TEXT]}))
    assert caught.value.get_http_status_code() == 400


def test_signature_and_example_are_what_the_model_takes_and_gives(
    loaded: PyFuncModel, bundle: ModelBundle
) -> None:
    assert loaded.metadata.get_input_schema().input_names() == ["image"]
    answers = loaded.predict(loaded.input_example)
    outputs = loaded.metadata.get_output_schema()
    assert outputs.input_names() == list(answers.columns) == list(output_columns(bundle.spec))
    assert [str(kind) for kind in outputs.input_types()[:2]] == ["DataType.string", "DataType.double"]
    assert list(answers["refused"]) == [""]
    assert len(loaded.input_example["image"][0]) < 1000


# The files


def test_the_files_depend_on_the_bundle_and_its_run_alone_and_name_no_place(bundle: ModelBundle) -> None:
    files = pyfunc_files(bundle, "0" * 32, 1_700_000_000_000)
    assert files == pyfunc_files(bundle, "0" * 32, 1_700_000_000_000)
    assert list(files)[-1] == "MLmodel"
    root = str(Path(__file__).parents[2])
    assert not [name for name, text in files.items() if root in text or str(Path.home()) in text]
    required = files["requirements.txt"].split()
    assert all("==" in line and "+" not in line for line in required)
    assert not [line for line in required if line.startswith("lungline")]


def test_a_registration_that_was_killed_is_completed_the_next_time(
    store: TrackingStore, home: Path, tmp_path: Path
) -> None:
    bundle = ModelBundle.write(tmp_path / "bundle", make_model(seed=3), make_spec(), make_history())
    first = register(store, bundle, "killed")
    model = home / "artifacts" / first.run_id / "artifacts" / "model"
    complete = {file.name: file.read_bytes() for file in model.iterdir() if file.is_file()}
    for names in (["MLmodel", "requirements.txt"], ["MLmodel", "bundle"], ["MLmodel", "bundle/manifest.json"]):
        for name in names:
            shutil.rmtree(model / name) if (model / name).is_dir() else (model / name).unlink()
        assert register(store, bundle, "killed") == first
        assert {file.name: file.read_bytes() for file in model.iterdir() if file.is_file()} == complete
        assert {file.name for file in (model / "bundle").iterdir()} == set(BUNDLE_FILES)
    mlflow.pyfunc.load_model("models:/killed@challenger")


# Tags and description


def test_a_version_says_what_it_was_made_of(home: Path, tmp_path: Path, store: TrackingStore) -> None:
    bundle = ModelBundle.write(tmp_path / "bundle", make_model(seed=4), make_spec(), make_history())
    evaluation = make_evaluation([]).model_copy(update={"test_set": "e" * 64})
    selection = Selection(winner="simple_cnn", primary_metric="macro_auc", why="highest", ranking=["simple_cnn"])
    version = register_winner(
        Workspace(home),
        bundle,
        evaluation,
        selection,
        "tagged",
        gates={"catalog": "pass", "split": "pass"},
        waivers={"covid19": "no other source has it, and it is stated on every page"},
    )
    found = store.client.get_model_version("tagged", version.version)
    assert found.tags["lungline.recipe"] == "quickstart"
    assert found.tags["lungline.task"] == "three-classes"
    assert found.tags["lungline.data"] == "d" * 64
    assert found.tags["lungline.test_set"] == "e" * 64
    assert found.tags["lungline.gates"] == "catalog: pass; split: pass"
    assert found.tags["lungline.code"] == code_revision()
    assert "Confounded by design" in found.description


def test_the_description_holds_external_results_baselines_and_waivers() -> None:
    test = make_evaluation([])
    page = version_description(
        test,
        make_spec(),
        [],
        external=test.model_copy(update={"split": "external", "n": 99}),
        baselines=[test.model_copy(update={"architecture": "majority class"})],
        waivers={"bacterial": "only | one\nsource has it"},
    )
    assert "**External**, images from sources it was not trained on: 99 images" in page
    assert "| majority class | &ensp;0.951 [0.893, 0.978] | &ensp;undefined" in page
    assert "- bacterial: only \\| one source has it" in page
    assert page.index("Confounded by design") < page.index("**External**")
    assert "No external evaluation." in version_description(test, make_spec(), [])


def test_a_description_of_many_classes_gives_up_tables_before_what_qualifies_them() -> None:
    few = make_evaluation(["a note"])
    many = few.model_copy(update={"classes": few.classes * 9})
    page = version_description(
        many, make_spec(), [], external=many, baselines=[few] * 3, waivers={"covid19": "w" * 900}
    )
    assert len(page) <= DESCRIPTION_CHARACTERS
    assert "Further tables are in the run report." in page
    assert "not a medical device" in page
    assert "w" * 300 in page
    assert "lungline train quickstart" in page


# The code's revision


def git(folder: Path, *arguments: str) -> str:
    identity = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a"}
    environment = {**os.environ, **identity, "GIT_COMMITTER_EMAIL": "a@b"}
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_the_revision_is_the_commit_and_says_where_the_program_differs_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "init", "-q")
    assert code_revision(tmp_path) == "unknown"  # no commit yet
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "net.py").write_text("a = 1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert code_revision(tmp_path) == commit
    (tmp_path / "notes.txt").write_text("no part of the program")
    assert code_revision(tmp_path) == commit
    (tmp_path / "models" / "new.py").write_text("b = 2\n")
    assert code_revision(tmp_path) == f"{commit}-dirty"
    assert code_revision(tmp_path / "models") == "unknown"  # somebody else's checkout around the program
    monkeypatch.setenv("PATH", "")
    assert code_revision(tmp_path) == "unknown"


# Serving


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def server(registered: RegisteredVersion, home: Path) -> Iterator[str]:
    """`mlflow models serve`, as another team starts it."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    serve = ["-m", "mlflow", "models", "serve", "-m", URI, "--env-manager", "local", "-h", "127.0.0.1"]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1"}
    with (home / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *serve, "-p", str(port), "-w", "1"],
            cwd=home,
            # As in an activated environment: MLflow looks for uvicorn on the path.
            env={**os.environ, **quiet, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        until = time.monotonic() + SERVING_SECONDS
        while not _answers(address):
            assert process.poll() is None, (home / "serve.log").read_text()
            assert time.monotonic() < until, (home / "serve.log").read_text()
            time.sleep(0.2)
        yield address
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(address: str) -> bool:
    try:
        return requests.get(f"{address}/ping", timeout=5).ok
    except requests.ConnectionError:
        return False


def test_a_served_version_answers_pictures_and_reads_no_files(server: str, home: Path) -> None:
    (home / "film.png").write_bytes(PNG)
    sent = {"inputs": [TEXT, str(home / "film.png"), {"image": TEXT}, "no image"]}
    answer = requests.post(f"{server}/invocations", json=sent, timeout=30)
    assert answer.status_code == 200, answer.text
    good, path, again, nothing = answer.json()["predictions"]
    assert sum(good[f"p_{name}"] for name in CLASSES) == pytest.approx(1)
    assert again == good
    assert path["refused"] == "not base64 (paths are not read here)"
    assert (path["p_covid19"], path["predicted"]) == (None, "")
    assert nothing["refused"]
    refused = requests.post(f"{server}/invocations", json={"inputs": {"picture": TEXT}}, timeout=30)
    assert refused.status_code == 400
    assert "called 'image'" in json.dumps(refused.json())
