"""Looks at the services of a stack: ZenML, the artifact store, MLflow, the image registry, and then the cluster.

Each is asked as a run would ask it, with short time limits; one that cannot be reached is a finding, never an error.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import requests

from data_contracts.errors import LunglineError
from deploy.stacks.run_options import pod_of
from deploy.stacks.stack_file import KUBERNETES, StackFile
from pipelines.findings import Finding

SECONDS = 10
_APPLY = "`lungline stack apply NAME`, with the secret's variables set."
# What registries keep images as; without these a registry offers formats of long ago, or nothing.
_MANIFESTS = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in (
        *("oci.image.index.v1", "oci.image.manifest.v1"),
        *("docker.distribution.manifest.list.v2", "docker.distribution.manifest.v2"),
    )
)


def stack_findings(stack: StackFile, *, zenml_answers: bool) -> Iterator[Finding]:
    """What keeps a run on the stack from working, and what is as it should be."""
    known: Mapping[str, str] = {}
    if zenml_answers:
        yield from _registered(stack)
        known = _keys_from_zenml(stack)
    yield _looked_at("artifact store", lambda: _artifact_store(stack, known))
    if stack.image is not None:
        yield _looked_at("MLflow of the pods", lambda: _mlflow(stack))
        yield from registry_findings(stack.image.name)
    if stack.components.orchestrator.flavor == KUBERNETES:
        from pipelines.cluster_check import cluster_findings

        yield from cluster_findings(stack)


def zenml_server() -> Finding:
    """Whether it answers; asked before ZenML's own client, which would wait for a dead server for minutes."""
    from zenml.config.global_config import GlobalConfiguration

    url = str(GlobalConfiguration().store_configuration.url)
    if not url.startswith("http"):
        return Finding("ZenML", "ok", "none is used: records are kept on this machine")
    cure = "Start it, or mend its address: `zenml login`, or ZENML_STORE_URL."
    try:
        answer = requests.get(f"{url.rstrip('/')}/health", timeout=SECONDS)
    except requests.RequestException as error:
        return Finding("ZenML", "wrong", f"{_bare(url)} {_no_answer(error)}", cure)
    if not answer.ok:
        return Finding("ZenML", "wrong", f"{_bare(url)} says {answer.status_code}", cure)
    return Finding("ZenML", "ok", _bare(url))


def _registered(stack: StackFile) -> Iterator[Finding]:
    from pipelines.stack_registration import differences

    try:
        found = differences(stack)
    except LunglineError as error:
        yield Finding(f"stack {stack.name}", "wrong", error.what, error.cure)
        return
    for one in found:
        yield Finding(f"stack {stack.name}", "wrong", one.what, one.cure)
    if not found:
        yield Finding(f"stack {stack.name}", "ok", "registered as its file says")


def _keys_from_zenml(stack: StackFile) -> Mapping[str, str]:
    """What the artifact store's secret holds; nothing where ZenML has none. Not to be printed."""
    from zenml.client import Client

    try:
        return dict(Client().get_secret(stack.components.artifact_store.secret).secret_values)
    except Exception:  # no secret, or no right to read it: then the environment's keys are tried
        return {}


def _artifact_store(stack: StackFile, known: Mapping[str, str]) -> Finding:
    """Write, read and remove a small object."""
    store = stack.components.artifact_store
    if store.flavor != "s3":
        return Finding("artifact store", "note", f"of kind {store.flavor}: not tried")
    keys = known or {key: os.environ.get(name, "") for key, name in stack.secrets.get(store.secret, {}).items()}
    place = urlsplit(str(store.configuration.get("path", "")))
    endpoint = (store.configuration.get("client_kwargs") or {}).get("endpoint_url") or "AWS"
    where = f"{place.geturl()} at {endpoint}"
    if not keys or (store.secret and not all(keys.values())):
        return Finding("artifact store", "note", f"{where}: no key is known here, so it was not tried", _APPLY)
    try:
        _write_read_remove(store.configuration, place.netloc, place.path.strip("/"), keys)
    except Exception as error:  # botocore makes an exception class of every answer
        cure = "Check address, bucket and key; pods need the same ones."
        return Finding("artifact store", "wrong", f"{where}: {type(error).__name__}: {_first_line(error)}", cure)
    return Finding("artifact store", "ok", f"{where}: an object was written, read and removed")


