"""Experiment tracking in MLflow: one parent run per pipeline run, one child run per architecture.

Tracking is telemetry and fails open: an unreachable MLflow costs its records, never the training. How long a
dead server is waited for is MLflow's own setting: MLFLOW_HTTP_REQUEST_MAX_RETRIES (its default of 7 waits about
four minutes) and MLFLOW_HTTP_REQUEST_TIMEOUT (seconds). Each run waits for it once.

Every call names its store and its run. MLflow's active run and global tracking URI are never used, so steps may
run as threads of one process.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from data_contracts.errors import LunglineError, UsageProblem
from models.registry.bundle import ModelBundle
from models.registry.database import prepared_database
from models.registry.outage import Tracking, store_errors, without_credentials
from models.training.history import EpochRecord

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

PIPELINE_RUN_TAG = "lungline.pipeline_run"
ROLE_TAG = "lungline.role"
BUNDLE_TAG = "lungline.bundle"
PARENT_TAG = "mlflow.parentRunId"  # MLflow's interface nests runs by this tag

PIPELINE = "pipeline"
ARCHITECTURE = "architecture"
SEARCH = "search"
TRIAL = "trial"

Outcome = Literal["FINISHED", "FAILED", "KILLED"]

# MLflow's interface else opens an experiment on its pages for language models.
_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}

_RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,199}")

# Limits of MLflow 3; longer values are cut rather than refused.
_PARAM_CHARACTERS = 6000
_TAG_CHARACTERS = 8000
_KEY_CHARACTERS = 250
_PARAMS_PER_CALL = 100


class TrackingStore:
    """One MLflow store, named by its URI; opened at first use. What logs runs never raises because MLflow fails.

    tracking_uri: sqlite:///…, http(s)://… or whatever else MLflow accepts. artifact_root: where an SQLite store
    keeps its artifacts, beside the database if None; a server decides that itself.
    """

    def __init__(self, tracking_uri: str, artifact_root: Path | None = None) -> None:
        self.tracking_uri = tracking_uri
        self._database = _sqlite_file(tracking_uri)
        self._artifact_root = artifact_root

    @cached_property
    def client(self) -> MlflowClient:
        """The MLflow client of this store alone. Raises what MLflow raises, EnvironmentProblem for a bad file."""
        from mlflow.tracking import MlflowClient

        with prepared_database(self._database) if self._database else nullcontext():
            return MlflowClient(tracking_uri=self.tracking_uri, registry_uri=self.tracking_uri)

    def parent_run(
        self, experiment: str, pipeline_run: str, tags: Mapping[str, str], params: Mapping[str, object]
    ) -> str:
        """The id of the parent run of a pipeline run, created if there is none; "" if MLflow does not answer.

        Several steps may ask at once: they agree on the run that was started first. params: settings, nested as
        they come; nothing that identifies a patient.
        """
        _require_run_name(pipeline_run)
        run_id = self._tracking().attempt(
            "parent run", lambda: self._get_or_create_parent(experiment, pipeline_run, tags, params)
        )
        return run_id or ""

    def child_run(
        self,
        parent_run_id: str,
        name: str,
        params: Mapping[str, object],
        tags: Mapping[str, str],
        role: str = ARCHITECTURE,
    ) -> TrackedRun:
        """A new run below a parent. Below a lost parent ("") it is lost too, without asking MLflow again.

        An unfinished child of the same name is an earlier attempt at the same work that was interrupted; it is
        ended as KILLED.
        """
        if not parent_run_id:
            return self.attach("")
        tracking = self._tracking()
        run_id = tracking.attempt("child run", lambda: self._create_child(parent_run_id, name, params, tags, role))
        return TrackedRun(self, run_id or "", tracking)

    def run_tagged(self, experiment: str, tag: str, value: str) -> str:
        """The id of the experiment's run whose tag has that value; "" if there is none or MLflow does not answer."""

        def find() -> str:
            runs = self.client.search_runs([self.experiment_id(experiment)], f"tags.`{tag}` = '{value}'")
            return str(runs[0].info.run_id) if runs else ""

        return self._tracking().attempt("search", find) or ""

    def finish_parent(self, experiment: str, pipeline_run: str, outcome: Outcome = "FINISHED") -> None:
        """End the parent run of a pipeline run, if it has one; lost without a trace if MLflow does not answer."""
        _require_run_name(pipeline_run)
        self._tracking().attempt("finish", lambda: self._finish_parent(experiment, pipeline_run, outcome))

    def attach(self, run_id: str) -> TrackedRun:
        """An existing run to log more to, as a later step does; for "" everything is lost and counted."""
        return TrackedRun(self, run_id, self._tracking(given_up=not run_id))

    def answers(self) -> bool:
        """Whether `check` finds nothing."""
        try:
            self.check()
        except LunglineError:
            return False
        return True

    def check(self) -> None:
        """Raise EnvironmentProblem or ExternalServiceError unless the store answers; makes an absent database."""
        with store_errors(self.tracking_uri):
            self.client.search_experiments(max_results=1)

    def experiment_id(self, name: str) -> str:
        """The id of an experiment, created or brought back from MLflow's bin if need be."""
        from mlflow.exceptions import MlflowException

        found = self.client.get_experiment_by_name(name)
        if found is None:
            try:
                return self.client.create_experiment(name, self._artifact_location(), _EXPERIMENT_TAGS)
            except MlflowException:
                # Another process may have created it a moment ago.
                found = self.client.get_experiment_by_name(name)
                if found is None:
                    raise
        if found.lifecycle_stage == "deleted":
            self.client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def _artifact_location(self) -> str | None:
        # MLflow's own choice for SQLite would be a folder in whatever directory the process stands in.
        if not self._database:
            return None
        root = self._artifact_root or self._database.parent / "artifacts"
        return root.absolute().as_uri()

    def _tracking(self, *, given_up: bool = False) -> Tracking:
        return Tracking(without_credentials(self.tracking_uri), given_up=given_up)

    def _get_or_create_parent(
        self, experiment: str, pipeline_run: str, tags: Mapping[str, str], params: Mapping[str, object]
    ) -> str:
        experiment_id = self.experiment_id(experiment)
        own_tags = {**tags, PIPELINE_RUN_TAG: pipeline_run, ROLE_TAG: PIPELINE}
        parent = self._first_parent(experiment_id, pipeline_run)
        if parent is None:
            own = self.client.create_run(experiment_id, run_name=pipeline_run, tags=_cut_tags(own_tags))
            parent = self._first_parent(experiment_id, pipeline_run) or own
            if parent.info.run_id != own.info.run_id:
                self.client.delete_run(own.info.run_id)
        if not parent.data.params:
            self._log_params(parent.info.run_id, params)
        return str(parent.info.run_id)

    def _finish_parent(self, experiment: str, pipeline_run: str, outcome: Outcome) -> None:
        found = self.client.get_experiment_by_name(experiment)
        parent = self._first_parent(found.experiment_id, pipeline_run) if found else None
        if parent:
            self.client.set_terminated(parent.info.run_id, outcome)

    def _first_parent(self, experiment_id: str, pipeline_run: str) -> Run | None:
        runs = self.client.search_runs(
            [experiment_id],
            f"tags.`{PIPELINE_RUN_TAG}` = '{pipeline_run}' and tags.`{ROLE_TAG}` = '{PIPELINE}'",
        )
        return min(runs, key=lambda run: (run.info.start_time, run.info.run_id), default=None)

    def _create_child(
        self, parent_run_id: str, name: str, params: Mapping[str, object], tags: Mapping[str, str], role: str
    ) -> str:
        experiment_id = self.client.get_run(parent_run_id).info.experiment_id
        earlier = self.client.search_runs(
            [experiment_id], f"tags.`{PARENT_TAG}` = '{parent_run_id}' and attributes.status = 'RUNNING'"
        )
        for run in earlier:
            if run.info.run_name == name:
                self.client.set_terminated(run.info.run_id, "KILLED")
        own_tags = {**tags, PARENT_TAG: parent_run_id, ROLE_TAG: role}
        child = self.client.create_run(experiment_id, run_name=name, tags=_cut_tags(own_tags))
        self._log_params(child.info.run_id, params)
        return str(child.info.run_id)

    def _log_params(self, run_id: str, params: Mapping[str, object]) -> None:
        from mlflow.entities import Param

        flat = (Param(_key(name), value[:_PARAM_CHARACTERS]) for name, value in _flattened(params))
        while some := list(islice(flat, _PARAMS_PER_CALL)):
            self.client.log_batch(run_id, params=some)


