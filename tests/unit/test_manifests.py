"""The manifests of deploy/kubernetes: rendered, held against Kubernetes' own schemas, and against what they promise."""

from __future__ import annotations

import base64
import functools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer
import yaml

from deploy.stacks.run_options import pod_of, run_options
from deploy.stacks.stack_file import load_stack
from models.registry.decisions.database_storage import DatabaseStorage
from pipelines.cli import app
from pipelines.cron import CronExpression

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
OVERLAYS = ("single-node", "gpu", "airgapped")
VERSIONS = ("1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37")
POD_OWNERS = ("Deployment", "StatefulSet", "Job", "CronJob")
Document = dict[str, Any]

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl, which renders, is not installed")


@functools.cache
def rendered(folder: Path) -> list[Document]:
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def overlay(name: str) -> list[Document]:
    return rendered(KUBERNETES / "overlays" / name)


def all_documents() -> list[Document]:
    """Those of every overlay, each once."""
    distinct = {json.dumps(document, sort_keys=True) for name in OVERLAYS for document in overlay(name)}
    return [json.loads(text) for text in sorted(distinct)]


def named(document: Document) -> str:
    return f"{document['kind']} {document['metadata']['name']}"


def of_kind(documents: list[Document], *kinds: str) -> list[Document]:
    return [document for document in documents if document["kind"] in kinds]


def pod_template(owner: Document) -> Document:
    spec = owner["spec"]["jobTemplate"]["spec"] if owner["kind"] == "CronJob" else owner["spec"]
    return spec["template"]


def pods(documents: list[Document]) -> Iterator[tuple[str, Document]]:
    for owner in of_kind(documents, *POD_OWNERS):
        yield named(owner), pod_template(owner)["spec"]


def complaints(pod: Document) -> list[str]:
    """What of the Pod Security Standard "restricted", and of this project's own rules, a pod does not keep."""
    found = []
    shared = pod.get("securityContext", {})
    if shared.get("runAsNonRoot") is not True or not shared.get("runAsUser"):
        found.append("may run as root")
    if shared.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        found.append("has no seccomp profile")
    if any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")):
        found.append("shares a namespace of the node")
    if any("hostPath" in volume for volume in pod.get("volumes", [])):
        found.append("mounts a folder of the node")
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        own = container.get("securityContext", {})
        if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
            found.append("may gain privileges")
        if own.get("readOnlyRootFilesystem") is not True:
            found.append("may write to its root file system")
        if own.get("capabilities") != {"drop": ["ALL"]}:
            found.append("keeps capabilities")
        resources = container.get("resources", {})
        if not {"cpu", "memory"} <= set(resources.get("requests", {})) or "memory" not in resources.get(
            "limits", {}
        ):
            found.append("does not say what it needs")
        tag = container["image"].rpartition("/")[2].partition(":")[2]
        if tag in ("", "latest"):
            found.append("runs an image without a fixed tag")
    return found