def _write_read_remove(
    configuration: Mapping[str, Any], bucket: str, prefix: str, keys: Mapping[str, str]
) -> None:
    import boto3
    from botocore.config import Config

    limits = Config(connect_timeout=SECONDS, read_timeout=SECONDS, retries={"max_attempts": 1})
    client = boto3.client("s3", config=limits, **(configuration.get("client_kwargs") or {}), **keys)
    name = "/".join(filter(None, [prefix, f"lungline-doctor-{secrets.token_hex(8)}"]))
    client.put_object(Bucket=bucket, Key=name, Body=b"lungline")
    try:
        if client.get_object(Bucket=bucket, Key=name)["Body"].read() != b"lungline":
            raise ValueError("it gave back something else than was written")
    finally:
        client.delete_object(Bucket=bucket, Key=name)


def _mlflow(stack: StackFile) -> Finding:
    """By the address that pods use, as the person whose login is in the environment."""
    training = pod_of(stack, "train_any").environment
    url = training.get("MLFLOW_TRACKING_URI", "")
    subject = "MLflow of the pods"
    if not url.startswith("http"):
        return Finding(
            subject, "wrong", f"{url or 'none'}: pods cannot reach that", "Name a server in the stack file."
        )
    login = (os.environ.get("MLFLOW_TRACKING_USERNAME", ""), os.environ.get("MLFLOW_TRACKING_PASSWORD", ""))
    answer = requests.post(
        f"{url.rstrip('/')}/api/2.0/mlflow/experiments/search",
        json={"max_results": 1},
        auth=login if all(login) else None,
        timeout=SECONDS,
    )
    if answer.ok:
        return Finding(subject, "ok", _bare(url))
    if answer.status_code == 401 and not all(login):
        cure = "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to try the pods' login."
        return Finding(subject, "note", f"{_bare(url)} answers and wants a login", cure)
    cure = "Check the login; README of deploy, section 4." if answer.status_code in (401, 403) else ""
    return Finding(subject, "wrong", f"{_bare(url)} says {answer.status_code}", cure)


def registry_findings(image: str) -> Iterator[Finding]:
    """Whether the registry answers, and holds the image. Nodes pull from it, so this machine need not reach it."""
    host, _, rest = image.partition("/")
    if not rest or not ("." in host or ":" in host or host == "localhost"):
        cure = (
            "Name one before it, e.g. registry.example/lungline-train:0.1.0, unless nodes hold the image already."
        )
        yield Finding("registry", "note", f"{image} names none: nodes take the one they are set up with", cure)
        return
    tagged, _, digest = rest.partition("@")
    repository, _, tag = tagged.partition(":")
    reference = digest or tag
    base = ""
    for scheme in ("https", "http"):
        try:
            answer = requests.get(f"{scheme}://{host}/v2/", timeout=SECONDS)
        except requests.RequestException as error:
            said = _no_answer(error)
            continue
        base = f"{scheme}://{host}"
        break
    if not base:
        cure = "Nodes must reach it; if their pods wait with ImagePullBackOff, mend the image's name in the stack file."
        yield Finding("registry", "note", f"from here, {host} {said}", cure)
        return
    if answer.status_code not in (200, 401):
        yield Finding("registry", "wrong", f"{host} says {answer.status_code} to /v2/", "Is it a registry?")
        return
    yield Finding("registry", "ok", f"{base} answers" + (", for a login" if answer.status_code == 401 else ""))
    yield _looked_at("image", lambda: _image(base, repository, reference, image))


def _image(base: str, repository: str, reference: str, image: str) -> Finding:
    address = f"{base}/v2/{repository}/manifests/{reference}"
    answer = requests.head(address, headers={"Accept": _MANIFESTS}, timeout=SECONDS, allow_redirects=True)
    if answer.ok:
        return Finding("image", "ok", image)
    if answer.status_code in (401, 403):
        return Finding("image", "note", f"{image}: the registry wants a login, so it was not looked for")
    if answer.status_code == 404:
        return Finding(
            "image", "wrong", f"{image} is not in the registry", "Build and push it: deploy/images/build."
        )
    return Finding("image", "wrong", f"{image}: the registry says {answer.status_code}")


def _looked_at(subject: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except requests.RequestException as error:
        where = _bare(str(error.request.url)) if error.request is not None else "it"
        cure = "Pods use this name; a client outside the cluster must reach it too, or runs in a pod: deploy/README.md."
        return Finding(subject, "wrong", f"{where} {_no_answer(error)}", cure)


def _no_answer(error: requests.RequestException) -> str:
    if isinstance(error, requests.Timeout):
        return f"did not answer within {SECONDS} s"
    if "NameResolution" in repr(error):  # requests keeps it as text within an error within an error
        return "cannot be found: no such name"
    return f"does not answer ({type(error).__name__})"


def _bare(url: str) -> str:
    """Without a login, a query or a path below the server's."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:200]
