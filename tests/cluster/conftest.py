"""The installation that all tests of this folder share; without a cluster they are skipped."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.cluster import CONTEXT, MODEL, Cluster, Document
from tests.cluster.installation import install

DATA = "/data/phantom"
# The recipe of a first run with fewer epochs: what is tried is the way, not how well a network learns.
FIRST_RUN = (
    *("train", "quickstart", "--data", DATA, "--stack", "kubernetes", "--json"),
    *("--set", "architectures.0.epochs=4", "--set", "training.epochs=4"),
)


@dataclass(frozen=True, slots=True)
class Trained:
    """A training in pods: what the command printed, and the pods of its steps as they ended."""

    document: dict[str, Any]
    pods: list[Document]

    def pod_of(self, step: str) -> Document:
        """The last try."""
        return [one for one in self.pods if one["metadata"]["labels"]["step_name"] == step][-1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not os.environ.get(CONTEXT):
        here = Path(__file__).parent
        for item in items:
            if item.path.is_relative_to(here):
                item.add_marker(pytest.mark.skip(reason=f"{CONTEXT} names no cluster"))


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the secrets of this installation lie, below `secrets`."""
    return tmp_path_factory.mktemp("installation")


@pytest.fixture(scope="session")
def cluster(folder: Path) -> Cluster:
    """The cluster with Lungline on it, as the guide says; what it could not take is printed."""
    cluster = Cluster.from_environment()
    left_out = install(cluster, folder)
    print(f"left out, because this cluster has no use for it: {', '.join(sorted(left_out)) or 'nothing'}")
    return cluster


@pytest.fixture(scope="session")
def store_keys(cluster: Cluster, folder: Path) -> dict[str, str]:
    """What `stack apply` takes the S3 store's keys from."""
    store = folder / "secrets" / "s3"
    return {
        "LUNGLINE_S3_ACCESS_KEY_ID": (store / "id").read_text(encoding="utf-8"),
        "LUNGLINE_S3_SECRET_ACCESS_KEY": (store / "secret").read_text(encoding="utf-8"),
    }


@pytest.fixture(scope="session")
def stack(cluster: Cluster, store_keys: dict[str, str]) -> str:
    """The name of the stack, registered from the file that is shipped."""
    applied = cluster.lungline("stack", "apply", "kubernetes", environment=store_keys)
    assert applied.code == 0, applied.said
    return "kubernetes"


@pytest.fixture(scope="session")
def trained(cluster: Cluster, stack: str) -> Trained:
    """The recipe of a first run, each step in a pod of its own, started and awaited at the door."""
    seed = str(int(time.time()) % 1_000_000)  # other images than an earlier trial's, whose results ZenML remembers
    drawn = cluster.lungline("data", "phantom", DATA, "--images", "240", "--size", "96", "--seed", seed)
    assert drawn.code == 0, drawn.said
    done = cluster.lungline(*FIRST_RUN, seconds=2400)
    assert done.code == 0, done.said
    return Trained(done.document, cluster.pods(f"step_name,run_name={done.document['run']}"))


@pytest.fixture(scope="session")
def dossier(cluster: Cluster, trained: Trained) -> str:
    """The hash of the evidence on the first version. A first model is never more than a HOLD."""
    reviewed = cluster.lungline("review", "--model", MODEL, "--challenger", "1", "--json")
    assert reviewed.code == 4, reviewed.said
    assert reviewed.document["review"]["verdict"] == "HOLD"
    return Path(reviewed.document["dossier"]).name


@pytest.fixture(scope="session")
def champion(cluster: Cluster, dossier: str) -> str:
    """The version that a person approved."""
    why = ("--model", MODEL, "--dossier", dossier, "--override", "--reason", "the first model of this trial")
    approved = cluster.lungline("approve", "1", *why, person=True)
    assert approved.code == 0, approved.said
    return "1"
