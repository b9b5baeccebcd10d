"""Stack files as ZenML takes them: registered once, and the Jobs that its Kubernetes orchestrator makes of them.

ZenML runs in processes of their own. Nothing here needs a cluster; what needs the Kubernetes client skips without it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

GOLDEN = Path(__file__).parent / "scheduled_training.json"
SITE = {
    "MLFLOW_TRACKING_URI": "http://mlflow:5000",
    "LUNGLINE_REGISTRY": "registry.example",
    "LUNGLINE_TRAIN_IMAGE": "registry.example/lungline-train:0.1.0",
    "LUNGLINE_S3_ACCESS_KEY_ID": "id",
    "LUNGLINE_S3_SECRET_ACCESS_KEY": "not-a-secret",
}
needs_client = pytest.mark.skipif(
    not (find_spec("kubernetes") and find_spec("s3fs")), reason="the extra kubernetes is not installed"
)

REGISTER = """
import json, sys
from dataclasses import asdict
from deploy.stacks.stack_file import load_stack
from pipelines.environment import prepare_environment
prepare_environment()
from pipelines.stack_registration import apply_stack, choose_stack, differences
from zenml.client import Client

name, first, second = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
before = [one.what for one in differences(load_stack(name, first))]
did = [[one.did for one in apply_stack(load_stack(name, values), values)] for values in (first, first, second)]
after = [one.what for one in differences(load_stack(name, second))]
active = Client().active_stack_model.name
choose_stack(name)
print(json.dumps({"before": before, "did": did, "after": after, "active": [active, Client().active_stack_model.name]}))
"""

COMPILE = """
import json, os
from deploy.stacks.stack_file import load_stack
from pipelines.environment import prepare_environment
prepare_environment()
from pipelines.recipe import load_recipe
from pipelines.runner import stack_options
from pipelines.stack_registration import apply_stack
from pipelines.training import training_pipeline
from zenml.client import Client
from zenml.config.compiler import Compiler
from zenml.config.pipeline_run_configuration import PipelineRunConfiguration

apply_stack(load_stack("kubernetes"), os.environ)
arguments = (load_recipe("merged", []).model_dump(mode="json"), "/data", "fingerprint")
options = stack_options("kubernetes", training_pipeline, arguments)
planned = training_pipeline.with_options(settings=options["settings"])
planned.prepare(*arguments)
stack = Client().active_stack
compiled = Compiler().compile(planned, stack, PipelineRunConfiguration(steps=options["steps"]))
told = {}
for name, step in compiled.step_configurations.items():
    settings = stack.orchestrator.get_settings(step)
    told[name] = [
        settings.pod_settings.resources["limits"].get("nvidia.com/gpu", "0"),
        step.config.retry.max_retries, settings.step_pod_service_account_name, step.config.docker_settings.skip_build,
    ]
print(json.dumps(told))
"""

SCHEDULE = """
import json
from kubernetes.client import ApiClient
from deploy.stacks.run_options import run_options
from deploy.stacks.stack_file import load_stack
from zenml.config.docker_settings import DockerSettings
from zenml.integrations.kubernetes import manifest_utils as zenml
from zenml.integrations.kubernetes.flavors.kubernetes_orchestrator_flavor import KubernetesOrchestratorSettings

options = run_options(load_stack("kubernetes"), ["train_resnet50"])
run, step = options["settings"]["orchestrator"], options["steps"]["train_resnet50"]
of_run = KubernetesOrchestratorSettings.model_validate(run)
of_step = KubernetesOrchestratorSettings.model_validate(run | step["settings"]["orchestrator"])
assert not of_step.model_extra, of_step.model_extra
image = DockerSettings.model_validate(options["settings"]["docker"]).parent_image

def job(name, settings, pod_settings, account, retries, policy=None):
    pod = zenml.build_pod_manifest(
        pod_name=None, image_name=image, command=["python"], args=["-m", "zenml"], privileged=settings.privileged,
        pod_settings=pod_settings, service_account_name=account,
    )
    return zenml.build_job_manifest(
        name, zenml.pod_template_manifest_from_pod(pod), retries,
        settings.ttl_seconds_after_finished, active_deadline_seconds=settings.active_deadline_seconds,
        pod_failure_policy=policy,
    )

