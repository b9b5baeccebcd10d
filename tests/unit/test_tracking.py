"""Runs and model versions in a real MLflow store on SQLite, and what happens where the store does not answer."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine
from torch import nn

from data_contracts.errors import EnvironmentProblem, ExternalServiceError, ModelGateError, UsageProblem
from models.evaluation.results import ClassEvaluation, Estimate, Evaluation
from models.preprocessing import Preprocessing
from models.registry import database
from models.registry.bundle import BUNDLE_FILES, BundleSpec, ModelBundle
from models.registry.status import model_status, recent_runs
from models.registry.tracking import TrackedRun, TrackingStore
from models.registry.version_card import version_description
from models.registry.versions import (
    DESCRIPTION_CHARACTERS,
    RegisteredVersion,
    download_bundle,
    find_run_for_bundle,
    register_challenger,
)
from models.training.history import EpochRecord, TrainingHistory


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a space and an umlaut in its name; the process stands in it, so that strays would show."""
    folder = tmp_path_factory.mktemp("größe und")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="module")
def store(home: Path, create_mlflow_tables: Callable[[Path], None]) -> Iterator[TrackingStore]:
    """A store whose database was interrupted the first time it was made, as a kill would."""
    from mlflow.store.db import utils

    def half_done(engine: Engine) -> None:
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE _alembic_tmp_tags (name TEXT)")
        raise KeyboardInterrupt

    file = home / "mlflow" / "mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "_create", create_mlflow_tables)
        with pytest.MonkeyPatch.context() as killed:
            killed.setattr(utils, "_initialize_tables", half_done)
            with pytest.raises(KeyboardInterrupt):
                TrackingStore(f"sqlite:///{file}").check()
        assert not file.exists()
        yield TrackingStore(f"sqlite:///{file}", home / "artifacts")