class TrackedRun:
    """One run in MLflow to log to. Nothing here raises because MLflow fails; `lost` counts what had no effect.

    run_id: "" where the run itself could not be created.
    """

    def __init__(self, store: TrackingStore, run_id: str, tracking: Tracking) -> None:
        self.run_id = run_id
        self._store = store
        self._tracking = tracking

    @property
    def lost(self) -> int:
        return self._tracking.lost

    def log_epoch(self, record: EpochRecord) -> None:
        """The epoch's measures, at step = epoch; an undefined measure is left out."""
        self.log_metrics(record.model_dump(exclude={"epoch"}), step=record.epoch)

    def log_metrics(self, metrics: Mapping[str, float | None], step: int = 0, at: int | None = None) -> None:
        """Numbers by name; None is left out. at: when they were measured, ms since 1970, None for now.

        MLflow keeps one value per name, step and time, so that logging again changes nothing.
        """
        from mlflow.entities import Metric

        now = int(time.time() * 1000) if at is None else at
        values = [Metric(_key(name), value, now, step) for name, value in metrics.items() if value is not None]
        self._tracking.attempt("metrics", lambda: self._store.client.log_batch(self.run_id, metrics=values))

    def log_folder(self, folder: Path, artifact_path: str) -> None:
        """Everything in a folder, kept under `artifact_path` of the run."""
        self._tracking.attempt(
            "artifacts", lambda: self._store.client.log_artifacts(self.run_id, str(folder), artifact_path)
        )

    def name_bundle(self, bundle: ModelBundle) -> None:
        """Say which bundle this run trained, so that registration finds the run. Uploads nothing."""
        self.name_bundle_hash(bundle.content_hash)

    def name_bundle_hash(self, content_hash: str) -> None:
        """The same by the bundle's content hash."""
        self._tracking.attempt("bundle", lambda: self._store.client.set_tag(self.run_id, BUNDLE_TAG, content_hash))

    def finish(self, outcome: Outcome = "FINISHED") -> None:
        self._tracking.attempt("finish", lambda: self._store.client.set_terminated(self.run_id, outcome))


def _sqlite_file(tracking_uri: str) -> Path | None:
    scheme, _, rest = tracking_uri.partition(":///")
    return Path(rest.partition("?")[0]) if scheme == "sqlite" else None


def _require_run_name(name: str) -> None:
    if not _RUN_NAME.fullmatch(name):
        raise UsageProblem(
            f"{name!r} cannot name a pipeline run.",
            why="The name is searched for in MLflow, where quotes and spaces would change the question.",
            cure="Use letters, digits and . : _ - only.",
        )


def _flattened(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)


def _key(name: str) -> str:
    return re.sub(r"[^\w.:-]", "_", name)[:_KEY_CHARACTERS]


def _cut_tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {_key(name): value[:_TAG_CHARACTERS] for name, value in tags.items()}
