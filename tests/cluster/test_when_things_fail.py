"""What goes wrong on a cluster: pods and services that fail, more asked than any node has, orphaned runs."""

from __future__ import annotations

import json
import time

import pytest

from tests.cluster.cluster import Cluster, Document, wait_for
from tests.cluster.conftest import FIRST_RUN, Trained
from tests.cluster.stumbling_store import stumbling_store


def again(seed: int) -> tuple[str, ...]:
    """The same data with other draws: data and their checks come from the cache, networks are trained."""
    return (*FIRST_RUN, "--set", f"training.seed={seed}")


def train_pods(cluster: Cluster, step: str, phase: str) -> list[Document]:
    return [pod for pod in cluster.pods(f"step_name={step}") if pod["status"]["phase"] == phase]


@pytest.mark.usefixtures("trained")
def test_f52_a_step_whose_pod_is_lost_is_tried_again(cluster: Cluster) -> None:
    with cluster.started(*again(1)) as process:
        running = wait_for("a pod that trains", lambda: train_pods(cluster, "train_simple_cnn", "Running"), 300)
        lost = running[-1]["metadata"]["name"]
        cluster.kubectl("delete", "pod", lost, "--grace-period=0", "--force")
        out, err = process.communicate(timeout=1500)
    assert process.returncode == 0, out + err
    finished = train_pods(cluster, "train_simple_cnn", "Succeeded")[-1]
    assert finished["metadata"]["name"] != lost


@pytest.mark.usefixtures("trained")
def test_f52_a_step_that_needs_more_memory_than_it_asked_for_fails_in_words(cluster: Cluster) -> None:
    small = {"LUNGLINE_TRAIN_MEMORY": "150Mi"}
    failed = cluster.lungline(*again(2), environment=small, seconds=1500)
    assert failed.code == 6, failed.said
    assert "Traceback" not in failed.said
    died = train_pods(cluster, "train_simple_cnn", "Failed")
    ended = [pod["status"]["containerStatuses"][0]["state"]["terminated"]["reason"] for pod in died]
    assert ended == ["OOMKilled"] * 3  # once, and the two retries of the stack file
    assert run_of(died[0]) not in open_runs(cluster)


def test_a_store_that_refuses_requests_costs_no_step(
    cluster: Cluster, stack: str, trained: Trained, store_keys: dict[str, str]
) -> None:
    with stumbling_store(cluster, every=5) as store:
        through_it = {"LUNGLINE_S3_ENDPOINT": store.address}
        applied = cluster.lungline("stack", "apply", stack, environment=through_it | store_keys)
        assert applied.code == 0, applied.said
        done = cluster.lungline(*again(5), environment=through_it, seconds=1500)
        refused = store.refused()
    back = cluster.lungline("stack", "apply", stack, environment=store_keys)
    assert back.code == 0, back.said
    assert done.code == 0, done.said
    assert done.document["trained"] == trained.document["trained"]
    methods = {line.split()[1] for line in refused}
    assert {"GET", "PUT"} <= methods


def test_a_zenml_server_that_starts_anew_ends_no_run(cluster: Cluster, trained: Trained) -> None:
    with cluster.started(*again(6)) as process:
        wait_for("a pod that trains", lambda: train_pods(cluster, "train_simple_cnn", "Running"), 300)
        cluster.restart_zenml()
        out, err = process.communicate(timeout=1500)
    assert process.returncode == 0, out + err
    document = json.loads(out)
    assert document["registered"]["name"] == trained.document["registered"]["name"]
    assert document["run"] not in open_runs(cluster)


def test_a_gpu_that_no_node_has_is_reported_and_the_run_is_closed(cluster: Cluster, trained: Trained) -> None:
    wanting = {"LUNGLINE_TRAIN_GPUS": "1"}
    with cluster.started(*again(4), environment=wanting) as process:
        pending = wait_for("a pod that waits", lambda: train_pods(cluster, "train_simple_cnn", "Pending"), 300)
        run = run_of(pending[-1])
        looked = cluster.lungline("doctor", "--stack", "kubernetes", "--json", environment=wanting)
        assert looked.code == 5, looked.said
        wrong = "\n".join(one["found"] for one in looked.document["findings"] if one["state"] == "wrong")
        assert "nvidia.com/gpu" in wrong
        # Nobody is left to end the run: first the client is lost, then who starts the steps, then the steps.
        process.kill()
        process.communicate()
    lose(cluster, "app.kubernetes.io/component=door")
    for who in (f"run_name={run},!step_name", f"run_name={run}"):
        cluster.kubectl("delete", "jobs", "--selector", who, "--cascade=orphan")
        lose(cluster, who)
    cluster.kubectl("rollout", "status", "deploy/client", "--timeout=200s", seconds=210)
    assert run in open_runs(cluster)
    # Jobs may come up to a quarter of an hour after their run; an age that a person names is taken instead.
    closed = cluster.lungline("reconcile", "--stack", "kubernetes", "--older-than", "0", "--json")
    assert closed.code == 0, closed.said
    assert run in {one["name"] for one in closed.document["judged"] if one["did"] == "closed"}
    assert run not in open_runs(cluster)


def lose(cluster: Cluster, selector: str) -> None:
    """Take pods away as with their node, and wait until they really stopped."""
    cluster.kubectl("delete", "pods", "--selector", selector, "--grace-period=0", "--force")
    time.sleep(35)  # a pod that is gone from the API has its 30 seconds all the same


def run_of(pod: Document) -> str:
    return str(pod["metadata"]["labels"]["run_name"])


def open_runs(cluster: Cluster) -> list[str]:
    """Names of ZenML's runs that have not ended."""
    program = (
        "from zenml.client import Client; "
        "print(*(run.name for run in Client().list_pipeline_runs(size=1000) if not run.status.is_finished))"
    )
    return cluster.python(program).split()