retries = step["retry"]["max_retries"]
trains = job("train", of_step, of_step.pod_settings, of_step.step_pod_service_account_name, retries,
             of_step.pod_failure_policy)
starts = job("start", of_run, of_run.orchestrator_pod_settings, of_run.service_account_name, 3)
nightly = zenml.build_cron_job_manifest(
    zenml.job_template_manifest_from_job(starts), "0 3 * * 6", of_run.successful_jobs_history_limit,
    of_run.failed_jobs_history_limit, of_run.concurrency_policy, of_run.starting_deadline_seconds,
)
print(json.dumps([ApiClient().sanitize_for_serialization(one) for one in (trains, nightly)]))
"""


SCHEDULED = """
import json, os, sys
from pathlib import Path
from data_contracts.sources.phantom import PhantomSettings, write_phantom_datasets
from deploy.stacks.stack_file import load_stack
from pipelines.environment import prepare_environment
prepare_environment()
from pipelines.recipe import load_recipe
from pipelines.stack_registration import apply_stack
from pipelines.stack_schedules import schedule_training
from zenml.client import Client
from zenml.config.compiler import Compiler
from zenml.config.pipeline_run_configuration import PipelineRunConfiguration
from zenml.pipelines.pipeline_definition import Pipeline

stack_file, data = sys.argv[1], Path(sys.argv[2])
write_phantom_datasets(data, PhantomSettings(images=40, size=64, seed=7))
apply_stack(load_stack(stack_file), os.environ)
submitted = []
Pipeline.__call__ = lambda self, *arguments: submitted.append((self, arguments))  # else it would ask for a server
schedule_training(load_recipe("quickstart", []), data, "0 3 * * 6", "nightly", stack_file)
(planned, arguments), = submitted
asked = planned._run_args
planned.prepare(*arguments)
stack = Client().active_stack
compiled = Compiler().compile(planned, stack, PipelineRunConfiguration(steps=asked["step_configurations"]))
step = compiled.step_configurations["train_simple_cnn"]
of_step = stack.orchestrator.get_settings(step)
print(json.dumps({
    "stack": stack.name, "cron": asked["schedule"].cron_expression, "cached": planned.configuration.enable_cache,
    "concurrency": of_step.concurrency_policy, "deadline": of_step.starting_deadline_seconds,
    "orchestrator account": of_step.service_account_name, "step account": of_step.step_pod_service_account_name,
    "gpu": of_step.pod_settings.resources["limits"]["nvidia.com/gpu"], "retries": step.config.retry.max_retries,
}))
"""


def run(program: str, home: Path, *arguments: str, **variables: str) -> Any:
    """The JSON on the last line of what a program printed."""
    environment = {**os.environ, "LUNGLINE_HOME": str(home / "lungline"), "HOME": str(home), **variables}
    script = home / "program.py"  # ZenML asks where the main module lies
    script.write_text(program, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        env=environment,
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def without_nulls(value: Any) -> Any:
    """ZenML leaves null fields, spelt as in the Kubernetes client, beside what is set; the API server drops them."""
    if isinstance(value, dict):
        return {key: without_nulls(one) for key, one in value.items() if one is not None}
    return [without_nulls(one) for one in value] if isinstance(value, list) else value


def test_a_stack_is_registered_once_and_chosen_for_one_process_only(tmp_path: Path) -> None:
    said = run(REGISTER, tmp_path, "local", "{}", "{}")
    assert "the stack local is not registered" in said["before"]
    assert said["did"] == [["created"] * 3, ["unchanged"] * 3, ["unchanged"] * 3]
    assert said["after"] == []
    assert said["active"] == ["default", "local"]


@needs_client
def test_a_changed_address_or_key_updates_what_it_concerns(tmp_path: Path) -> None:
    moved = SITE | {"LUNGLINE_S3_ENDPOINT": "http://elsewhere:9000", "LUNGLINE_S3_SECRET_ACCESS_KEY": "renewed"}
    said = run(REGISTER, tmp_path, "kubernetes", json.dumps(SITE), json.dumps(moved))
    assert said["did"][0] == ["created"] * 6
    assert said["did"][1] == ["unchanged"] * 6
    assert said["did"][2] == ["updated", "unchanged", "updated", "unchanged", "unchanged", "unchanged"]
    assert said["after"] == ["ZenML keeps its records on this machine, where pods cannot reach them"]


@pytest.mark.skipif(find_spec("kubernetes") is not None, reason="the extra kubernetes is installed")
def test_without_the_kubernetes_client_a_person_is_told_what_to_install(tmp_path: Path) -> None:
    environment = {**os.environ, **SITE, "LUNGLINE_HOME": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", "stack", "apply", "kubernetes"],
        env=environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 5
    assert "kubernetes" in done.stderr
    assert "lungline[kubernetes]" in done.stderr


@needs_client
def test_a_recipe_compiles_for_the_cluster_without_a_changed_line(tmp_path: Path) -> None:
    told = run(COMPILE, tmp_path, **SITE)
    networks = ("simple_cnn", "stacked_cnn", "resnet50", "densenet121", "ae_cnn")
    assert {name for name, (gpus, *_) in told.items() if gpus == "1"} >= {f"train_{name}" for name in networks}
    assert {name.split("_")[0] for name, (gpus, *_) in told.items() if gpus == "1"} <= {"train", "leave"}
    assert {tuple(rest) for _, *rest in told.values()} == {(2, "lungline-step", True)}


@needs_client
def test_zenml_makes_the_jobs_that_were_agreed_on(tmp_path: Path) -> None:
    """F52: a GPU, its toleration, /dev/shm, the accounts, retries that an eviction does not spend, Forbid.

    What a cluster is asked for, as ZenML would send it.
    """
    job, scheduled = without_nulls(run(SCHEDULE, tmp_path, **SITE))
    made = [{"apiVersion": "batch/v1", "kind": "Job"} | job, scheduled]
    for version in ("1.30", "1.35", "1.37"):
        for document in made:
            kubernetes_validate.validate(document, version, strict=True)
    assert made == json.loads(GOLDEN.read_text(encoding="utf-8")), json.dumps(made, indent=1, sort_keys=True)


@needs_client
def test_a_schedule_has_the_pods_and_the_deadline_of_its_stack_file(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "deploy" / "stacks" / "kubernetes.yaml").read_text(encoding="utf-8")
    assert "starting_deadline_seconds: 3600" in text
    own = tmp_path / "site.yaml"
    own.write_text(text.replace("starting_deadline_seconds: 3600", "starting_deadline_seconds: 1200"))
    assert run(SCHEDULED, tmp_path, str(own), str(tmp_path / "data"), **SITE) == {
        "stack": "kubernetes",
        "cron": "0 3 * * 6",
        "cached": False,
        "concurrency": "Forbid",
        "deadline": 1200,
        "orchestrator account": "lungline-orchestrator",
        "step account": "lungline-step",
        "gpu": "1",
        "retries": 2,
    }


USE = """
from pipelines.environment import prepare_environment
prepare_environment()
from data_contracts.errors import UsageProblem
from pipelines.runner import use_stack
try:
    use_stack("kubernetes")
except UsageProblem as problem:
    print(problem.what, problem.cure)
"""


def test_a_run_in_pods_wants_an_mlflow_that_pods_can_reach(tmp_path: Path) -> None:
    """Else its records would lie on two machines, and the pods would be told of a file they do not have."""
    environment = {**os.environ, **SITE, "LUNGLINE_HOME": str(tmp_path), "HOME": str(tmp_path)}
    del environment["MLFLOW_TRACKING_URI"]
    done = subprocess.run(
        [sys.executable, "-c", USE], env=environment, capture_output=True, text=True, timeout=300, check=True
    )
    assert done.stdout.startswith("MLflow's records lie in a file of this machine. Set MLFLOW_TRACKING_URI")