SOUND = {
    "securityContext": {"runAsNonRoot": True, "runAsUser": 1, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [
        {
            "image": "registry:5000/a:1",
            "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
        }
    ],
}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_keeps_the_schema_of_every_supported_kubernetes(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It reads a definitions file of 2 MB for each document otherwise.
    monkeypatch.setattr(
        kubernetes_validate.utils, "schema_contents", functools.cache(kubernetes_validate.utils.schema_contents)
    )
    for document in all_documents():
        if document["kind"] == "ServiceMonitor":  # of the Prometheus operator
            continue
        kubernetes_validate.validate(document, version, strict=True)


def test_a_misspelt_field_does_not_keep_the_schema() -> None:
    job = next(document for document in overlay("gpu") if named(document) == "CronJob backup")
    spec = dict(job["spec"], concurencyPolicy="Forbid")
    with pytest.raises(kubernetes_validate.ValidationError, match="concurencyPolicy"):
        kubernetes_validate.validate(job | {"spec": spec}, "1.35", strict=True)


def test_the_service_monitor_finds_the_services_port_and_token() -> None:
    """Its kind comes with the Prometheus operator, so no schema of Kubernetes knows it."""
    documents = overlay("gpu")
    (monitor,) = of_kind(documents, "ServiceMonitor")
    service = next(document for document in documents if named(document) == "Service serve")
    assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert endpoint["authorization"]["credentials"] == {"name": "lungline-serve", "key": "token"}


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_pod_is_restricted_and_says_what_it_needs(name: str) -> None:
    assert {owner: complaints(pod) for owner, pod in pods(overlay(name)) if complaints(pod)} == {}
    assert len(list(pods(overlay(name)))) == 11


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        (("securityContext", "runAsNonRoot"), False, "may run as root"),
        (("securityContext", "seccompProfile"), {}, "has no seccomp profile"),
        (("hostNetwork",), True, "shares a namespace of the node"),
        (("volumes",), [{"hostPath": {"path": "/"}}], "mounts a folder of the node"),
        (("containers", 0, "securityContext", "allowPrivilegeEscalation"), True, "may gain privileges"),
        (
            ("containers", 0, "securityContext", "readOnlyRootFilesystem"),
            False,
            "may write to its root file system",
        ),
        (("containers", 0, "securityContext", "capabilities"), {}, "keeps capabilities"),
        (("containers", 0, "resources", "limits"), {}, "does not say what it needs"),
        (("containers", 0, "image"), "registry:5000/a", "runs an image without a fixed tag"),
        (("containers", 0, "image"), "a:latest", "runs an image without a fixed tag"),
    ],
)
def test_a_pod_that_breaks_a_rule_is_noticed(where: tuple[Any, ...], value: object, said: str) -> None:
    assert complaints(SOUND) == []
    pod = json.loads(json.dumps(SOUND))
    target = pod
    for key in where[:-1]:
        target = target[key]
    target[where[-1]] = value
    assert complaints(pod) == [said]


