"""The container images: non-root, from the lock file, with nothing that belongs to a machine or a registry."""

from __future__ import annotations

import re
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "deploy" / "images"
DOCKERFILE = (IMAGES / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
LOCKED = set(re.findall(r'^name = "([^"]+)"$', (ROOT / "uv.lock").read_text(encoding="utf-8"), re.M))


def stages() -> dict[str, list[str]]:
    """Stage -> its instructions, those of the stages that it starts from before them."""
    found: dict[str, list[str]] = {}
    for line in DOCKERFILE.splitlines():
        if start := re.match(r"FROM (\S+) AS (\S+)$", line):
            base, name = start.groups()
            found[name] = list(found.get(base, [f"FROM {base}"]))
        elif found and line.strip() and not line.startswith("#"):
            found[name].append(line)
    return found


def instructions(stage: str, keyword: str) -> list[str]:
    return [line.removeprefix(keyword).strip() for line in stages()[stage] if line.startswith(f"{keyword} ")]


@pytest.mark.parametrize("image", ["train", "serve"])
def test_an_image_runs_without_root_on_a_base_that_a_site_chooses(image: str) -> None:
    assert instructions(image, "FROM") == ["${BASE_IMAGE}"]
    assert instructions(image, "USER") == ["10001:10001"]
    assert instructions(image, "ENTRYPOINT") == ['["lungline"]']


@pytest.mark.parametrize("image", ["train", "serve"])
def test_an_image_says_what_it_is_and_whether_it_is_well(image: str) -> None:
    (labels,) = instructions(image, "LABEL")
    for label in ("title", "licenses", "revision", "version"):
        assert f"org.opencontainers.image.{label}=" in labels
    assert len(instructions(image, "HEALTHCHECK")) == 1


@pytest.mark.parametrize("image", ["train", "serve"])
def test_what_installs_stays_out_of_the_image(image: str) -> None:
    assert not any(
        "pip" in line or ("install " in line and "install -d" not in line) for line in instructions(image, "RUN")
    )
    assert instructions(image, "COPY") == [
        f"--from={image}-libraries /opt/lungline /opt/lungline",
        "--from=project /opt/project /opt/lungline/code",
    ]


def test_changed_code_leaves_the_layers_of_libraries_as_they_are() -> None:
    for image in ("train", "serve"):
        copied = " ".join(instructions(f"{image}-libraries", "COPY"))
        assert "pyproject.toml" in copied
        assert "models" not in copied


def test_nothing_is_fetched_by_name_of_a_host_or_a_moving_tag() -> None:
    assert not re.search(r"^ADD ", DOCKERFILE, re.M)
    assert "://" not in "".join(line for line in DOCKERFILE.splitlines() if "127.0.0.1" not in line)
    assert not re.search(r":latest\b", DOCKERFILE)
    assert re.findall(r"^ARG BASE_IMAGE=(\S+)$", DOCKERFILE, re.M) == ["python:3.11-slim"]
    assert "PIP_NO_CACHE_DIR=1" in DOCKERFILE


def goes_into_the_context(path: str) -> bool:
    """As builders read Dockerfile.dockerignore: of the lines that match the path or a folder of it the last counts."""
    goes = True
    matched = [f"/{one}" for one in (path, *PurePosixPath(path).parents)]
    for line in (IMAGES / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines():
        if any(fnmatchcase(one, f"/{line.removeprefix('!')}") for one in matched):
            goes = line.startswith("!")
    return goes


def test_what_is_copied_into_a_build_is_there_and_not_ignored() -> None:
    sources = {word for line in instructions("project", "COPY") for word in line.split()[:-1]}
    assert {"uv.lock", "pyproject.toml", "data_contracts", "models", "steps", "pipelines", "deploy"} <= sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert goes_into_the_context(source), source
    for read in ("deploy/stacks/kubernetes.yaml", "deploy/serving/docs.html.j2", "pipelines/recipes/merged.yaml"):
        assert (ROOT / read).exists(), read
        assert goes_into_the_context(read), read


def test_secrets_that_were_made_beside_the_manifests_go_into_no_build() -> None:
    """They would lie in a layer of the stage `project`, which builders keep and may push as a cache."""
    assert (ROOT / "deploy" / "kubernetes" / "secrets" / "make").exists()
    for secret in ("client.env", "database/root", "decisions/lungline", "kustomization.yaml"):
        assert not goes_into_the_context(f"deploy/kubernetes/secrets/{secret}"), secret
    assert not goes_into_the_context(".lungline/patient.key")


def pruned() -> set[str]:
    return set(re.findall(r"--prune (\S+)", " ".join(instructions("serve-libraries", "RUN"))))


def test_serving_leaves_out_packages_that_the_lock_knows() -> None:
    """uv passes over a name it does not know, and the image would grow in silence."""
    assert {"zenml", "great-expectations", "evidently", "optuna"} <= pruned() <= LOCKED


def test_serving_starts_without_what_its_image_leaves_out() -> None:
    blocked = {name.replace("-", "_") for name in pruned()}
    program = f"""
import sys

class LeftOut:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, LeftOut())
import pipelines.cli, pipelines.commands.serve, pipelines.environment
import deploy.serving.server, models.registry.follow, models.scoring.champion, mlflow
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, timeout=300)


@pytest.mark.parametrize("script", ["build", "install"])
def test_build_scripts_are_plain_shell(script: str) -> None:
    subprocess.run(["sh", "-n", str(IMAGES / script)], check=True)
