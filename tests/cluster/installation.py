"""Brings the shipped manifests to the cluster under test, and says what of them that cluster could not take."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
import yaml

from tests.cluster.cluster import DATABASE, KUBECTL, NAMESPACE, S3, ZENML, Cluster, Document, wait_for

ROOT = Path(__file__).parents[2]
SECRETS = ROOT / "deploy" / "kubernetes" / "secrets"
OVERLAY = ROOT / "deploy" / "kubernetes" / "overlays" / "single-node"
MLFLOW = "http://mlflow:5000"
POD_OWNERS = ("Deployment", "StatefulSet", "Job", "CronJob")
# What the manifests bring along for a service that runs elsewhere.
BRINGS = {ZENML: "zenml", S3: "s3", DATABASE: "database"}


def install(cluster: Cluster, folder: Path) -> list[str]:
    """Secrets, databases and manifests; returns once MLflow, the bucket and the client are there.

    Answers what was left out, as kind and name.
    """
    if cluster.bare:
        _remove_what_an_earlier_trial_left(cluster)
    rendered = cluster.rewritten(_kustomized(OVERLAY))
    shipped = [document for document in yaml.safe_load_all(rendered) if document]
    taken, left_out = _what_it_takes(cluster, shipped)
    _apply(cluster, [one for one in taken if one["kind"] == "Namespace"])
    secrets = _make_secrets(cluster, folder / "secrets")
    if cluster.bare:
        _make_databases(cluster, secrets, shipped)
        _apply(cluster, list(_folders_as_volumes(cluster, taken)))
    _apply(cluster, [one for one in taken if one["kind"] not in ("Namespace", *POD_OWNERS)])
    _apply(cluster, [one for one in taken if one["metadata"]["name"] == "mlflow" and one["kind"] == "Deployment"])
    cluster.kubectl("rollout", "status", "deploy/mlflow", "--timeout=400s", seconds=410)
    mlflow = _address_of_mlflow(cluster)
    _apply(cluster, [_named(one, mlflow) for one in taken if one["kind"] in POD_OWNERS])
    cluster.kubectl("rollout", "status", "deploy/client", "--timeout=200s", seconds=210)
    wait_for("the bucket", lambda: cluster.get("job", "make-bucket")["status"].get("succeeded"), 200)
    with forwarded(cluster, "deploy/mlflow", 5000) as address:
        _make_mlflow_user(address, secrets)
    return left_out


@contextmanager
def forwarded(cluster: Cluster, target: str, port: int) -> Iterator[str]:
    """The address of a service of the cluster on this machine."""
    command = [KUBECTL, "--context", cluster.context, "-n", NAMESPACE, "port-forward", target, f":{port}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()  # Forwarding from 127.0.0.1:40211 -> 5000
        assert "Forwarding from" in line, f"{target} cannot be reached: {line}"
        yield f"http://{line.split()[2]}"
    finally:
        process.terminate()
        process.wait()


def _remove_what_an_earlier_trial_left(cluster: Cluster) -> None:
    """The namespace, its volumes and MLflow's databases; ZenML's records and the bucket stay as they are."""
    cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=170s", seconds=180)
    for name in ("lungline-data", "lungline-home", "lungline-backup", "lungline-mlflow-accounts"):
        cluster.kubectl("delete", "persistentvolume", name, "--ignore-not-found")
        shutil.rmtree(Path(cluster.volumes) / name, ignore_errors=True)
    names = ("mlflow", "lungline", "lungline_reader")
    dropped = "; ".join(f"DROP DATABASE IF EXISTS {name}; DROP USER IF EXISTS {name}" for name in names)
    _on_the_database(cluster, ["mariadb", "--user=root", f"--execute={dropped}"])


def _on_the_database(cluster: Cluster, command: list[str], given: str = "") -> None:
    with tempfile.TemporaryDirectory() as home:  # a system's own options name its own server's socket
        (Path(home) / ".my.cnf").write_text(f"[client]\nsocket={cluster.database_socket}\n", encoding="utf-8")
        subprocess.run(command, input=given, env=os.environ | {"HOME": home}, text=True, check=True)


def _kustomized(folder: Path) -> str:
    return subprocess.run([KUBECTL, "kustomize", str(folder)], capture_output=True, text=True, check=True).stdout


def _what_it_takes(cluster: Cluster, shipped: list[Document]) -> tuple[list[Document], list[str]]:
    """The documents of kinds that the cluster knows, without the services that run elsewhere; and what was left out."""
    known = set(cluster.kubectl("api-versions").out.split())
    elsewhere = {BRINGS[name] for name in cluster.elsewhere}
    taken, left_out = [], []
    for document in shipped:
        if document["kind"] == "CronJob" and document["apiVersion"] == "batch/v1" and "batch/v1beta1" in known:
            document["apiVersion"] = "batch/v1beta1"  # the same form; batch/v1 has CronJobs from 1.21 on
        name = document["metadata"]["name"]
        if document["apiVersion"] not in known or name.removesuffix("-init") in elsewhere:
            left_out.append(f"{document['kind']} {name}")
        else:
            taken.append(document)
    return taken, left_out


def _apply(cluster: Cluster, documents: list[Document]) -> None:
    if documents:
        cluster.kubectl("apply", "--filename=-", given=yaml.safe_dump_all(documents))


def _make_secrets(cluster: Cluster, folder: Path) -> Path:
    """As the guide says: `make`, the key of the ZenML account into its file, then `apply -k`."""
    shutil.copytree(SECRETS, folder)
    subprocess.run([str(folder / "make")], check=True)
    (folder / "zenml" / "api-key").write_text(cluster.api_key, encoding="utf-8")
    for file in [one for one in folder.rglob("*") if one.is_file()]:
        file.write_text(cluster.rewritten(file.read_text(encoding="utf-8")), encoding="utf-8")
    cluster.kubectl("apply", "--kustomize", str(folder))
    return folder


def _make_databases(cluster: Cluster, secrets: Path, shipped: list[Document]) -> None:
    """The script that the database's own pod would run on an empty volume, on the server that runs instead."""
    (init,) = [one for one in shipped if (one["kind"], one["metadata"]["name"]) == ("ConfigMap", "database-init")]
    (secret,) = [
        one
        for one in yaml.safe_load_all(_kustomized(secrets))
        if (one["kind"], one["metadata"]["name"]) == ("Secret", "lungline-database")
    ]
    passwords = secrets / "passwords"
    passwords.mkdir()
    for name, value in secret["data"].items():
        (passwords / name).write_bytes(base64.b64decode(value))
    (passwords / "root-password").write_text("", encoding="utf-8")  # the server's root is let in by its socket
    for script in init["data"].values():
        _on_the_database(cluster, ["bash", "-eu"], script.replace("/run/secrets/database", str(passwords)))


