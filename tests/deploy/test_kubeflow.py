"""The training pipeline as Kubeflow Pipelines would get it, compiled by ZenML's own orchestrator with no server.

Kubeflow's SDK wants another protobuf than these tests, so it lies in an environment of its own: `make kubeflow`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "kubeflow_training.yaml"
PYTHON = ROOT / ".venv-kubeflow" / "bin" / "python"
IMAGE = "registry.example/lungline-train:0.1.0"
SITE = {
    "LUNGLINE_REGISTRY": "registry.example",
    "LUNGLINE_TRAIN_IMAGE": IMAGE,
    "LUNGLINE_KUBEFLOW_HOST": "http://ml-pipeline.kubeflow:8888",
    "MLFLOW_TRACKING_URI": "http://mlflow:5000",
    "LUNGLINE_S3_ACCESS_KEY_ID": "id",
    "LUNGLINE_S3_SECRET_ACCESS_KEY": "not-a-secret-of-s3",
    "MLFLOW_TRACKING_USERNAME": "lungline",
    "MLFLOW_TRACKING_PASSWORD": "not-a-secret-of-mlflow",
    "LUNGLINE_PATIENT_KEY": "not-a-secret-of-patients",
}
needs_kfp = pytest.mark.skipif(not PYTHON.exists(), reason="no .venv-kubeflow: `make kubeflow` makes it")

# Everything is ZenML's and kfp's own, up to the file; only what would send that file to a server is taken out.
COMPILE = """
import json, os
from deploy.stacks.stack_file import load_stack
from pipelines.environment import prepare_environment
prepare_environment()
from pipelines.recipe import load_recipe
from pipelines.runner import stack_options
from pipelines.stack_registration import apply_stack, differences
from pipelines.training import training_pipeline
from zenml.client import Client
from zenml.integrations.kubeflow.orchestrators import KubeflowOrchestrator

