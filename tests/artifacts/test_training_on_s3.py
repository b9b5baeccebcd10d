"""`lungline train --stack FILE` with artefacts on S3: the same command, nothing shared but the store."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import timm
import yaml
from safetensors.torch import save_file

from data_contracts.sources.phantom import PhantomSettings, write_phantom_datasets
from steps.remote_folder import RemoteFolder
from tests.object_store import BUCKET, ObjectStore, artifact_store, artifact_store_settings
from tests.pipeline.conftest import TINY, Finished, environment
from tests.store_door import Door, failing

KEYS = {"LUNGLINE_S3_ACCESS_KEY_ID": "id", "LUNGLINE_S3_SECRET_ACCESS_KEY": "not-a-secret"}


@dataclass(frozen=True)
class Site:
    """A workspace whose stack keeps its artefacts in the store behind the door."""

    home: Path
    door: Door

    def lungline(self, *arguments: str, **variables: str) -> Finished:
        done = subprocess.run(
            [str(Path(sys.executable).with_name("lungline")), *arguments],
            env={**environment(self.home), **variables},
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    def train(self) -> Finished:
        return self.lungline("train", "tiny.yaml", "--data", "raw", "--stack", "stack.yaml", "--json")


@pytest.fixture
def site(door: Door, tmp_path: Path) -> Site:
    stack: dict[str, Any] = {
        "name": "shared",
        "components": {
            "orchestrator": {"flavor": "local"},
            "artifact_store": {
                "flavor": "s3",
                "secret": "lungline-s3",
                "configuration": artifact_store_settings(door.address),
            },
        },
        "secrets": {
            "lungline-s3": {
                "aws_access_key_id": "LUNGLINE_S3_ACCESS_KEY_ID",
                "aws_secret_access_key": "LUNGLINE_S3_SECRET_ACCESS_KEY",
            }
        },
    }
    (tmp_path / "stack.yaml").write_text(yaml.safe_dump(stack))
    network = timm.create_model("resnet10t", num_classes=3)
    save_file(
        {name: value.contiguous() for name, value in network.state_dict().items()}, tmp_path / "w.safetensors"
    )
    frozen = {"init": f"file:{tmp_path / 'w.safetensors'}", "freeze_epochs": 1}  # whose features are kept
    recipe = {**TINY, "architectures": [{"name": "resnet10t"}], "training": {**TINY["training"], **frozen}}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(recipe))
    write_phantom_datasets(tmp_path / "raw", PhantomSettings(images=160, size=64, seed=7))
    site = Site(tmp_path, door)
    applied = site.lungline("stack", "apply", "stack.yaml", **KEYS)
    assert applied.code == 0, applied.err
    return site


def test_a_recipe_trains_with_its_artefacts_on_s3(s3: ObjectStore, site: Site) -> None:
    """First the store refuses the upload of the image store: nothing is registered that could be loaded later."""
    site.door.fault = failing(1, 403, "PUT", "/images.npy")
    refused = site.train()
    assert refused.code == 6, refused.err
    assert "credentials" in refused.err
    assert "Traceback" not in refused.err

    first = site.train()
    assert first.code == 0, first.err
    assert first.document["trained"] == 1
    assert site.door.count("GET", "/images.npy") == 1  # though ten steps and more read it
    left = RemoteFolder(artifact_store(s3.address), f"s3://{BUCKET}").sizes()
    assert sum(name.startswith("lungline-features/") for name in left) == 2  # of training and validation images
    assert any(one.method == "PUT" and "/lungline-training/" in one.path for one in site.door.asked)
    assert not any(name.startswith("lungline-training/") for name in left)

    shutil.rmtree(site.home / "cache" / "artifacts")
    again = site.train()
    assert again.code == 0, again.err
    assert again.document["trained"] == 0
    assert again.document["evaluations"] == first.document["evaluations"]