@pytest.fixture
def dead_server(monkeypatch: pytest.MonkeyPatch) -> TrackingStore:
    """A server that refuses the connection, asked with a retry so that waiting would show."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return TrackingStore(f"http://somebody:secret@127.0.0.1:{port}")


def epoch(number: int, val_macro_auc: float | None = 0.8) -> EpochRecord:
    return EpochRecord(
        epoch=number,
        learning_rate=0.001,
        train_loss=1.0 / (number + 1),
        val_loss=0.5,
        val_macro_auc=val_macro_auc,
        val_accuracy=0.7,
    )


def make_spec() -> BundleSpec:
    return BundleSpec(
        task="two-classes",
        class_names=["covid19", "normal"],
        architecture="simple_cnn",
        image_size=32,
        preprocessing=Preprocessing(size=32, mode="half"),
        operating_points={},
        seed=7,
        recipe_name="quickstart",
        recipe={},
        data_hash="d" * 64,
        versions={},
    )


def make_bundle(folder: Path, value: float) -> ModelBundle:
    model = nn.Linear(2, 2)
    nn.init.constant_(model.weight, value)
    nn.init.zeros_(model.bias)
    return ModelBundle.write(folder, model, make_spec(), TrainingHistory(epochs=[epoch(0)], best_epoch=0))


def train_tracked(store: TrackingStore, pipeline_run: str, bundle: ModelBundle | None = None) -> TrackedRun:
    parent = store.parent_run("training", pipeline_run, {"lungline.trigger": "test"}, {"recipe": "quickstart"})
    run = store.child_run(parent, "simple_cnn", {"architecture": {"name": "simple_cnn"}}, {})
    run.log_epoch(epoch(0, val_macro_auc=None))
    run.log_epoch(epoch(1))
    if bundle:
        run.name_bundle(bundle)
    run.finish()
    store.finish_parent("training", pipeline_run)
    return run


def register(
    store: TrackingStore, bundle: ModelBundle, model_name: str, run_id: str | None = None
) -> RegisteredVersion:
    return register_challenger(
        store,
        bundle,
        model_name=model_name,
        run_id=run_id,
        tags={"lungline.pipeline_run": "run-1"},
        description_markdown="**numbers**",
    )


# Runs


def test_a_database_whose_making_was_interrupted_is_made_anew(store: TrackingStore, home: Path) -> None:
    store.check()
    assert sorted(path.name for path in (home / "mlflow").iterdir()) == ["mlflow.db", "mlflow.db.lock"]


def test_each_architecture_is_a_child_run_with_its_learning_curve(store: TrackingStore) -> None:
    run = train_tracked(store, "curves")
    found = store.client.get_run(run.run_id)
    parent = store.client.get_run(found.data.tags["mlflow.parentRunId"])
    losses = store.client.get_metric_history(run.run_id, "train_loss")
    auc = store.client.get_metric_history(run.run_id, "val_macro_auc")
    assert parent.data.tags["lungline.pipeline_run"] == "curves"
    assert parent.data.tags["lungline.trigger"] == "test"
    assert parent.data.params == {"recipe": "quickstart"}
    assert [(metric.step, metric.value) for metric in losses] == [(0, 1.0), (1, 0.5)]
    assert [(metric.step, metric.value) for metric in auc] == [(1, 0.8)]  # undefined at epoch 0, so absent
    assert (found.info.status, parent.info.status, run.lost) == ("FINISHED", "FINISHED", 0)


def test_settings_are_flattened_and_cut_to_what_mlflow_takes(store: TrackingStore) -> None:
    parent = store.parent_run("training", "settings", {}, {})
    many = {f"setting {i} (%)": i for i in range(230)}
    run = store.child_run(
        parent, "resnet18", {"options": {"nested": {"rate": 0.1}}, "long": "x" * 9000, **many}, {}
    )
    params = store.client.get_run(run.run_id).data.params
    assert run.lost == 0
    assert params["options.nested.rate"] == "0.1"
    assert params["long"] == "x" * 6000
    assert params["setting_229____"] == "229"


def test_asking_again_for_the_parent_gives_the_same_run(store: TrackingStore) -> None:
    first = store.parent_run("training", "asked-twice", {}, {"epochs": 3})
    assert store.parent_run("training", "asked-twice", {}, {"epochs": 3}) == first
    assert store.parent_run("training", "another", {}, {}) != first


def test_two_steps_that_create_the_parent_at_once_agree_on_the_earlier_one(
    store: TrackingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_run = store.client.create_run
    rival = []

    def create_after_a_rival(experiment_id: str, run_name: str, tags: dict[str, str]) -> object:
        rival.append(create_run(experiment_id, start_time=1, run_name=run_name, tags=tags).info.run_id)
        return create_run(experiment_id, run_name=run_name, tags=tags)

    monkeypatch.setattr(store.client, "create_run", create_after_a_rival)
    assert [store.parent_run("training", "raced", {}, {})] == rival
    monkeypatch.undo()
    assert [store.parent_run("training", "raced", {}, {})] == rival
    left = store.client.search_runs([store.experiment_id("training")], "tags.`lungline.pipeline_run` = 'raced'")
    assert [run.info.run_id for run in left] == rival


def test_a_repeated_attempt_ends_the_interrupted_one(store: TrackingStore) -> None:
    parent = store.parent_run("training", "repeated", {}, {})
    interrupted = store.child_run(parent, "simple_cnn", {}, {})
    beside = store.child_run(parent, "resnet18", {}, {})
    repeated = store.child_run(parent, "simple_cnn", {}, {})
    status = [store.client.get_run(run.run_id).info.status for run in (interrupted, beside, repeated)]
    assert status == ["KILLED", "RUNNING", "RUNNING"]


def test_a_pipeline_run_that_would_change_the_search_is_refused(store: TrackingStore) -> None:
    with pytest.raises(UsageProblem):
        store.parent_run("training", "x' or tags.a = 'b", {}, {})
    with pytest.raises(UsageProblem):
        store.finish_parent("training", "x' or tags.a = 'b")


def test_a_pipeline_run_without_a_parent_has_nothing_to_finish(store: TrackingStore) -> None:
    store.parent_run("training", "open", {}, {})
    store.finish_parent("training", "never-opened")
    store.finish_parent("no-such-experiment", "open")
    assert {run.pipeline_run: run.status for run in recent_runs(store, 50)}["open"] == "RUNNING"


def test_folders_are_kept_below_the_artifact_root_and_nothing_strays(
    store: TrackingStore, home: Path, tmp_path: Path
) -> None:
    (tmp_path / "sheet.html").write_text("<p>")
    run = store.child_run(store.parent_run("training", "folders", {}, {}), "simple_cnn", {}, {})
    run.log_folder(tmp_path, "grad-cam")
    kept = home / "artifacts" / run.run_id / "artifacts" / "grad-cam" / "sheet.html"
    assert kept.read_text() == "<p>"
    assert {path.name for path in home.iterdir()} == {"mlflow", "artifacts"}


def test_artifacts_lie_beside_the_database_where_no_root_is_named(home: Path) -> None:
    beside = TrackingStore(f"sqlite:///{home}/mlflow/mlflow.db")
    experiment = beside.client.get_experiment(beside.experiment_id("beside"))
    assert experiment.artifact_location == (home / "mlflow" / "artifacts").as_uri()


def test_recent_runs_are_the_pipeline_runs_latest_first(store: TrackingStore) -> None:
    train_tracked(store, "earlier")
    store.parent_run("training", "later", {}, {})
    runs = recent_runs(store, 2)
    assert [(run.pipeline_run, run.status) for run in runs] == [("later", "RUNNING"), ("earlier", "FINISHED")]
    assert runs[0].experiment == "training"
    assert runs[0].started_at.endswith("+00:00")
    assert (runs[0].ended_at, runs[1].ended_at is None) == (None, False)


# Outage


def test_a_dead_server_costs_the_records_and_not_the_training(
    dead_server: TrackingStore, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    started = time.monotonic()
    with caplog.at_level(logging.WARNING, logger="lungline.tracking"):
        run = train_tracked(dead_server, "unheard", make_bundle(tmp_path / "bundle", 1.0))
    assert run.run_id == ""
    assert run.lost == 4  # two epochs, the bundle's name, the end
    warnings = [record.getMessage() for record in caplog.records if record.name == "lungline.tracking"]
    assert len(warnings) == 2  # for the run, and for its parent's end, which is a step of its own
    assert "secret" not in "".join(warnings)
    assert time.monotonic() - started < 10


def test_a_server_that_dies_during_training_is_waited_for_once(
    dead_server: TrackingStore, caplog: pytest.LogCaptureFixture
) -> None:
    run = dead_server.attach("0" * 32)
    for number in range(5):
        run.log_epoch(epoch(number))
    assert run.lost == 5
    assert [record.levelname for record in caplog.records if record.name == "lungline.tracking"] == ["WARNING"]


def test_a_broken_database_costs_the_records_and_not_the_training(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("this is no database, and long enough not to look like an empty one " * 20)
    run = train_tracked(TrackingStore(f"sqlite:///{tmp_path}/mlflow.db"), "unheard")
    assert run.lost == 3


def test_registration_at_a_dead_server_is_refused(dead_server: TrackingStore, tmp_path: Path) -> None:
    with pytest.raises(ExternalServiceError) as caught:
        register(dead_server, make_bundle(tmp_path / "bundle", 1.0), "chest")
    assert caught.value.exit_code == 6
    assert "secret" not in str(caught.value)
    for ask in (
        lambda: model_status(dead_server, "chest"),
        lambda: recent_runs(dead_server, 1),
        dead_server.check,
    ):
        with pytest.raises(ExternalServiceError):
            ask()


def test_registration_in_a_broken_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").mkdir()
    with pytest.raises(EnvironmentProblem) as caught:
        register(TrackingStore(f"sqlite:///{tmp_path}/mlflow.db"), make_bundle(tmp_path / "bundle", 1.0), "chest")
    assert caught.value.exit_code == 5


# Registration


def test_a_registered_bundle_is_challenger_and_comes_back_verified(
    store: TrackingStore, home: Path, tmp_path: Path
) -> None:
    bundle = make_bundle(tmp_path / "bundle", 1.0)
    run = train_tracked(store, "registers", bundle)
    registered = register(store, bundle, "chest", run.run_id)
    assert registered == RegisteredVersion(name="chest", version="1", run_id=run.run_id, alias="challenger")

    status = model_status(store, "chest")
    assert status.champion is None
    assert status.challenger is not None
    assert status.challenger.description == "**numbers**"
    assert status.challenger.created_at.endswith("+00:00")
    assert status.challenger.metrics["val_macro_auc"] == 0.8
    assert status.challenger.tags == {
        "lungline.pipeline_run": "run-1",
        "lungline.bundle": bundle.content_hash,
        "lungline.architecture": "simple_cnn",
        "lungline.recipe": "quickstart",
        "lungline.data": "d" * 64,
    }
    for which in ("challenger", "1"):
        taken = download_bundle(store, "chest", which, tmp_path / which)
        assert (taken.content_hash, taken.spec) == (bundle.content_hash, bundle.spec)
    assert download_bundle(store, "chest", "1", tmp_path / "1").content_hash == bundle.content_hash
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "bundle", "challenger"]
    assert {path.name for path in home.iterdir()} == {"mlflow", "artifacts"}


def test_the_same_bundle_twice_is_one_version_and_another_moves_the_alias(
    store: TrackingStore, tmp_path: Path
) -> None:
    bundle, other = make_bundle(tmp_path / "a", 1.0), make_bundle(tmp_path / "b", 2.0)
    assert [register(store, each, "twice").version for each in (bundle, bundle, other)] == ["1", "1", "2"]
    assert download_bundle(store, "twice", "challenger", tmp_path / "c").content_hash == other.content_hash
    assert register(store, bundle, "twice").version == "1"
    assert download_bundle(store, "twice", "challenger", tmp_path / "d").content_hash == bundle.content_hash


def test_a_cached_training_is_registered_with_the_run_that_trained_it(
    store: TrackingStore, tmp_path: Path
) -> None:
    bundle = make_bundle(tmp_path / "bundle", 3.0)
    assert find_run_for_bundle(store, bundle.content_hash) is None
    trained = train_tracked(store, "cached", bundle)
    assert find_run_for_bundle(store, bundle.content_hash) == trained.run_id
    gone = "0" * 32  # the id a cached step remembers from a store that no longer exists
    assert register(store, bundle, "cached", gone).run_id == trained.run_id


def test_a_training_nobody_tracked_can_still_be_registered(store: TrackingStore, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle", 4.0)
    run = store.client.get_run(register(store, bundle, "untracked", "").run_id)
    assert (run.info.run_name, run.info.status) == ("simple_cnn", "FINISHED")
    assert store.client.get_experiment(run.info.experiment_id).name == "quickstart"


def test_a_run_that_trained_another_bundle_is_refused(store: TrackingStore, tmp_path: Path) -> None:
    run = train_tracked(store, "mixed-up", make_bundle(tmp_path / "a", 5.0))
    with pytest.raises(ModelGateError, match="trained bundle"):
        register(store, make_bundle(tmp_path / "b", 6.0), "mixed", run.run_id)


def test_files_changed_in_the_artifact_store_are_not_handed_out(
    store: TrackingStore, home: Path, tmp_path: Path
) -> None:
    registered = register(store, make_bundle(tmp_path / "a", 7.0), "tampered")
    kept = home / "artifacts" / registered.run_id / "artifacts" / "model" / "bundle"
    weights = bytearray((kept / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (kept / "weights.safetensors").write_bytes(weights)
    with pytest.raises(ModelGateError, match="was changed"):
        download_bundle(store, "tampered", "challenger", tmp_path / "taken")
    # Another bundle that is sound in itself is not the one that was registered either.
    for file in make_bundle(tmp_path / "b", 8.0).folder.iterdir():
        (kept / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ModelGateError, match="was registered with bundle"):
        download_bundle(store, "tampered", "challenger", tmp_path / "taken")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.parametrize("damage", ["flipped", "missing", "emptied", "another"])
def test_a_copy_that_was_damaged_here_is_fetched_again(store: TrackingStore, tmp_path: Path, damage: str) -> None:
    bundle, name = make_bundle(tmp_path / "a", 11.0), f"mended-{damage}"
    register(store, bundle, name)
    copy = download_bundle(store, name, "challenger", tmp_path / "kept").folder
    weights = copy / "weights.safetensors"
    if damage == "flipped":
        weights.write_bytes(weights.read_bytes()[:-1] + b"\xff")
    elif damage == "missing":
        weights.unlink()
    elif damage == "emptied":  # as a power failure leaves files that were never written out
        for file in copy.iterdir():
            file.write_bytes(b"")
    else:
        for file in make_bundle(tmp_path / "b", 12.0).folder.iterdir():
            (copy / file.name).write_bytes(file.read_bytes())
    with ThreadPoolExecutor(3) as several:
        taken = list(
            several.map(lambda _: download_bundle(store, name, "challenger", tmp_path / "kept"), range(3))
        )
    assert {one.content_hash for one in taken} == {bundle.content_hash}
    assert ModelBundle.open(copy).content_hash == bundle.content_hash
    assert not [path for path in tmp_path.iterdir() if ".part-" in path.name]


def test_a_damaged_copy_is_refused_and_kept_while_the_registry_has_nothing_better(
    store: TrackingStore, home: Path, tmp_path: Path
) -> None:
    registered = register(store, make_bundle(tmp_path / "a", 13.0), "worse")
    copy = download_bundle(store, "worse", "challenger", tmp_path / "kept").folder
    kept = home / "artifacts" / registered.run_id / "artifacts" / "model" / "bundle"
    for folder in (kept, copy):
        (folder / "history.json").write_bytes(b"{}")
    with pytest.raises(ModelGateError, match="was changed"):
        download_bundle(store, "worse", "challenger", tmp_path / "kept")
    assert (copy / "history.json").read_bytes() == b"{}"


def test_a_bundle_has_its_name_only_when_every_byte_of_it_is_on_disk(
    store: TrackingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(store, make_bundle(tmp_path / "a", 14.0), "on-disk")
    folder, done, fsync = tmp_path / "cache" / "kept", [], os.fsync

    def noting(descriptor: int) -> None:
        fsync(descriptor)
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        done.append((path.relative_to(tmp_path / "cache").as_posix().partition("/")[2], folder.exists()))

    monkeypatch.setattr(os, "fsync", noting)
    download_bundle(store, "on-disk", "challenger", folder)
    assert sorted(done[:-2]) == [(name, False) for name in sorted(BUNDLE_FILES)]
    assert done[-2:] == [("", False), ("", True)]  # the folder itself, then the one it was named in


@pytest.mark.parametrize("which", ["champion", "99", "nobody"])
def test_a_version_that_is_not_there_cannot_be_downloaded(
    store: TrackingStore, tmp_path: Path, which: str
) -> None:
    register(store, make_bundle(tmp_path / "a", 9.0), "lonely")
    with pytest.raises(UsageProblem, match=which):
        download_bundle(store, "lonely", which, tmp_path / "b")
    with pytest.raises(UsageProblem):
        download_bundle(store, "nothing-called-so", which, tmp_path / "b")


def test_a_place_that_cannot_be_written_is_an_environment_problem(store: TrackingStore, tmp_path: Path) -> None:
    register(store, make_bundle(tmp_path / "a", 10.0), "unwritable")
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentProblem, match="cannot be put at"):
        download_bundle(store, "unwritable", "challenger", tmp_path / "file" / "b")


@pytest.mark.parametrize("name", ["", "../x", "a/b", "x#y", "a b", "a'b", "-a", "ä", "a" * 65])
def test_odd_model_names_are_refused(store: TrackingStore, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageProblem):
        register(store, make_bundle(tmp_path / "bundle", 1.0), name)
    with pytest.raises(UsageProblem):
        download_bundle(store, name, "challenger", tmp_path / "taken")
    with pytest.raises(UsageProblem):
        model_status(store, name)


def test_a_model_nobody_registered_has_neither_champion_nor_challenger(store: TrackingStore) -> None:
    status = model_status(store, "unheard-of")
    assert (status.champion, status.challenger) == (None, None)


# Description


def make_evaluation(notes: list[str]) -> Evaluation:
    sure = Estimate(value=0.9512, low=0.8934, high=0.9781, n=123, method="wilson")
    undefined = Estimate(value=None, n=0, undefined="no positives in this split")
    shared = {"positive_groups": 1, "operating_point": None, "ppv": undefined, "npv": undefined, "roc": None}
    seen = ClassEvaluation(
        name="covid19",
        title="COVID-19 | viral",
        n_positive=123,
        n_negative=300,
        sensitivity=sure,
        specificity=sure,
        roc_auc=sure,
        judgement="enough",
        **shared,
    )
    unseen = seen.model_copy(
        update={"title": "Normal", "n_positive": 0, "sensitivity": undefined, "judgement": "too few to judge"}
    )
    return Evaluation(
        architecture="simple_cnn",
        split="test",
        n=423,
        n_groups=400,
        without_patient_id=17,
        class_names=["covid19", "normal"],
        classes=[seen, unseen],
        confusion=[[1, 0], [0, 1]],
        accuracy=sure,
        balanced_accuracy=undefined,
        macro_auc=sure,
        primary_metric="macro_auc",
        primary=sure,
        notes=notes,
    )


def test_the_description_holds_numbers_provenance_and_the_way_to_reproduce() -> None:
    page = version_description(
        make_evaluation(["external test set missing"]), make_spec(), ["3 rows in quarantine"]
    )
    row = next(line for line in page.splitlines() if line.startswith("| COVID-19"))
    assert row.startswith("| COVID-19 \\| viral | &ensp;123 | &ensp;0.951 [0.893, 0.978] | ")
    assert "undefined (no positives in this split)" in page
    assert "too few to judge" in page
    assert "lungline train quickstart" in page
    assert "d" * 64 in page
    assert "not a medical device" in page
    assert page.endswith("- 3 rows in quarantine\n- external test set missing")


def test_a_description_that_would_be_too_long_says_what_it_leaves_out() -> None:
    page = version_description(make_evaluation([]), make_spec(), [f"note {i} " + "x" * 200 for i in range(40)])
    assert len(page) <= DESCRIPTION_CHARACTERS
    assert page.splitlines()[-1] == "- further notes are in the run report"
    assert "note 0" in page


def test_the_store_leaves_the_global_mlflow_state_alone(store: TrackingStore) -> None:
    train_tracked(store, "global")
    import mlflow

    assert mlflow.active_run() is None
    assert mlflow.get_tracking_uri() != store.tracking_uri