described = load_stack("kubeflow")
did = [sorted({one.did for one in apply_stack(described, os.environ)}) for _ in range(2)]
arguments = (load_recipe("merged", []).model_dump(mode="json"), "/data", "fingerprint")
planned = training_pipeline.with_options(**stack_options("kubeflow", training_pipeline, arguments))
planned.prepare(*arguments)
snapshot, stack, written = planned._create_snapshot(**planned._run_args), Client().active_stack, []
KubeflowOrchestrator._upload_and_run_pipeline = lambda *_, pipeline_file_path, **__: written.append(pipeline_file_path)
stack.orchestrator.run(snapshot, stack)
step = snapshot.step_configurations["train_resnet50"].config
kept = {"retries": step.retry.max_retries, "secrets": [Client().get_secret(one).name for one in step.secrets]}
found = [one.what for one in differences(described)]
print(json.dumps({"did": did, "found": found, "kept": kept, "compiled": written[0]}))
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    home = tmp_path_factory.mktemp("kubeflow")
    script = home / "program.py"  # ZenML asks where the main module lies
    script.write_text(COMPILE, encoding="utf-8")
    environment = os.environ | SITE | {"HOME": str(home), "LUNGLINE_HOME": str(home / "lungline")}
    done = subprocess.run(
        [str(PYTHON), str(script)],
        env=environment | {"PYTHONPATH": str(ROOT)},
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def tasks(said: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Task -> what it waits for, its container, and what Kubernetes is told of its pod."""
    pipeline, platform = yaml.safe_load_all(Path(said["compiled"]).read_text(encoding="utf-8"))
    containers = pipeline["deploymentSpec"]["executors"]
    pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return {
        task["taskInfo"]["name"]: {
            "after": task.get("dependentTasks", []),
            "container": containers[f"exec-{name}"]["container"],
            "pod": pods[f"exec-{name}"],
        }
        for name, task in pipeline["root"]["dag"]["tasks"].items()
    }


@needs_kfp
def test_the_stack_is_registered_once_and_says_what_is_missing(said: dict[str, Any]) -> None:
    assert said["did"] == [["created"], ["unchanged"]]
    assert said["found"] == ["ZenML keeps its records on this machine, where pods cannot reach them"]


@needs_kfp
def test_architectures_are_trained_side_by_side(tasks: dict[str, dict[str, Any]]) -> None:
    trained = {name.replace("_", "-") for name in tasks if name.startswith("train_")}
    assert len(trained) == 5
    before = {name.replace("_", "-"): set(task["after"]) for name, task in tasks.items()}

    def ancestors(name: str) -> set[str]:
        return before[name].union(*map(ancestors, before[name]))

    assert {name: ancestors(name) & trained for name in trained} == {name: set() for name in trained}
    assert ancestors("report") >= trained


@needs_kfp
def test_only_training_asks_for_a_gpu_and_for_the_nodes_that_have_one(tasks: dict[str, dict[str, Any]]) -> None:
    def names(chosen: Callable[[dict[str, Any]], bool]) -> set[str]:
        return {name for name, task in tasks.items() if chosen(task)}

    train = {name for name in tasks if name.startswith("train_") or name == "leave_one_source_out"}
    assert names(lambda task: "accelerator" in task["container"]["resources"]) == train
    assert names(lambda task: "tolerations" in task["pod"]) == train
    gpu = tasks["train_resnet50"]["container"]["resources"]["accelerator"]
    assert (gpu["resourceType"], gpu["resourceCount"]) == ("nvidia.com/gpu", "1")


@needs_kfp
def test_every_step_runs_the_image_that_was_named_and_can_be_tried_again(
    tasks: dict[str, dict[str, Any]], said: dict[str, Any]
) -> None:
    assert {task["container"]["image"] for task in tasks.values()} == {IMAGE}
    assert said["kept"] == {"retries": 2, "secrets": ["lungline-client"]}


@needs_kfp
def test_no_secret_of_the_stack_stands_in_what_is_sent(said: dict[str, Any]) -> None:
    assert "not-a-secret" not in Path(said["compiled"]).read_text(encoding="utf-8")


@needs_kfp
def test_the_compiled_pipeline_is_the_one_that_was_agreed_on(tasks: dict[str, dict[str, Any]]) -> None:
    """A changed line here is a changed pod. To agree: write what the test says into the file."""
    pods: list[dict[str, Any]] = []
    for name, task in sorted(tasks.items()):
        described = {"container": normalised(task["container"], name), "pod": task["pod"]}
        alike = next((one for one in pods if one["described"] == described), None)
        if alike is None:
            pods.append({"steps": [name], "described": described})
        else:
            alike["steps"].append(name)
    compiled = {"order": {name: task["after"] for name, task in sorted(tasks.items())}, "pods": pods}
    agreed = yaml.safe_load(GOLDEN.read_text(encoding="utf-8"))
    assert compiled == agreed, yaml.safe_dump(compiled, sort_keys=False, width=115, default_flow_style=None)


def normalised(container: dict[str, Any], step: str) -> dict[str, Any]:
    """Without what changes from run to run: names in place of ids, and no settings of ZenML's own client."""
    words = [*container["command"], *container["args"]]
    words[words.index("--snapshot_id") + 1] = "SNAPSHOT"
    assert words[words.index("--step_name") + 1] == step
    words[words.index("--step_name") + 1] = "STEP"
    environment = {one["name"]: one["value"] for one in container["env"]}
    ours = {name: value for name, value in environment.items() if not name.startswith(("ZENML_", "DISABLE_"))}
    named = {key: value for key, value in container["resources"].items() if key.startswith(("resource", "acc"))}
    return {"image": container["image"], "command": " ".join(words), "env": ours, "resources": named}


@pytest.mark.skipif(find_spec("kfp") is not None, reason="Kubeflow's SDK is installed")
def test_without_kfp_a_person_is_told_what_to_install(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", "stack", "apply", "kubeflow"],
        env={**os.environ, **SITE, "LUNGLINE_HOME": str(tmp_path), "HOME": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 5
    assert "kfp" in done.stderr
    assert "lungline[kubeflow]" in done.stderr
