"""What a pipeline run on a stack file's stack is configured with, as the dictionaries that ZenML takes.

GPU and memory are written into the pod itself: ZenML's Kubernetes orchestrator ignores its own ResourceSettings.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

from deploy.stacks.stack_file import Image, Pod, StackFile, Volume

USER_ID = 10001  # of the images in deploy/images
GPU = "nvidia.com/gpu"
_SHARED_MEMORY = "dshm"
# The root file system is read-only. /app is where ZenML's entry point changes to; home is LUNGLINE_HOME and caches.
_WRITABLE = (
    Volume(name="tmp", path="/tmp"),  # noqa: S108 (of the container)
    Volume(name="app", path="/app"),
    Volume(name="home", path="/home/lungline"),
)
# The network policies of deploy/kubernetes go by these.
_STEP = {"app.kubernetes.io/component": "step"}
_ORCHESTRATOR = {"app.kubernetes.io/component": "orchestrator", "lungline/api-access": "true"}
# A pod that a node drops was not at fault: it starts again and spends no retry. ZenML's own policy for steps counts
# exit codes first, which counts evicted pods too, as those end with 143 or 137.
_DISRUPTED_IS_NOT_FAILED = {
    "rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
}
# What the Pod Security Standard "restricted" asks of a container.
_CONTAINER_SECURITY = {
    "runAsNonRoot": True,
    "runAsUser": USER_ID,
    "runAsGroup": USER_ID,
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def run_options(stack: StackFile, steps: Iterable[str]) -> dict[str, Any]:
    """Keyword arguments for `pipeline.with_options`: settings of the run, and of each of the named steps."""
    if not stack.makes_pods or stack.image is None:
        return {}
    if stack.on_kubeflow:
        return _on_kubeflow(stack, stack.image, steps)
    run = stack.run
    orchestrator = {
        "orchestrator_pod_settings": _pod_settings(run.orchestrator_pod, stack.image, _ORCHESTRATOR),
        "service_account_name": run.orchestrator_pod.service_account,
        "max_parallelism": run.max_parallel_steps,
        "ttl_seconds_after_finished": run.keep_finished_seconds,
        # Of a schedule: two runs at once would fight for the same GPU and registry.
        "concurrency_policy": "Forbid",
        "starting_deadline_seconds": run.starting_deadline_seconds,
        "successful_jobs_history_limit": run.kept_scheduled_runs,
        "failed_jobs_history_limit": run.kept_scheduled_runs,
    }
    settings = {"docker": _docker_settings(stack.image), "orchestrator": _given(orchestrator)}
    return {
        "settings": settings,
        "steps": {step: _step_options(pod_of(stack, step), stack.image) for step in steps},
    }


def pod_of(stack: StackFile, step: str) -> Pod:
    """What the pod of that step asks for: every pattern that matches its name, in the order of the file."""
    pod = Pod()
    for pattern, asked in stack.steps.items():
        if fnmatchcase(step, pattern):
            pod = pod.then(asked)
    return pod


def volumes_of(pod: Pod) -> list[Volume]:
    """The volumes that a pod asks for, /dev/shm among them: Kubernetes gives 64 MB, too little for a data loader."""
    if not pod.shared_memory:
        return pod.volumes
    return [*pod.volumes, Volume(name=_SHARED_MEMORY, path="/dev/shm", size=pod.shared_memory, memory=True)]  # noqa: S108


def _step_options(pod: Pod, image: Image) -> dict[str, Any]:
    orchestrator = {
        "pod_settings": _pod_settings(pod, image, _STEP),
        "step_pod_service_account_name": pod.service_account,
        "active_deadline_seconds": pod.deadline_seconds,
        "pod_failure_policy": _DISRUPTED_IS_NOT_FAILED,
    }
    options: dict[str, Any] = {"settings": {"orchestrator": _given(orchestrator)}}
    if pod.retries:
        options["retry"] = {"max_retries": pod.retries}
    return options


def _on_kubeflow(stack: StackFile, image: Image, steps: Iterable[str]) -> dict[str, Any]:
    """The same for ZenML's Kubeflow orchestrator, apart from what kubeflow_pods hands on past it."""
    return {
        # The only mode it takes: where a step fails, those that do not need it still run to their end.
        "execution_mode": "continue_on_failure",
        "settings": {"docker": _docker_settings(image)},
        "steps": {step: _kubeflow_step_options(pod_of(stack, step)) for step in steps},
    }


def _kubeflow_step_options(pod: Pod) -> dict[str, Any]:
    options: dict[str, Any] = {"environment": pod.environment, "secrets": pod.environment_from_secrets}
    if pod.retries:
        options["retry"] = {"max_retries": pod.retries}
    return options


def _docker_settings(image: Image) -> dict[str, Any]:
    """The image as it is: what runs is what was built and scanned, and no run builds anything."""
    return {
        "parent_image": image.name,
        "skip_build": True,
        "install_stack_requirements": False,
        "allow_including_files_in_images": False,
        "allow_download_from_artifact_store": False,
        "allow_download_from_code_repository": False,
    }


def _pod_settings(pod: Pod, image: Image, labels: dict[str, str]) -> dict[str, Any]:
    volumes = [*_WRITABLE, *volumes_of(pod)]
    settings = {
        "resources": _resources(pod),
        "node_selectors": pod.node_selector,
        "tolerations": [one.model_dump(exclude_none=True) for one in pod.tolerations],
        "volumes": [_volume(one) for one in volumes],
        "volume_mounts": [_mount(one) for one in volumes],
        "env": [{"name": name, "value": value} for name, value in sorted(pod.environment.items())],
        "env_from": [{"secretRef": {"name": name}} for name in pod.environment_from_secrets],
        "image_pull_secrets": image.pull_secrets,
        "labels": {"app.kubernetes.io/part-of": "lungline"} | labels,
        "container_security_context": _CONTAINER_SECURITY,
        # fsGroup: what a volume holds belongs to the group of the user in the image.
        "additional_pod_spec_args": {"security_context": {"fsGroup": USER_ID}},
    }
    return {key: value for key, value in settings.items() if value}


def _resources(pod: Pod) -> dict[str, dict[str, str]]:
    requests = _given({"cpu": pod.cpu, "memory": pod.memory})
    limits = _given({"memory": pod.memory})
    if pod.gpu:
        requests[GPU] = limits[GPU] = str(pod.gpu)
    return {name: value for name, value in (("requests", requests), ("limits", limits)) if value}


def _volume(volume: Volume) -> dict[str, Any]:
    if volume.claim:
        claim = {"claimName": volume.claim} | ({"readOnly": True} if volume.read_only else {})
        return {"name": volume.name, "persistentVolumeClaim": claim}
    if volume.host_path:
        # One that is not there keeps the pod from starting: Kubernetes would make it for root, and no step could write.
        return {"name": volume.name, "hostPath": {"path": volume.host_path, "type": "Directory"}}
    empty = _given({"medium": "Memory" if volume.memory else None, "sizeLimit": volume.size})
    return {"name": volume.name, "emptyDir": empty}


def _mount(volume: Volume) -> dict[str, Any]:
    mount: dict[str, Any] = {"name": volume.name, "mountPath": volume.path}
    return mount | ({"readOnly": True} if volume.read_only else {})


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
