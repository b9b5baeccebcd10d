"""From an empty namespace to a champion that scores and is watched: the guide's way, in pods."""

from __future__ import annotations

import base64
import json

import requests

from tests.cluster.cluster import MODEL, Cluster, Document, wait_for
from tests.cluster.conftest import DATA, FIRST_RUN, Trained
from tests.cluster.installation import forwarded

ARCHITECTURES = ("simple_cnn", "resnet18")


def test_a_stack_is_registered_once_and_is_then_as_in_its_file(cluster: Cluster, stack: str) -> None:
    again = cluster.lungline("stack", "apply", stack, "--json")
    assert again.code == 0, again.said
    assert {one["did"] for one in again.document["changes"]} == {"unchanged"}
    checked = cluster.lungline("stack", "check", stack)
    assert checked.code == 0, checked.said


def test_doctor_finds_the_stack_well(cluster: Cluster, stack: str) -> None:
    looked = cluster.lungline("doctor", "--stack", stack, "--json")
    assert looked.code == 0, looked.said
    found = {one["subject"]: one["state"] for one in looked.document["findings"]}
    assert found["cluster"] in ("ok", "note")


def test_every_architecture_trains_in_a_pod_of_its_own_at_the_same_time(
    cluster: Cluster, trained: Trained
) -> None:
    ran = []
    for name in ARCHITECTURES:
        pod = trained.pod_of(f"train_{name}")
        assert pod["spec"]["containers"][0]["image"] == cluster.image
        assert pod["spec"]["serviceAccountName"] == "lungline-step"
        state = pod["status"]["containerStatuses"][0]["state"]["terminated"]
        ran.append((state["startedAt"], state["finishedAt"]))
    (first_start, first_end), (second_start, second_end) = ran
    assert max(first_start, second_start) < min(first_end, second_end)


def test_every_step_needs_one_try_and_no_right_to_write_its_root(trained: Trained) -> None:
    steps = [pod["metadata"]["labels"]["step_name"] for pod in trained.pods]
    assert len(steps) == len(set(steps))
    for pod in trained.pods:
        assert pod["status"]["phase"] == "Succeeded"
        security = pod["spec"]["containers"][0]["securityContext"]
        assert (security["runAsUser"], security["readOnlyRootFilesystem"]) == (10001, True)


def test_the_client_sees_report_and_registered_version(cluster: Cluster, trained: Trained) -> None:
    registered = trained.document["registered"]
    assert (registered["name"], str(registered["version"])) == (MODEL, "1")
    report = cluster.cat(trained.document["report"])
    assert "</html>" in report
    assert all(name in report for name in ARCHITECTURES)
    models = {one["name"]: one for one in cluster.lungline("status", "--json").document["models"]}
    assert str(models[MODEL]["challenger"]["version"]) == "1"


def test_a_second_run_with_nothing_changed_trains_nothing(cluster: Cluster, trained: Trained) -> None:
    again = cluster.lungline(*FIRST_RUN, seconds=900)
    assert again.code == 0, again.said
    assert again.document["trained"] == 0
    assert again.document["registered"] == trained.document["registered"]
    ran = cluster.pods(f"step_name,run_name={again.document['run']}")
    # Registering is asked each time, and finds the version there.
    assert [pod["metadata"]["labels"]["step_name"] for pod in ran] == ["register"]


def test_a_program_promotes_nothing(cluster: Cluster, dossier: str) -> None:
    why = ("--model", MODEL, "--dossier", dossier, "--override", "--reason", "nobody looked")
    refused = cluster.lungline("approve", "1", *why)
    assert refused.code == 4, refused.said
    assert "belongs to a program" in refused.said


def test_a_persons_decision_lies_in_the_database(cluster: Cluster, champion: str) -> None:
    verified = cluster.lungline("log", "verify")
    assert verified.code == 0, verified.said
    models = {one["name"]: one for one in cluster.lungline("status", "--json").document["models"]}
    assert str(models[MODEL]["champion"]["version"]) == champion
    listed = cluster.kubectl("exec", "deploy/client", "--", "ls", "/home/lungline/.lungline").out
    assert "decisions.jsonl" not in listed


def test_the_service_answers_with_the_champion(cluster: Cluster, champion: str) -> None:
    # Until a version was approved its pods are not ready, and a rollout of that length counts as failed.
    wait_for("a pod that serves", lambda: cluster.get("deploy", "serve")["status"].get("readyReplicas"), 400)
    secret = cluster.get("secret", "lungline-serve")["data"]["token"]
    with forwarded(cluster, "deploy/serve", 8080) as address:
        first = f"find {DATA} -name '*.png' | sort | head -n 1 | xargs base64"
        image = base64.b64decode(cluster.kubectl("exec", "deploy/client", "--", "sh", "-c", first).out)
        answer = requests.post(
            f"{address}/predict",
            files={"file": ("film.png", image)},
            headers={"Authorization": f"Bearer {base64.b64decode(secret).decode()}"},
            timeout=60,
        )
    assert answer.status_code == 200, answer.text
    assert str(answer.json()["version"]) == champion


def test_scored_images_are_watched_at_set_times(cluster: Cluster, champion: str) -> None:
    scored = cluster.lungline("score", DATA, "--model", MODEL)
    assert scored.code == 0, scored.said
    run_every_minute_until_one_ends_well(cluster, "monitor", {}, seconds=400)


def test_networks_are_retrained_at_set_times(cluster: Cluster, trained: Trained) -> None:
    """With other draws than the first run, so that it trains; the CronJob's own account submits it."""
    container = {
        "name": "train",
        "args": [*FIRST_RUN, "--set", "training.seed=7"],
        "env": [{"name": "LUNGLINE_TRAIN_MEMORY", "value": "3Gi"}],
    }
    job = run_every_minute_until_one_ends_well(cluster, "train", container, seconds=1500)
    pods = cluster.pods(f"job-name={job['metadata']['name']}")
    assert [pod["spec"]["serviceAccountName"] for pod in pods] == ["lungline-client"]
    models = {one["name"]: one for one in cluster.lungline("status", "--json").document["models"]}
    assert str(models[MODEL]["challenger"]["version"]) == "2"


def run_every_minute_until_one_ends_well(
    cluster: Cluster, name: str, container: Document, seconds: float
) -> Document:
    """Start a shipped CronJob, its container changed, and stop it again; the Job that ended well."""
    pod = {"spec": {"containers": [container]}} if container else {}
    started = {"schedule": "* * * * *", "suspend": False, "jobTemplate": {"spec": {"template": pod}}}
    cluster.kubectl("patch", "cronjob", name, "--patch", json.dumps({"spec": started}))
    try:
        found: Document = wait_for(f"a Job of {name} to end well", lambda: ended_well(cluster, name), seconds, 5)
        return found
    finally:
        cluster.kubectl("patch", "cronjob", name, "--patch", '{"spec": {"suspend": true}}')


def ended_well(cluster: Cluster, name: str) -> Document | None:
    for job in cluster.get("jobs")["items"]:
        owners = [owner["name"] for owner in job["metadata"].get("ownerReferences", [])]
        if name in owners and job["status"].get("succeeded"):
            return dict(job)
    return None
