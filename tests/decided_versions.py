"""A hospital's registry with three small versions and a decision log, in a file or in a database, for fault tests."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from torch import nn

from data_contracts.workspace import Workspace
from models.preprocessing import Preprocessing
from models.registry.bundle import BundleSpec, ModelBundle
from models.registry.decisions.database_storage import HEAD, LINES
from models.registry.decisions.decide import approve, reject, rollback
from models.registry.decisions.entries import Decision
from models.registry.decisions.file_storage import FileStorage
from models.registry.decisions.log import DecisionLog
from models.registry.decisions.person import ACCOUNT, OS_USER, TRAINED_BY_TAG, Person
from models.registry.decisions.storage import LogStorage
from models.registry.decisions.watchdog import verify
from models.registry.dossiers import DossierVerdict, write_dossier
from models.registry.follow import tracking_store
from models.registry.status import model_status
from models.registry.tracking import TrackingStore
from models.registry.versions import register_challenger
from models.training.history import EpochRecord, TrainingHistory
from tests.mariadb_server import MariaDB

MODEL = "lungline-chest"
ANNA = Person(name="anna", kind=ACCOUNT, account_id="1")
USER = Person(name="mueller", kind=OS_USER)
REASON = "better on every class"


def make_bundle(folder: Path, value: float) -> ModelBundle:
    model = nn.Linear(2, 2)
    nn.init.constant_(model.weight, value)
    nn.init.zeros_(model.bias)
    spec = BundleSpec(
        task="two-classes",
        class_names=["covid19", "normal"],
        architecture="simple_cnn",
        image_size=32,
        preprocessing=Preprocessing(size=32, mode="half"),
        operating_points={},
        seed=7,
        recipe_name="chest",
        recipe={},
        data_hash="d" * 64,
        versions={},
    )
    record = EpochRecord(epoch=0, learning_rate=0.1, train_loss=1, val_loss=1, val_macro_auc=None, val_accuracy=1)
    return ModelBundle.write(folder, model, spec, TrainingHistory(epochs=[record], best_epoch=0))


class Hospital:
    """A registry with three versions of a model, and shorthands to decide about them.

    server: where LUNGLINE_DECISIONS_URL points; None with the log in a file.
    """

    def __init__(self, home: Path, server: MariaDB | None = None) -> None:
        self.server = server
        self.workspace = Workspace(home)
        self.store: TrackingStore = tracking_store(self.workspace)
        self.log = DecisionLog.of(self.workspace)

    def register(self, number: int, trained_by: Person | None = None) -> None:
        register_challenger(
            self.store,
            make_bundle(self.workspace.cache / str(number), float(number)),
            model_name=MODEL,
            tags={TRAINED_BY_TAG: trained_by.model_dump_json()} if trained_by else {},
            description_markdown="",
        )

    def review(self, version: str, champion: str | None = None, verdict: str = "PROMOTE") -> str:
        content = {
            "model_name": MODEL,
            "challenger": version,
            "champion": champion,
            "test_set_hash": "t",
            "verdict": verdict,
            "reasons": ["first model"],
            "created_by_run": "run-1",
        }
        return write_dossier(self.workspace, DossierVerdict.model_validate(content), {"dossier.html": b"<p>"}).hash

    def approve(self, version: str, dossier: str, person: Person = USER, **settings: object) -> Decision:
        asked = {"model": MODEL, "version": version, "reason": REASON, "dossier": dossier, **settings}
        return approve(self.workspace, self.store, person, **asked)  # type: ignore[arg-type]

    def reject(self, version: str, **settings: object) -> Decision:
        asked = {"model": MODEL, "version": version, "reason": REASON, **settings}
        return reject(self.workspace, self.store, USER, **asked)  # type: ignore[arg-type]

    def rollback(self) -> Decision:
        return rollback(self.workspace, self.store, USER, model=MODEL, reason=REASON)

    def aliases(self) -> tuple[str | None, str | None, str | None]:
        """champion, previous, challenger"""
        status = model_status(self.store, MODEL)
        champion, previous, challenger = (
            one and one.version for one in (status.champion, status.previous, status.challenger)
        )
        return champion, previous, challenger

    def kinds(self) -> list[str]:
        return [line.entry.kind for line in self.log.read().lines]

    def alarms(self) -> list[str]:
        found = verify(self.workspace, self.store)
        return [finding.what for finding in found.findings if finding.level == "alarm"]

    def rewrite(self, lines: bytes, head: bytes | None) -> None:
        """Put something else where the log lies, as whoever may write there could; no lines and no head: remove it."""
        rewrite(self.log.storage, lines, head, self.server)

    def weights_of(self, version: str) -> Path:
        run = self.store.client.get_model_version(MODEL, version).run_id
        (found,) = (self.workspace.mlflow / "artifacts" / run).rglob("weights.safetensors")
        return found


def registry_with_versions(home: Path) -> Path:
    """The home of a registry with three versions; takes seconds."""
    workspace = Workspace(home)
    workspace.create()
    for number in (1, 2, 3):
        Hospital(workspace.home).register(number)
    return workspace.home


def copied(template: Path, home: Path) -> Path:
    """A copy of such a home that knows its new place."""
    shutil.copytree(template, home)
    with closing(sqlite3.connect(home / "mlflow" / "mlflow.db")) as database, database:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            change = f"UPDATE {table} SET {column} = replace({column}, ?, ?)"  # noqa: S608
            database.execute(change, (template.as_uri(), home.as_uri()))
    return home


def rewrite(storage: LogStorage, lines: bytes, head: bytes | None, server: MariaDB | None = None) -> None:
    """Replace what a log consists of. server: where a log in a database lies."""
    if isinstance(storage, FileStorage):
        storage.path.unlink(missing_ok=True)
        storage.head_path.unlink(missing_ok=True)
        if lines:
            storage.path.write_bytes(lines)
        if head is not None:
            storage.head_path.write_bytes(head)
        return
    assert server is not None
    with server.root() as connection:
        run = connection.exec_driver_sql
        run(f"DELETE FROM lungline.{LINES}")  # noqa: S608
        run(f"DELETE FROM lungline.{HEAD}")  # noqa: S608
        for number, line in enumerate(lines.splitlines()):
            run(f"INSERT INTO lungline.{LINES} VALUES (%s, %s)", (number, line))  # noqa: S608
        if head is not None:
            run(f"INSERT INTO lungline.{HEAD} VALUES (1, %s)", (head,))  # noqa: S608
