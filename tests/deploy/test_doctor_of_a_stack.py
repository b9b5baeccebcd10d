"""`lungline doctor --stack` against a real S3 store and small stand-ins for MLflow and a registry; no cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    not (find_spec("kubernetes") and find_spec("s3fs")), reason="the extra kubernetes is not installed"
)
DEAD = "http://127.0.0.1:9"  # discard: nobody listens


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """An S3 store with the bucket `lungline`."""
    import boto3
    from moto.server import ThreadedMotoServer

    store = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    store.start()
    address = "http://{}:{}".format(*store.get_host_and_port())
    keys = {"aws_access_key_id": "id", "aws_secret_access_key": "not-a-secret"}
    boto3.client("s3", endpoint_url=address, region_name="us-east-1", **keys).create_bucket(Bucket="lungline")
    yield address
    store.stop()


def doctor(home: Path, **variables: str) -> tuple[int, dict[str, dict[str, str]], str]:
    """Exit code, findings by subject, everything printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("KUBE", "MLFLOW_"))}
    site = {
        "LUNGLINE_REGISTRY": "127.0.0.1:9",
        "LUNGLINE_TRAIN_IMAGE": "127.0.0.1:9/lungline-train:0.1.0",
        "LUNGLINE_S3_ACCESS_KEY_ID": "id",
        "LUNGLINE_S3_SECRET_ACCESS_KEY": "not-a-secret",
        "MLFLOW_TRACKING_URI": DEAD,
        "ZENML_LOGGING_VERBOSITY": "CRITICAL",
    }
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lungline")), "doctor", "--stack", "kubernetes", "--json"],
        env={**environment, "LUNGLINE_HOME": str(home), "HOME": str(home), **site, **variables},
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "Traceback" not in done.stderr, done.stderr
    found = json.loads(done.stdout)["findings"]
    return done.returncode, {one["subject"]: one for one in found}, done.stdout + done.stderr


def test_services_that_are_down_are_findings_each_and_a_store_that_works_is_used(s3: str, tmp_path: Path) -> None:
    """F52: what would leave pods waiting is named before anything is submitted."""
    began = time.monotonic()
    code, found, said = doctor(tmp_path, LUNGLINE_S3_ENDPOINT=s3)
    assert code == 5
    assert time.monotonic() - began < 90
    assert found["artifact store"]["state"] == "ok", found["artifact store"]
    states = {subject: found[subject]["state"] for subject in ("MLflow of the pods", "registry", "cluster")}
    # Nodes pull from the registry: one that this machine does not reach may still be well.
    assert states == {"MLflow of the pods": "wrong", "registry": "note", "cluster": "wrong"}
    assert all(found[subject]["cure"] for subject in states)
    assert found["stack kubernetes"]["state"] == "wrong"
    assert "not-a-secret" not in said


def test_a_missing_bucket_and_a_dead_zenml_are_said_in_seconds(s3: str, tmp_path: Path) -> None:
    code, found, _ = doctor(
        tmp_path, LUNGLINE_S3_ENDPOINT=s3, LUNGLINE_S3_BUCKET="elsewhere", ZENML_STORE_URL=DEAD
    )
    assert code == 5
    assert "NoSuchBucket" in found["artifact store"]["found"]
    assert found["ZenML"]["state"] == "wrong"
    assert found["ZenML"]["found"].startswith(DEAD)