def test_the_namespace_enforces_restricted_pods() -> None:
    (namespace,) = of_kind(overlay("gpu"), "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_airgapped_takes_every_image_from_its_own_registry_and_logs_in_there() -> None:
    """Pods that name no pull secret get their account's; those that ZenML makes have an account too."""
    documents = overlay("airgapped")
    logged_in = {
        account["metadata"]["name"]
        for account in of_kind(documents, "ServiceAccount")
        if account.get("imagePullSecrets") == [{"name": "lungline-registry"}]
    }
    for owner, pod in pods(documents):
        containers = [*pod["containers"], *pod.get("initContainers", [])]
        assert all(container["image"].startswith("registry.example/") for container in containers), owner
        assert pod["serviceAccountName"] in logged_in, owner
        assert "imagePullSecrets" not in pod, owner
    stack = load_stack("kubernetes", {"LUNGLINE_REGISTRY": "r:5000", "LUNGLINE_TRAIN_IMAGE": "r:5000/t:1"})
    made_by_zenml = [stack.run.orchestrator_pod, *(pod_of(stack, pattern) for pattern in stack.steps)]
    assert {pod.service_account for pod in made_by_zenml} <= logged_in


def test_with_gpus_no_service_gives_way_to_another_or_to_a_step() -> None:
    documents = overlay("gpu")
    (priority,) = of_kind(documents, "PriorityClass")
    assert priority["value"] > 0
    assert not priority["globalDefault"]
    services = of_kind(documents, "Deployment", "StatefulSet")
    assert {"database", "s3", "serve"} <= {one["metadata"]["name"] for one in services}
    for one in services:
        assert pod_template(one)["spec"].get("priorityClassName") == priority["metadata"]["name"], named(one)


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_scoring_pod_answers_until_nobody_sends_to_it_and_then_has_its_whole_grace(name: str) -> None:
    (serve,) = [one for one in overlay(name) if named(one) == "Deployment serve"]
    pod = pod_template(serve)["spec"]
    (container,) = pod["containers"]
    program, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    assert program == "sleep"
    assert int(seconds) >= 5
    (grace,) = [word.removeprefix("--grace=") for word in container["args"] if word.startswith("--grace=")]
    assert pod["terminationGracePeriodSeconds"] >= int(seconds) + int(grace) + 5


def test_no_manifest_holds_a_secret(tmp_path: Path) -> None:
    """Only references, and each to a key that deploy/kubernetes/secrets makes."""
    documents = all_documents()
    assert of_kind(documents, "Secret") == []
    made = {secret["metadata"]["name"]: set(secret["data"]) for secret in made_secrets(tmp_path)}
    for owner, pod in pods(documents):
        for container in pod["containers"]:
            for variable in container.get("env", []):
                if re.search(r"PASSWORD|SECRET|TOKEN|KEY", variable["name"]) and "value" in variable:
                    assert variable["value"].startswith(("/run/secrets/", "sql")), (owner, variable["name"])
                if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                    assert reference["key"] in made[reference["name"]], (owner, reference)
            for source in container.get("envFrom", []):
                assert "secretRef" not in source or source["secretRef"]["name"] in made, owner
        for volume in pod.get("volumes", []):
            if secret := volume.get("secret"):
                assert {item["key"] for item in secret.get("items", [])} <= made[secret["secretName"]], owner


def made_secrets(folder: Path) -> list[Document]:
    copy = folder / "secrets"
    shutil.copytree(
        KUBERNETES / "secrets", copy, ignore=lambda _, names: set(names) - {"kustomization.yaml", "make"}
    )
    subprocess.run([str(copy / "make")], check=True)
    return of_kind(rendered(copy), "Secret")


def test_secrets_are_made_once_for_their_owner_alone(tmp_path: Path) -> None:
    first = made_secrets(tmp_path)
    files = [path for path in (tmp_path / "secrets").rglob("*") if path.is_file() and path.name not in ("make",)]
    written = {path: path.read_text() for path in files}
    assert all(path.stat().st_mode & 0o077 == 0 for path in files if path.name != "kustomization.yaml")
    subprocess.run([str(tmp_path / "secrets" / "make")], check=True)
    assert written == {path: path.read_text() for path in files}
    values = [value for secret in first for value in secret["data"].values()]
    assert len({value for value in values if len(value) > 60}) >= 10
    assert all(secret["metadata"]["namespace"] == "lungline" for secret in first)


def test_pods_have_accounts_of_their_own_and_only_two_may_ask_the_cluster() -> None:
    documents = all_documents()
    tokens = {
        account["metadata"]["name"]: account["automountServiceAccountToken"]
        for account in of_kind(documents, "ServiceAccount")
    }
    assert {name for name, given in tokens.items() if given} == {"lungline-orchestrator", "lungline-client"}
    for owner, pod in pods(documents):
        assert pod["serviceAccountName"] in tokens, owner


def test_no_role_reads_secrets_or_reaches_beyond_the_namespace() -> None:
    documents = all_documents()
    assert of_kind(documents, "ClusterRole", "ClusterRoleBinding") == []
    for role in of_kind(documents, "Role"):
        for rule in role["rules"]:
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]], named(role)
            if "secrets" in rule["resources"]:
                assert not {"get", "list", "watch"} & set(rule["verbs"]), named(role)


def test_schedules_never_overlap_and_keep_a_short_history() -> None:
    for job in of_kind(all_documents(), "CronJob"):
        spec = job["spec"]
        assert CronExpression.parse(spec["schedule"]).text == spec["schedule"], named(job)
        assert spec["concurrencyPolicy"] == "Forbid", named(job)
        assert 0 < spec["startingDeadlineSeconds"] <= 7200, named(job)
        assert spec["successfulJobsHistoryLimit"] <= 3, named(job)
        assert spec["jobTemplate"]["spec"]["activeDeadlineSeconds"] > 0, named(job)


