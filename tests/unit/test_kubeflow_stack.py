"""The stack file for Kubeflow: the same pods as on Kubernetes, and nothing in it that Kubeflow would not be told of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from data_contracts.errors import UsageProblem
from deploy.stacks.run_options import pod_of, run_options
from deploy.stacks.stack_file import STACKS, StackFile, load_stack

SITE = {"LUNGLINE_REGISTRY": "registry.example", "LUNGLINE_TRAIN_IMAGE": "registry.example/lungline-train:0.1.0"}
STEPS = ("ingest", "store_images", "train_resnet50", "search_stacked_cnn", "evaluate_resnet50", "audit_resnet50")


def kubeflow(**variables: str) -> StackFile:
    return load_stack("kubeflow", SITE | variables)


def changed(folder: Path, **changes: Any) -> str:
    content = yaml.safe_load((STACKS / "kubeflow.yaml").read_text(encoding="utf-8")) | changes
    path = folder / "stack.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return str(path)


def test_a_step_gets_the_same_pod_as_on_kubernetes() -> None:
    there, here = load_stack("kubernetes", SITE), kubeflow()
    assert list(here.steps) == list(there.steps)
    for step in (*STEPS, "leave_one_source_out", "explain_resnet50"):
        one, other = pod_of(here, step), pod_of(there, step)
        for name in ("cpu", "memory", "gpu", "shared_memory", "tolerations", "retries", "deadline_seconds"):
            assert getattr(one, name) == getattr(other, name), (step, name)
        claims = [[(volume.claim, volume.path) for volume in pod.volumes if volume.claim] for pod in (one, other)]
        assert claims[0] == claims[1]


@pytest.mark.parametrize(
    ("changes", "unheard"),
    [
        ({"steps": {"train_*": {"service_account": "trainer"}}}, "steps.train_*.service_account"),
        (
            {"steps": {"*": {"environment_from_secrets": ["elsewhere"]}}},
            "steps.*.environment_from_secrets.elsewhere",
        ),
        (
            {"steps": {"*": {"volumes": [{"name": "data", "path": "/data", "claim": "a", "read_only": True}]}}},
            "steps.*.volumes.data.read_only",
        ),
        ({"run": {"max_parallel_steps": 2}}, "run.max_parallel_steps"),
    ],
)
def test_what_kubeflow_would_not_be_told_of_is_refused(
    tmp_path: Path, changes: dict[str, Any], unheard: str
) -> None:
    load_stack(changed(tmp_path), SITE)
    with pytest.raises(UsageProblem) as refused:
        load_stack(changed(tmp_path, **changes), SITE)
    assert f"Kubeflow would not be told of {unheard}" in refused.value.what


def test_a_run_asks_zenml_for_what_its_orchestrator_takes_and_for_no_more() -> None:
    options = run_options(kubeflow(MLFLOW_TRACKING_URI="http://mlflow:5000"), STEPS)
    assert options["execution_mode"] == "continue_on_failure"
    assert options["settings"]["docker"]["parent_image"] == SITE["LUNGLINE_TRAIN_IMAGE"]
    assert options["settings"]["docker"]["skip_build"] is True
    asked = {
        "environment": {"MLFLOW_TRACKING_URI": "http://mlflow:5000"},
        "secrets": ["lungline-client"],
        "retry": {"max_retries": 2},
    }
    assert options["steps"] == dict.fromkeys(STEPS, asked)
