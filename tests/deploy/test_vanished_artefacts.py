"""F54 on an S3 store: a cached step whose objects were deleted is noticed, and made again by the next run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

PROGRAM = """
import json
import boto3
from moto.server import ThreadedMotoServer
from pipelines.environment import prepare_environment
prepare_environment()
from pipelines.stack_registration import choose_stack
from pipelines.vanished import forget_vanished
from zenml import pipeline, step
from zenml.client import Client
from zenml.enums import StackComponentType

store = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
store.start()
place = {"endpoint_url": "http://{}:{}".format(*store.get_host_and_port()), "region_name": "us-east-1"}
keys = {"aws_access_key_id": "id", "aws_secret_access_key": "not-a-secret"}
s3 = boto3.client("s3", **place, **keys)
s3.create_bucket(Bucket="artefacts")
client = Client()
client.create_secret("keys", keys)
settings = {"path": "s3://artefacts", "authentication_secret": "keys", "client_kwargs": place}
kept = client.create_stack_component("s3", "s3", StackComponentType.ARTIFACT_STORE, settings)
runs_here = client.active_stack_model.components[StackComponentType.ORCHESTRATOR][0].id
client.create_stack(
    "with-s3", {StackComponentType.ARTIFACT_STORE: kept.id, StackComponentType.ORCHESTRATOR: runs_here}
)
choose_stack("with-s3")

@step
def first() -> int:
    return 41

@step
def second(number: int) -> int:
    return number + 1

@pipeline
def both() -> None:
    second(first())

def run(name):
    steps = both.with_options(run_name=name)().steps
    return {step: steps[step].status.value for step in sorted(steps)}, forget_vanished(name)

made, cached = run("one"), run("two")
for item in s3.list_objects_v2(Bucket="artefacts")["Contents"]:
    if item["Key"].startswith("first/"):
        s3.delete_object(Bucket="artefacts", Key=item["Key"])
print(json.dumps([made, cached, run("three"), run("four")]))
store.stop()
"""


@pytest.mark.skipif(not find_spec("s3fs"), reason="the extra kubernetes is not installed")
def test_a_deleted_object_takes_its_step_out_of_the_cache(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    variables = {"LUNGLINE_HOME": str(tmp_path / "lungline"), "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, str(program)],
        env={**os.environ, **variables},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    completed, cached = {"first": "completed", "second": "completed"}, {"first": "cached", "second": "cached"}
    assert json.loads(done.stdout.splitlines()[-1]) == [
        [completed, []],
        [cached, []],
        [cached, ["first"]],  # by its database ZenML still takes it; what comes next must not
        [{"first": "completed", "second": "cached"}, []],
    ]
