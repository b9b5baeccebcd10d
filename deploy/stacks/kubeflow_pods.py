"""Hands on to Kubeflow what a step's pod asks for, past ZenML 0.98's orchestrator, which loses nearly all of it.

It takes no pod settings (its own validator empties them), of ResourceSettings the cores, memory in a form that kfp
refuses, and GPUs only beside a node selector that ZenML's compiler strips. kfp itself can say all this, so the one
method in which the orchestrator dresses a task is replaced, in the process that submits a run; pods never call it.
"""

from __future__ import annotations

from typing import Any

from deploy.stacks.run_options import GPU, pod_of, volumes_of
from deploy.stacks.stack_file import Image, Pod, StackFile, Volume


def hand_on_pods(stack: StackFile) -> None:
    """Let this process compile each step's task with what the stack file asks for it. Needs the extra kubeflow."""
    from zenml.integrations.kubeflow.orchestrators import KubeflowOrchestrator

    def configure(_orchestrator: Any, task: Any, *_resources: Any) -> Any:
        step = task._task_spec.display_name  # the task's own name is changed to suit Kubernetes
        return _dress(task, pod_of(stack, step), stack.image)

    changed: Any = KubeflowOrchestrator
    changed._configure_container_resources = configure


def _dress(task: Any, pod: Pod, image: Image | None) -> Any:
    from kfp import kubernetes

    if pod.cpu:
        task.set_cpu_request(pod.cpu)  # no limit: a throttled step is late and nothing else
    if pod.memory:
        task.set_memory_request(pod.memory).set_memory_limit(pod.memory)
    if pod.gpu:
        task.set_accelerator_type(GPU).set_accelerator_limit(pod.gpu)
    for label, value in pod.node_selector.items():
        kubernetes.add_node_selector(task, label, value)
    for toleration in pod.tolerations:
        kubernetes.add_toleration(task, **toleration.model_dump(exclude_none=True))
    for volume in volumes_of(pod):
        _mount(task, volume)
    if pod.deadline_seconds:
        kubernetes.set_timeout(task, pod.deadline_seconds)
    if image and image.pull_secrets:
        kubernetes.set_image_pull_secrets(task, image.pull_secrets)
    return task


def _mount(task: Any, volume: Volume) -> None:
    from kfp import kubernetes

    if volume.claim:
        kubernetes.mount_pvc(task, volume.claim, volume.path)
    else:
        medium = "Memory" if volume.memory else None
        kubernetes.empty_dir_mount(task, volume.name, volume.path, medium=medium, size_limit=volume.size)
