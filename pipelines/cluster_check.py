"""Looks at a cluster as a stack file needs it: what must be there, what this user may do, what nodes can give.

Nothing is written. What this user may not look at is a note: a right is missing, which says nothing about the thing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from deploy.stacks.run_options import pod_of
from deploy.stacks.stack_file import Pod, StackFile
from pipelines.cluster import Cluster, ClusterProblem, connect
from pipelines.findings import Finding
from pipelines.quantities import Resources, asked_by, given_by

# What ZenML does while it submits a run; cronjobs for schedules only, which is why they come last.
_RIGHTS = (
    *(("create", "batch/jobs"), ("list", "batch/jobs"), ("list", "/pods"), ("get", "/pods/log")),
    *(("create", "/secrets"), ("create", "batch/cronjobs")),
)
_SCHEDULES_SINCE, _EVICTIONS_SINCE = (1, 21), (1, 26)
_OURS = "app.kubernetes.io%2Fpart-of%3Dlungline"
# Reasons that no waiting mends.
_STUCK = ("Unschedulable", "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError")


def cluster_findings(stack: StackFile) -> Iterator[Finding]:
    """Everything that can be seen of the stack's cluster from here. Never raises because of the cluster."""
    settings = stack.components.orchestrator.configuration
    namespace = str(settings.get("kubernetes_namespace") or "zenml")
    try:
        cluster = connect(str(settings.get("kubernetes_context") or ""), bool(settings.get("incluster")))
        yield _version(cluster)
    except ClusterProblem as problem:
        yield Finding("cluster", "wrong", str(problem), "Name the context of a kubeconfig: LUNGLINE_KUBE_CONTEXT.")
        return
    yield from _present(cluster, stack, namespace)
    yield _guarded("rights", lambda: _rights(cluster, namespace))
    yield from _nodes(cluster, stack)
    yield from _pending(cluster, namespace)


def _version(cluster: Cluster) -> Finding:
    said = cluster.get("/version")
    found = f"Kubernetes {said.get('gitVersion', '?')} at {cluster.address}"
    number = tuple(
        int("".join(filter(str.isdigit, str(said.get(part, ""))) or "0")) for part in ("major", "minor")
    )
    if number < _SCHEDULES_SINCE:
        cure = "Schedules need 1.21 and cannot be made; evicted pods count as failed before 1.26."
        return Finding("cluster", "note", found, cure)
    if number < _EVICTIONS_SINCE:
        return Finding("cluster", "note", found, "Evicted pods count as failed before 1.26.")
    return Finding("cluster", "ok", found)


def _present(cluster: Cluster, stack: StackFile, namespace: str) -> Iterator[Finding]:
    """Whether each thing is there that the stack file names and does not make."""
    yield _one(cluster, "namespace", namespace, f"/api/v1/namespaces/{namespace}")
    pods = [stack.run.orchestrator_pod, *(pod_of(stack, pattern) for pattern in stack.steps)]
    pull = stack.image.pull_secrets if stack.image else []
    named = {
        ("service account", "serviceaccounts"): {pod.service_account for pod in pods if pod.service_account},
        ("claim", "persistentvolumeclaims"): {one.claim for pod in pods for one in pod.volumes if one.claim},
        ("secret", "secrets"): {*pull, *(name for pod in pods for name in pod.environment_from_secrets)},
    }
    for (kind, plural), names in named.items():
        for name in sorted(names):
            yield _one(cluster, kind, name, f"/api/v1/namespaces/{namespace}/{plural}/{name}")


def _one(cluster: Cluster, kind: str, name: str, path: str) -> Finding:
    subject = f"{kind} {name}"
    try:
        there = cluster.get(path, metadata_only=kind != "claim")
    except ClusterProblem as problem:
        if problem.status == 404:
            cure = "Make it: deploy/README.md says how, or mend its name in the stack file."
            return Finding(subject, "wrong", "is not in the cluster", cure)
        return _unseen(subject, problem)
    phase = (there.get("status") or {}).get("phase")
    if phase == "Lost":
        return Finding(subject, "wrong", "its volume is lost", "Restore the volume, and make the claim again.")
    return Finding(subject, "ok", f"there, {phase}" if phase else "there")


def _rights(cluster: Cluster, namespace: str) -> Finding:
    refused = [(verb, what) for verb, what in _RIGHTS if not cluster.may(verb, what, namespace)]
    if not refused:
        return Finding("rights", "ok", "may submit, watch and schedule runs")
    words = ", ".join(f"{verb} {what.partition('/')[2]}" for verb, what in refused)
    if refused == [_RIGHTS[-1]]:
        return Finding("rights", "note", "may submit and watch runs", f"May not {words}: no schedules from here.")
    return Finding("rights", "wrong", f"may not {words}", "Use the account lungline-client, or one with its role.")


