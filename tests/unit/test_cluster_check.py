"""What `lungline doctor --stack` says of a cluster, asked through the real client of a small API server."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.stacks.stack_file import StackFile, load_stack
from pipelines.cluster import ClusterProblem, connect
from pipelines.cluster_check import cluster_findings
from pipelines.findings import Finding
from pipelines.quantities import number

pytest.importorskip("kubernetes", reason="the extra kubernetes is not installed")

HERE = "/api/v1/namespaces/lungline"
SITE = {"LUNGLINE_REGISTRY": "registry.example", "LUNGLINE_TRAIN_IMAGE": "registry.example/lungline-train:0.1.0"}


class Api(ThreadingHTTPServer):
    """Answers what it was given by path, 404 otherwise; a number in place of an answer is its status."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, Any] = {}
        self.refused: set[str] = set()
        self.accepted: dict[str, str] = {}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Api

    def do_GET(self) -> None:
        self.server.accepted[self.path] = self.headers["Accept"]
        self._answer(self.server.answers.get(self.path.partition("?")[0], 404))

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        wanted = asked["spec"]["resourceAttributes"]
        self._answer({"status": {"allowed": f"{wanted['verb']} {wanted['resource']}" not in self.server.refused}})

    def _answer(self, answer: Any) -> None:
        body = json.dumps({} if isinstance(answer, int) else answer).encode()
        self.send_response(answer if isinstance(answer, int) else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """A cluster with everything that the stack file asks for."""
    with Api() as server:
        server.answers = {
            "/version": {"major": "1", "minor": "35", "gitVersion": "v1.35.1"},
            HERE: {"status": {"phase": "Active"}},
            **{f"{HERE}/serviceaccounts/{name}": {} for name in ("lungline-step", "lungline-orchestrator")},
            f"{HERE}/persistentvolumeclaims/lungline-data": {"status": {"phase": "Bound"}},
            f"{HERE}/secrets/lungline-client": {},
            "/api/v1/nodes": {"items": [node("big", cpu="16", memory="64Gi", gpu="2", taint="nvidia.com/gpu")]},
            f"{HERE}/pods": {"items": []},
        }
        server.answers["/api/v1/nodes"]["items"].append(node("small", cpu="7900m", memory="31Gi"))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        use_cluster(server.address, tmp_path, monkeypatch)
        yield server
        server.shutdown()


def use_cluster(address: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = folder / "kubeconfig"
    content = {
        "current-context": "site",
        "clusters": [{"name": "site", "cluster": {"server": address}}],
        "users": [{"name": "anna", "user": {"token": "of-anna"}}],
        "contexts": [{"name": "site", "context": {"cluster": "site", "user": "anna"}}],
    }
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(file))


def node(name: str, *, cpu: str, memory: str, gpu: str = "0", taint: str = "") -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": {"zone": name}},
        "spec": {"taints": [{"key": taint, "effect": "NoSchedule"}] if taint else None},
        "status": {"allocatable": {"cpu": cpu, "memory": memory, "nvidia.com/gpu": gpu}},
    }


def stack(**variables: str) -> StackFile:
    return load_stack("kubernetes", SITE | {"LUNGLINE_KUBE_CONTEXT": "site", **variables})


def looked_at(described: StackFile | None = None) -> dict[str, Finding]:
    return {one.subject: one for one in cluster_findings(described or stack())}


def test_a_cluster_that_has_everything_is_fine(api: Api) -> None:
    found = looked_at()
    assert {one.state for one in found.values()} == {"ok"}, found
    assert found["cluster"].found.startswith("Kubernetes v1.35.1 at http://127.0.0.1")
    assert found["step train_*"].found == "asks 8 CPU, 32.0 GiB, 1 GPU; fits 1 of 2 nodes"
    assert found["step evaluate_*"].found == "asks 4 CPU, 16.0 GiB, 0 GPU; fits 1 of 2 nodes"


def test_what_a_secret_holds_is_not_fetched(api: Api) -> None:
    looked_at()
    assert "PartialObjectMetadata" in api.accepted[f"{HERE}/secrets/lungline-client"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"LUNGLINE_TRAIN_GPUS": "4"}, "big gives 2 GPU for 4"),
        ({"LUNGLINE_TRAIN_CPU": "32"}, "big gives 16 CPU for 32"),
        ({"LUNGLINE_TRAIN_MEMORY": "80Gi"}, "big gives 64.0 GiB for 80.0"),
    ],
)
def test_a_training_that_asks_more_than_any_node_gives_is_wrong_with_the_numbers(
    api: Api, asked: dict[str, str], said: str
) -> None:
    """F52: such a pod would stay Pending for ever."""
    finding = looked_at(stack(**asked))["step train_*"]
    assert finding.state == "wrong"
    assert said in finding.found


