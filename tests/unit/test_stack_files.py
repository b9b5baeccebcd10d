"""Stack files: read strictly, without secrets, and turned into what ZenML is told about each step's pod."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from data_contracts.errors import UsageProblem
from data_contracts.node_cache import KEPT_GIB
from deploy.stacks.run_options import USER_ID, pod_of, run_options
from deploy.stacks.stack_file import Pod, StackFile, load_stack, stack_names

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden" / "kubernetes_run_options.json"
SITE = {"LUNGLINE_REGISTRY": "registry.example", "LUNGLINE_TRAIN_IMAGE": "registry.example/lungline-train:0.1.0"}
STEPS = (
    "ingest",
    "store_images",
    "train_resnet50",
    "search_stacked_cnn",
    "evaluate_resnet50",
    "leave_one_source_out",
)


def kubernetes(**variables: str) -> StackFile:
    return load_stack("kubernetes", SITE | variables)


def written(folder: Path, content: dict[str, Any]) -> str:
    path = folder / "stack.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return str(path)


def described(**changes: Any) -> dict[str, Any]:
    return {
        "name": "site",
        "components": {
            "orchestrator": {"flavor": "kubernetes"},
            "artifact_store": {"flavor": "s3", "configuration": {"path": "s3://bucket"}},
            "container_registry": {"flavor": "default", "configuration": {"uri": "registry.example"}},
            "image_builder": {"flavor": "local"},
        },
        "image": {"name": "registry.example/train:1"},
        **changes,
    }


@pytest.mark.parametrize("name", stack_names())
def test_a_stack_is_named_as_its_file(name: str) -> None:
    assert load_stack(name, SITE).name == name


def test_what_a_site_must_name_is_asked_for_at_once() -> None:
    with pytest.raises(UsageProblem, match="LUNGLINE_REGISTRY, LUNGLINE_TRAIN_IMAGE"):
        load_stack("kubernetes", {})


def test_variables_fill_texts_and_never_change_the_structure() -> None:
    stack = kubernetes(LUNGLINE_S3_BUCKET="a: {b: c}", LUNGLINE_KUBE_CONTEXT="", LUNGLINE_TRAIN_GPUS="2")
    assert stack.components.artifact_store.settings["path"] == "s3://a: {b: c}"
    assert "kubernetes_context" not in stack.components.orchestrator.settings
    assert pod_of(stack, "train_resnet50").gpu == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stages": {}}, "stages"),
        ({"image": {"name": "registry.example:5000/train"}}, "a tag other than latest"),
        ({"image": {"name": "train:latest"}}, "a tag other than latest"),
        ({"image": None}, "needs image"),
        (
            {"components": {"orchestrator": {"flavor": "kubernetes"}, "artifact_store": {"flavor": "s3"}}},
            "needs cont",
        ),
        ({"steps": {"train_*": {"memroy": "4Gi"}}}, "memroy"),
        ({"steps": {"*": {"memory": "4 GB"}}}, "steps.*.memory"),
        ({"steps": {"*": {"gpu": -1}}}, "steps.*.gpu"),
        ({"steps": {"*": {"volumes": [{"name": "a", "path": "/a", "claim": "b", "size": "1Gi"}]}}}, "claim has"),
        ({"steps": {"*": {"volumes": [{"name": "a", "path": "/a", "read_only": True}]}}}, "of no use"),
        (
            {"steps": {"*": {"volumes": [{"name": "a", "path": "/a", "host_path": "/b", "claim": "b"}]}}},
            "either a claim or a folder of the node",
        ),
        (
            {"steps": {"*": {"volumes": [{"name": "a", "path": "/a", "host_path": "/b", "size": "1Gi"}]}}},
            "a node's folder its own",
        ),
        (
            {"steps": {"*": {"volumes": [{"name": "a", "path": "/a", "host_path": "b"}]}}},
            "steps.*.volumes.0.host_path",
        ),
        (
            {"secrets": {"s3": {"aws_secret_access_key": "wJalrXUtnFEMI/K7MDENG"}}},
            "secrets.s3.aws_secret_access_key",
        ),
    ],
)
def test_a_stack_file_that_cannot_be_meant_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    load_stack(written(tmp_path, described()), {})
    with pytest.raises(UsageProblem) as refused:
        load_stack(written(tmp_path, described(**changes)), {})
    assert said in refused.value.what


@pytest.mark.parametrize(
    "configuration",
    [{"key": "AKIA"}, {"secret": "x"}, {"client_kwargs": {"aws_session_token": "x"}}, {"password": "x"}],
)
def test_a_secret_in_a_stack_file_is_refused(tmp_path: Path, configuration: dict[str, Any]) -> None:
    content = described()
    content["components"]["artifact_store"]["configuration"] = configuration
    with pytest.raises(UsageProblem, match="would hold a secret"):
        load_stack(written(tmp_path, content), {})


def test_pods_belong_to_a_stack_that_makes_some(tmp_path: Path) -> None:
    components = {"orchestrator": {"flavor": "local"}, "artifact_store": {"flavor": "local"}}
    with pytest.raises(UsageProblem, match="only the kubernetes orchestrator"):
        load_stack(written(tmp_path, {"name": "a", "components": components, "steps": {"*": {"cpu": "1"}}}), {})
    assert run_options(load_stack("local", {}), STEPS) == {}


@pytest.mark.parametrize("name", ["nowhere", "./nowhere.yaml"])
def test_a_stack_file_that_is_not_there_is_named_with_those_that_are(name: str) -> None:
    with pytest.raises(UsageProblem) as refused:
        load_stack(name, {})
    assert "nowhere.yaml" in refused.value.what
    assert "kubernetes, local" in refused.value.cure


def test_patterns_apply_from_top_to_bottom() -> None:
    stack = StackFile.model_validate(
        described(
            steps={
                "*": {
                    "cpu": "1",
                    "memory": "1Gi",
                    "environment": {"A": "1", "B": "1"},
                    "tolerations": [{"key": "a"}],
                },
                "train_*": {
                    "memory": "8Gi",
                    "environment": {"B": "2"},
                    "tolerations": [{"key": "a"}, {"key": "b"}],
                },
                "train_big": {"cpu": "16", "gpu": 4},
            }
        )
    )
    pod = pod_of(stack, "train_big")
    assert (pod.cpu, pod.memory, pod.gpu, pod.environment) == ("16", "8Gi", 4, {"A": "1", "B": "2"})
    assert [one.key for one in pod.tolerations] == ["a", "b"]
    assert pod_of(stack, "train_small").gpu is None
    assert pod_of(stack, "ingest") == stack.steps["*"]
    assert pod_of(StackFile.model_validate(described()), "ingest") == Pod()


def test_only_what_trains_asks_for_a_gpu() -> None:
    steps = run_options(kubernetes(), STEPS)["steps"]
    limits = {
        name: one["settings"]["orchestrator"]["pod_settings"]["resources"]["limits"] for name, one in steps.items()
    }
    asking = {name for name, limit in limits.items() if "nvidia.com/gpu" in limit}
    assert asking == {"train_resnet50", "search_stacked_cnn", "leave_one_source_out"}
    without = run_options(kubernetes(LUNGLINE_TRAIN_GPUS="0"), STEPS)
    assert 'nvidia.com/gpu": ' not in json.dumps(without)


def test_every_pattern_names_steps_that_the_training_pipeline_has() -> None:
    """Read from its source: a step that was renamed would lose its GPU in silence."""
    source = (ROOT / "pipelines" / "training.py").read_text(encoding="utf-8")
    fanned_out = set(re.findall(r'id=f"(\w+_)\{name\}"', source))
    single = {
        name for line in re.findall(r"^from steps\.\w+ import (.+)$", source, re.M) for name in line.split(", ")
    }
    for pattern in set(kubernetes().steps) - {"*"}:
        assert pattern.removesuffix("*") in (fanned_out if pattern.endswith("*") else single), pattern


def test_the_run_never_builds_an_image_and_takes_no_code_along() -> None:
    docker = run_options(kubernetes(), STEPS)["settings"]["docker"]
    assert docker["parent_image"] == SITE["LUNGLINE_TRAIN_IMAGE"]
    assert docker["skip_build"] is True
    assert not any(value for key, value in docker.items() if key.startswith(("allow_", "install_")))


def test_steps_write_to_the_folders_that_the_image_expects_and_to_no_other() -> None:
    image = (ROOT / "deploy" / "images" / "Dockerfile").read_text(encoding="utf-8")
    settings = run_options(kubernetes(), ["ingest"])["steps"]["ingest"]["settings"]["orchestrator"]["pod_settings"]
    mounts = {mount["mountPath"] for mount in settings["volume_mounts"] if not mount.get("readOnly")}
    assert mounts == {"/tmp", "/app", "/home/lungline", "/cache"}  # noqa: S108 (of the container)
    assert f"USER {USER_ID}:{USER_ID}" in image
    assert "HOME=/home/lungline" in image


def test_the_pods_of_a_node_may_share_a_folder_of_it() -> None:
    """Of type Directory: one that Kubernetes makes belongs to root, and steps run as another user."""
    volume = {"name": "artifacts", "path": "/cache", "host_path": "/var/cache/lungline"}
    stack = StackFile.model_validate(described(steps={"*": {"volumes": [volume]}}))
    settings = run_options(stack, ["ingest"])["steps"]["ingest"]["settings"]["orchestrator"]["pod_settings"]
    shared = {"path": "/var/cache/lungline", "type": "Directory"}
    assert {"name": "artifacts", "hostPath": shared} in settings["volumes"]
    assert {"name": "artifacts", "mountPath": "/cache"} in settings["volume_mounts"]


def test_what_a_node_keeps_fits_into_its_volume() -> None:
    """A pod that fills its empty folder beyond the size is evicted."""
    pod = pod_of(kubernetes(), "ingest")
    [volume] = [one for one in pod.volumes if one.path == pod.environment["LUNGLINE_ARTIFACT_CACHE"]]
    assert volume.size is not None
    assert int(volume.size.removesuffix("Gi")) > KEPT_GIB


def test_the_options_are_those_that_were_agreed_on() -> None:
    """A changed line here is a changed pod on every cluster. To agree: write what the test says into the file."""
    options = run_options(kubernetes(), STEPS)
    assert options == json.loads(GOLDEN.read_text(encoding="utf-8")), json.dumps(options, indent=1, sort_keys=True)