@dataclass(frozen=True, slots=True)
class _Node:
    name: str
    gives: Resources
    labels: dict[str, str]
    taints: list[dict[str, Any]]

    def refuses(self, pod: Pod) -> str:
        """Why a pod cannot run here; "" where it can, on a node with nothing else on it."""
        wanted = [f"{key}={value}" for key, value in pod.node_selector.items() if self.labels.get(key) != value]
        if wanted:
            return f"has no label {', '.join(wanted)}"
        for taint in self.taints:
            if taint.get("effect") != "PreferNoSchedule" and not any(
                _tolerates(one, taint) for one in pod.tolerations
            ):
                return f"has the taint {taint.get('key')}"
        return self.gives.lacks(asked_by(pod))


def _nodes(cluster: Cluster, stack: StackFile) -> Iterator[Finding]:
    """Whether any node could ever give what each pattern of step names asks for; what runs there now is not counted."""
    try:
        nodes = [_node(one) for one in cluster.items("/api/v1/nodes")]
    except ClusterProblem as problem:
        yield _unseen("nodes", problem)
        return
    asked = {"orchestrator pod": stack.run.orchestrator_pod}
    asked |= {f"step {pattern}": pod_of(stack, pattern) for pattern in stack.steps}
    for subject, pod in asked.items():
        refusals = {node.name: node.refuses(pod) for node in nodes}
        fitting = [name for name, refusal in refusals.items() if not refusal]
        if fitting:
            yield Finding(subject, "ok", f"asks {asked_by(pod)}; fits {len(fitting)} of {len(nodes)} nodes")
            continue
        said = (
            "; ".join(f"{name} {refusal}" for name, refusal in sorted(refusals.items())[:4]) or "there is no node"
        )
        cure = "Ask for less in the stack file (deploy/README.md names its variables), or add a node."
        yield Finding(subject, "wrong", f"asks {asked_by(pod)}, which no node gives: {said}", cure)


def _node(document: dict[str, Any]) -> _Node:
    taints = list(document["spec"].get("taints") or [])
    if document["spec"].get("unschedulable"):
        taints.append({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"})
    metadata = document["metadata"]
    gives = given_by((document.get("status") or {}).get("allocatable") or {})
    return _Node(metadata["name"], gives, metadata.get("labels") or {}, taints)


def _tolerates(toleration: Any, taint: dict[str, Any]) -> bool:
    if toleration.effect not in (None, taint.get("effect")) or toleration.key != taint.get("key"):
        return False
    return toleration.operator == "Exists" or (toleration.value or "") == (taint.get("value") or "")


def _pending(cluster: Cluster, namespace: str) -> Iterator[Finding]:
    """Pods that wait, with the reason that Kubernetes gives."""
    try:
        pods = cluster.items(f"/api/v1/namespaces/{namespace}/pods?labelSelector={_OURS}")
    except ClusterProblem as problem:
        yield _unseen("pods", problem)
        return
    waiting = [pod for pod in pods if (pod.get("status") or {}).get("phase") == "Pending"]
    for pod in waiting:
        reason, message = _why_pending(pod)
        subject, found = f"pod {pod['metadata']['name']}", f"waits: {': '.join(filter(None, [reason, message]))}"
        if reason in _STUCK:
            yield Finding(subject, "wrong", found, "Waiting does not mend it: mend the cause, or delete its Job.")
        else:
            yield Finding(subject, "note", found)
    if not waiting:
        yield Finding("pods", "ok", f"none waits, of {len(pods)}")


def _why_pending(pod: dict[str, Any]) -> tuple[str, str]:
    status = pod["status"]
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        if held := (container.get("state") or {}).get("waiting"):
            return held.get("reason") or "", held.get("message") or ""
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return condition.get("reason") or "", condition.get("message") or ""
    return "", "no reason given yet"


def _unseen(subject: str, problem: ClusterProblem) -> Finding:
    cure = "This account may not look at it." if problem.status in (401, 403) else ""
    return Finding(subject, "note", f"not seen: {problem}", cure)


def _guarded(subject: str, look: Any) -> Finding:
    try:
        finding: Finding = look()
    except ClusterProblem as problem:
        return _unseen(subject, problem)
    return finding