def _folders_as_volumes(cluster: Cluster, documents: list[Document]) -> Iterator[Document]:
    """A folder of the only node for every claim: nothing provisions volumes there."""
    for claim in documents:
        if claim["kind"] != "PersistentVolumeClaim":
            continue
        name = claim["metadata"]["name"]
        folder = Path(cluster.volumes) / name
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)  # a folder of the node does not become the pods' group's, as a volume would
        yield {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name},
            "spec": {
                "capacity": claim["spec"]["resources"]["requests"],
                "accessModes": claim["spec"]["accessModes"],
                "persistentVolumeReclaimPolicy": "Retain",
                "claimRef": {"namespace": NAMESPACE, "name": name},
                "hostPath": {"path": str(folder)},
            },
        }


def _address_of_mlflow(cluster: Cluster) -> str:
    """The name of its service; of its pod where the cluster has no names."""
    if not cluster.bare:
        return MLFLOW
    (pod,) = [
        one for one in cluster.pods("app.kubernetes.io/name=mlflow") if "deletionTimestamp" not in one["metadata"]
    ]
    return f"http://{pod['status']['podIP']}:5000"


def _named(document: Document, mlflow: str) -> Document:
    read: Document = yaml.safe_load(yaml.safe_dump(document).replace(MLFLOW, mlflow))
    return read


def _make_mlflow_user(mlflow: str, secrets: Path) -> None:
    admin = ("admin", (secrets / "mlflow" / "admin").read_text(encoding="utf-8"))
    user = {"username": "lungline", "password": (secrets / "mlflow" / "client").read_text(encoding="utf-8")}
    for _ in range(5):
        answer = requests.post(f"{mlflow}/api/2.0/mlflow/users/create", json=user, auth=admin, timeout=30)
        if answer.ok or "already exists" in answer.text:
            return
        time.sleep(3)
    raise AssertionError(f"MLflow made no account: {answer.status_code} {answer.text}")