@pytest.mark.parametrize("name", OVERLAYS)
def test_what_a_manifest_refers_to_is_there(name: str) -> None:
    documents = overlay(name)
    there = {kind: {d["metadata"]["name"] for d in of_kind(documents, kind)} for kind in ("ConfigMap", "Service")}
    claims = {document["metadata"]["name"] for document in of_kind(documents, "PersistentVolumeClaim")}
    for owner, pod in pods(documents):
        for volume in pod.get("volumes", []):
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims, owner
            if "configMap" in volume:
                assert volume["configMap"]["name"] in there["ConfigMap"], owner
        for container in pod["containers"]:
            mounts = {mount["name"] for mount in container["volumeMounts"]}
            templates = {"database", "objects"}  # of the two that keep state
            assert mounts - templates == {volume["name"] for volume in pod["volumes"]}, owner
            for source in container.get("envFrom", []):
                assert "configMapRef" not in source or source["configMapRef"]["name"] in there["ConfigMap"], owner
            said = json.dumps(container.get("env", [])) + json.dumps(container.get("args", []))
            for host in re.findall(r"(?://|@)([a-z0-9]+):\d+", said):
                assert host in there["Service"], (owner, host)


@pytest.mark.parametrize("name", OVERLAYS)
def test_services_select_one_workload_and_a_port_it_has(name: str) -> None:
    owners = of_kind(overlay(name), "Deployment", "StatefulSet")
    for service in of_kind(overlay(name), "Service"):
        selector = service["spec"]["selector"].items()
        (owner,) = [one for one in owners if selector <= pod_template(one)["metadata"]["labels"].items()]
        containers = pod_template(owner)["spec"]["containers"]
        ports = {port["name"] for container in containers for port in container["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports, named(service)


def lungline_calls() -> Iterator[tuple[str, list[str]]]:
    for owner, pod in pods(all_documents()):
        for container in pod["containers"]:
            words = [*container.get("command", []), *container.get("args", [])]
            if container["image"].rpartition("/")[2].startswith("lungline-") and "command" not in container:
                yield owner, words
            elif found := re.search(r"lungline ([\w -]+?) \|\|", " ".join(words)):
                yield owner, found[1].split()


def test_pods_call_the_command_line_as_it_is() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    called = set()
    for owner, (name, *arguments) in lungline_calls():
        context = commands[name].make_context(name, list(arguments))  # exits where an option is unknown
        assert context.params, owner
        called.add(name)
    assert called == {"serve", "train", "monitor"}


def ran(job: str, programs: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """What a job's own container runs, with shell scripts in place of programs and a folder in place of its volume."""
    (container,) = next(pod["containers"] for owner, pod in pods(overlay("gpu")) if owner == f"CronJob {job}")
    (folder / "bin").mkdir(exist_ok=True)
    for name, script in programs.items():
        (folder / "bin" / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (folder / "bin" / name).chmod(0o755)
    return subprocess.run(
        [*container["command"], *(text.replace("/backup", str(folder / "backup")) for text in container["args"])],
        env={"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("code", "ends"), [(0, 0), (10, 10), (11, 0), (6, 6)])
def test_the_monitor_job_ends_as_lungline_does_except_where_images_are_too_few(
    tmp_path: Path, code: int, ends: int
) -> None:
    done = ran("monitor", {"lungline": f'echo "$@"; exit {code}'}, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (ends, "monitor --model lungline-merged\n", "")


DUMPS = {"mariadb-dump": "echo '-- all databases'", "mariadb": "exit 0"}
FULL = "echo 'No space left on device' >&2; exit 1"


def a_volume(folder: Path, *, complete: tuple[int, ...] = (), killed: tuple[int, ...] = ()) -> Path:
    """A volume with backups that are so many days old."""
    volume = folder / "backup"
    for days, end in [*((days, "Z") for days in complete), *((days, "Z.part") for days in killed)]:
        at = datetime.now(UTC) - timedelta(days=days)
        put(volume / f"{at:%Y-%m-%dT%H%M%S}{end}", at)
    return volume


def put(backup: Path, at: datetime) -> None:
    backup.mkdir(parents=True)
    (backup / "databases.sql.gz").write_bytes(b"")
    os.utime(backup, (at.timestamp(), at.timestamp()))


def ages(volume: Path) -> list[int | str]:
    """Of the complete backups, in days; "part" for another."""
    found: list[int | str] = []
    for one in sorted(volume.glob("2*")):
        at = datetime.strptime(one.name[:18], "%Y-%m-%dT%H%M%SZ").replace(tzinfo=UTC)
        found.append("part" if one.suffix else (datetime.now(UTC) - at).days)
    return found


def test_a_backup_first_takes_away_what_was_killed_and_what_is_older_than_a_month(tmp_path: Path) -> None:
    """So a volume with room for two finds it: what was removed last would not be reached on a full one."""
    volume = a_volume(tmp_path, complete=(40, 33, 2), killed=(1, 45))
    two_fit = f'[ "$(ls {volume} | wc -l)" -le 2 ] || {{ {FULL}; }}; echo all'
    done = ran("backup", DUMPS | {"mariadb-dump": two_fit}, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert ages(volume) == [2, 0]


def test_the_newest_backup_stays_however_old_it_is_until_another_is_complete(tmp_path: Path) -> None:
    volume = a_volume(tmp_path, complete=(50, 40))
    for _ in range(2):
        done = ran("backup", DUMPS | {"mariadb-dump": FULL}, tmp_path)
        assert done.returncode != 0
        assert ages(volume) == [40, "part"]
    assert ran("backup", DUMPS, tmp_path).returncode == 0
    assert ages(volume) == [40, 0]


def test_a_backup_leaves_alone_what_is_none(tmp_path: Path) -> None:
    volume = tmp_path / "backup"
    put(volume / "lost+found", datetime(2020, 1, 1, tzinfo=UTC))
    assert ran("backup", DUMPS, tmp_path).returncode == 0
    assert (volume / "lost+found").exists()
    assert ages(volume) == [0]


def test_a_backup_that_could_not_ask_for_the_decision_log_is_not_complete(tmp_path: Path) -> None:
    volume = a_volume(tmp_path, complete=(1,))
    done = ran("backup", DUMPS | {"mariadb": "echo 'Lost connection' >&2; exit 1"}, tmp_path)
    assert done.returncode != 0
    assert ages(volume) == [1, "part"]


def labels_of(name: str) -> dict[str, str]:
    """Labels of a workload's pods; "step" and "orchestrator" are those of pipelines, which ZenML makes."""
    if name in ("step", "orchestrator"):
        stack = load_stack("kubernetes", {"LUNGLINE_REGISTRY": "r:5000", "LUNGLINE_TRAIN_IMAGE": "r:5000/t:1"})
        options = run_options(stack, ["ingest"])
        if name == "step":
            return options["steps"]["ingest"]["settings"]["orchestrator"]["pod_settings"]["labels"]
        return options["settings"]["orchestrator"]["orchestrator_pod_settings"]["labels"]
    owner = next(one for one in of_kind(overlay("gpu"), *POD_OWNERS) if one["metadata"]["name"] == name)
    return pod_template(owner)["metadata"]["labels"]


def selects(selector: Document, labels: dict[str, str]) -> bool:
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(one["key"]) in one["values"] for one in selector.get("matchExpressions", [])
    )


def allowed(direction: str, pod: str, peer: str, port: int) -> bool:
    """Whether the policies let that pod's traffic pass in one direction, "ingress" or "egress"."""
    for policy in of_kind(overlay("gpu"), "NetworkPolicy"):
        if not selects(policy["spec"]["podSelector"], labels_of(pod)):
            continue
        for rule in policy["spec"].get(direction, []):
            peers = rule.get("from" if direction == "ingress" else "to", [])
            ports = {one["port"] for one in rule["ports"]}
            pods_only = [one for one in peers if set(one) == {"podSelector"}]
            if port in ports and any(selects(one["podSelector"], labels_of(peer)) for one in pods_only):
                return True
    return False


WANTED = {
    ("zenml", "database", 3306),
    ("mlflow", "database", 3306),
    ("backup", "database", 3306),
    *((pod, "database", 3306) for pod in ("client", "monitor", "serve")),  # the decision log
    ("zenml", "s3", 8333),
    ("mlflow", "s3", 8333),
    ("make-bucket", "s3", 8333),
    ("serve", "mlflow", 5000),
    ("monitor", "mlflow", 5000),
    *((pod, "s3", 8333) for pod in ("step", "orchestrator", "client", "train")),
    *((pod, "zenml", 8080) for pod in ("step", "orchestrator", "client", "train")),
    *((pod, "mlflow", 5000) for pod in ("step", "client", "train")),
}
PORTS = {"database": 3306, "s3": 8333, "zenml": 8080, "mlflow": 5000, "serve": 8080, "dashboard": 8000}


def test_pods_reach_what_they_need_and_nothing_else() -> None:
    documents = overlay("gpu")
    everybody = [one["metadata"]["name"] for one in of_kind(documents, *POD_OWNERS)] + ["step", "orchestrator"]
    open_ways = {
        (pod, peer, port)
        for pod in everybody
        for peer, port in PORTS.items()
        if allowed("egress", pod, peer, port) and allowed("ingress", peer, pod, port)
    }
    assert open_ways == WANTED
    deny = next(one for one in documents if named(one) == "NetworkPolicy default-deny")
    assert deny["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_who_decides_writes_the_decision_log_who_scores_reads_it_and_nobody_else_knows_its_address() -> None:
    """By the secret that each pod's LUNGLINE_DECISIONS_URL comes from; all of them may reach the database."""
    known = {
        named(owner): variable["valueFrom"]["secretKeyRef"]["name"]
        for owner in of_kind(overlay("gpu"), *POD_OWNERS)
        for container in pod_template(owner)["spec"]["containers"]
        for variable in container.get("env", [])
        if variable["name"] == "LUNGLINE_DECISIONS_URL"
    }
    assert known == {
        "Deployment client": "lungline-decisions",
        "CronJob monitor": "lungline-decisions",
        "Deployment serve": "lungline-decisions-reader",
    }


def test_the_addresses_of_the_decision_log_hold_the_passwords_of_their_users(tmp_path: Path) -> None:
    made = {
        secret["metadata"]["name"]: {
            key: base64.b64decode(value).decode() for key, value in secret["data"].items()
        }
        for secret in made_secrets(tmp_path)
    }
    for user, secret in (("lungline", "lungline-decisions"), ("lungline-reader", "lungline-decisions-reader")):
        password = made["lungline-database"][f"{user}-password"]
        address = f"mysql+pymysql://{user.replace('-', '_')}:{password}@database:3306/lungline"
        assert made[secret] == {"url": address}
        assert DatabaseStorage(address).place == address.replace(password, "***")


def test_only_what_starts_jobs_reaches_an_address_outside() -> None:
    policies = [one for one in of_kind(overlay("gpu"), "NetworkPolicy") if "ipBlock" in json.dumps(one)]
    (policy,) = policies
    everybody = [one["metadata"]["name"] for one in of_kind(overlay("gpu"), *POD_OWNERS)] + [
        "step",
        "orchestrator",
    ]
    reaching = {name for name in everybody if selects(policy["spec"]["podSelector"], labels_of(name))}
    assert reaching == {"client", "train", "orchestrator"}


def test_one_node_needs_no_shared_volume_and_no_autoscaler() -> None:
    documents = overlay("single-node")
    assert of_kind(documents, "HorizontalPodAutoscaler", "PodDisruptionBudget") == []
    for claim in of_kind(documents, "PersistentVolumeClaim"):
        assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]


def test_the_autoscaler_and_the_budget_mean_the_scoring_service() -> None:
    documents = overlay("gpu")
    (scaler,) = of_kind(documents, "HorizontalPodAutoscaler")
    (budget,) = of_kind(documents, "PodDisruptionBudget")
    target = scaler["spec"]["scaleTargetRef"]
    owner = next(one for one in documents if named(one) == f"{target['kind']} {target['name']}")
    assert "replicas" not in owner["spec"]  # or each apply would undo what the autoscaler did
    assert budget["spec"]["selector"]["matchLabels"].items() <= pod_template(owner)["metadata"]["labels"].items()
    assert scaler["spec"]["minReplicas"] > budget["spec"]["maxUnavailable"]