def test_taints_labels_and_cordons_count(api: Api) -> None:
    described = stack()
    trains = described.steps["train_*"]
    bare = described.model_copy(
        update={"steps": described.steps | {"train_*": trains.model_copy(update={"tolerations": []})}}
    )
    assert "big has the taint nvidia.com/gpu" in looked_at(bare)["step train_*"].found
    picky = described.model_copy(
        update={"steps": described.steps | {"train_*": trains.model_copy(update={"node_selector": {"zone": "x"}})}}
    )
    assert "big has no label zone=x" in looked_at(picky)["step train_*"].found
    api.answers["/api/v1/nodes"]["items"][0]["spec"]["unschedulable"] = True
    assert "node.kubernetes.io/unschedulable" in looked_at()["step train_*"].found


def test_what_is_missing_is_named_and_what_may_not_be_seen_is_a_note(api: Api) -> None:
    del api.answers[f"{HERE}/persistentvolumeclaims/lungline-data"]
    api.answers[f"{HERE}/secrets/lungline-client"] = 403
    api.answers["/api/v1/nodes"] = 403
    found = looked_at()
    claim = found["claim lungline-data"]
    assert (claim.state, claim.found) == (
        "wrong",
        "is not in the cluster",
    )
    assert found["secret lungline-client"].state == "note"
    assert found["nodes"].state == "note"


def test_missing_rights_are_named(api: Api) -> None:
    api.refused = {"create cronjobs"}
    assert looked_at()["rights"].state == "note"
    api.refused = {"create cronjobs", "create jobs"}
    assert (looked_at()["rights"].state, looked_at()["rights"].found) == (
        "wrong",
        "may not create jobs, create cronjobs",
    )


def test_waiting_pods_are_shown_with_their_reason(api: Api) -> None:
    """F52: a pod that nothing will start, and one that only pulls its image."""
    unschedulable = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes"}
    states = {
        "no-node": {"phase": "Pending", "conditions": [unschedulable]},
        "no-image": {
            "phase": "Pending",
            "containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}}],
        },
        "starting": {
            "phase": "Pending",
            "containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}],
        },
        "working": {"phase": "Running"},
    }
    api.answers[f"{HERE}/pods"] = {"items": [{"metadata": {"name": n}, "status": s} for n, s in states.items()]}
    found = {name: (one.state, one.found) for name, one in looked_at().items() if name.startswith("pod ")}
    assert found == {
        "pod no-node": ("wrong", "waits: Unschedulable: 0/2 nodes"),
        "pod no-image": ("wrong", "waits: ImagePullBackOff: not found"),
        "pod starting": ("note", "waits: ContainerCreating"),
    }


def test_an_old_cluster_is_a_note_that_says_what_it_lacks(api: Api) -> None:
    api.answers["/version"] = {"major": "1", "minor": "20+", "gitVersion": "v1.20.2"}
    finding = looked_at()["cluster"]
    assert finding.state == "note"
    assert "Schedules need 1.21" in finding.cure


def test_a_cluster_that_does_not_answer_is_one_finding_in_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()  # takes the connection and says nothing
        use_cluster(f"http://127.0.0.1:{deaf.getsockname()[1]}", tmp_path, monkeypatch)
        monkeypatch.setattr("pipelines.cluster.SECONDS", 0.3)
        began = time.monotonic()
        found = looked_at()
    assert time.monotonic() - began < 3
    assert [one.state for one in found.values()] == ["wrong"]
    assert "does not answer" in found["cluster"].found


def test_neither_inside_a_cluster_nor_a_kubeconfig_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ClusterProblem, match="Service host"):
        connect("", incluster=True)


@pytest.mark.parametrize(("written", "meant"), [("200m", 0.2), ("8", 8), ("32Gi", 2**35), ("1500M", 1.5e9)])
def test_quantities_are_read_as_kubernetes_means_them(written: str, meant: float) -> None:
    assert number(written) == pytest.approx(meant)
