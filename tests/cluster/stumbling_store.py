"""A pod before the S3 store that refuses some of the requests, as a busy or restarting store does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.cluster.cluster import S3, Cluster, Document, wait_for

DOOR = Path(__file__).parents[1] / "store_door.py"
NAME = "stumbling-store"
PORT = 8333
LABELS = {"app.kubernetes.io/name": NAME}


@dataclass(frozen=True, slots=True)
class StumblingStore:
    """address: what a stack file takes for the S3 endpoint."""

    cluster: Cluster
    address: str

    def refused(self) -> list[str]:
        """One line for each request that was refused: status, method and path."""
        return self.cluster.kubectl("logs", NAME).out.splitlines()


@contextmanager
def stumbling_store(cluster: Cluster, every: int) -> Iterator[StumblingStore]:
    """Every so many-th request gets a 503 or a 500 in place of an answer."""
    documents = [_program(), _pod(cluster, every), _way_in(), _way_there()]
    cluster.kubectl("apply", "--filename=-", given=yaml.safe_dump_all(documents))
    try:
        cluster.kubectl("wait", "pod", NAME, "--for=condition=Ready", "--timeout=200s", seconds=210)
        host = wait_for("the pod's address", lambda: cluster.get("pod", NAME)["status"].get("podIP"), 60)
        yield StumblingStore(cluster, f"http://{host}:{PORT}")
    finally:
        for kind in ("pod", "configmap", "networkpolicy"):
            cluster.kubectl("delete", kind, "--selector", f"app.kubernetes.io/name={NAME}", "--grace-period=1")


def _program() -> Document:
    code = {DOOR.name: DOOR.read_text(encoding="utf-8")}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _named(NAME), "data": code}


def _pod(cluster: Cluster, every: int) -> Document:
    store = cluster.elsewhere.get(S3, S3).removeprefix("http://")
    container = {
        "name": "door",
        "image": cluster.image,
        "command": ["python3", f"/door/{DOOR.name}", store, str(PORT), str(every)],
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "program", "mountPath": "/door"}],
    }
    specification = {
        "automountServiceAccountToken": False,
        "restartPolicy": "Always",
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "program", "configMap": {"name": NAME}}],
    }
    # To the shipped network policies it is a step, so that the store lets it in.
    metadata = {"name": NAME, "labels": LABELS | {"app.kubernetes.io/component": "step"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": specification}


def _way_in() -> Document:
    """Every pod may speak to the door, and the door to every pod."""
    rules = {"podSelector": {"matchLabels": LABELS}, "policyTypes": ["Ingress", "Egress"]}
    anything: Document = {"ingress": [{}], "egress": [{}]}
    return _policy(NAME, rules | anything)


def _way_there() -> Document:
    there = {"to": [{"podSelector": {"matchLabels": LABELS}}]}
    return _policy(f"to-{NAME}", {"podSelector": {}, "policyTypes": ["Egress"], "egress": [there]})


def _policy(name: str, rules: Document) -> Document:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _named(name),
        "spec": rules,
    }


def _named(name: str) -> Document:
    return {"name": name, "labels": LABELS}
