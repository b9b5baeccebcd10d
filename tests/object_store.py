"""A real S3 server for tests: moto."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

BUCKET = "lungline"


class ObjectStore:
    """moto_server in a process of its own, with an empty bucket. Use as a context manager."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.address = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        arguments = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        quiet = subprocess.DEVNULL
        self._server = subprocess.Popen(arguments, stdout=quiet, stderr=quiet)
        deadline = time.monotonic() + 120
        while True:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
                connection.request("PUT", f"/{BUCKET}")
                assert connection.getresponse().status == 200
                connection.close()
            except OSError:
                assert self._server.poll() is None, "moto_server did not start"
                assert time.monotonic() < deadline, "moto_server does not answer"
                time.sleep(0.1)
            else:
                return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.kill()
        self._server.wait()


def artifact_store(address: str, path: str = f"s3://{BUCKET}") -> Any:
    """ZenML's S3 artifact store at that address, without a stack; botocore itself tries once."""
    from zenml.enums import StackComponentType
    from zenml.integrations.s3.artifact_stores import S3ArtifactStore
    from zenml.integrations.s3.flavors.s3_artifact_store_flavor import S3ArtifactStoreConfig

    now = datetime.now(UTC)
    return S3ArtifactStore(
        name="s3",
        id=uuid4(),
        config=S3ArtifactStoreConfig(**artifact_store_settings(address, path), key="id", secret="not-a-secret"),  # noqa: S106
        flavor="s3",
        type=StackComponentType.ARTIFACT_STORE,
        user=None,
        created=now,
        updated=now,
    )


def artifact_store_settings(address: str, path: str = f"s3://{BUCKET}") -> dict[str, Any]:
    """The configuration of an artifact store as stack files have it."""
    return {
        "path": path,
        "client_kwargs": {"endpoint_url": address, "region_name": "us-east-1"},
        "config_kwargs": {"retries": {"max_attempts": 0}},
    }
