"""The cluster under test, and commands on it: `kubectl`, and `lungline` in the pod `client`."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

NAMESPACE = "lungline"
KUBECTL = os.environ.get("LUNGLINE_TEST_KUBECTL", "kubectl")
CONTEXT = "LUNGLINE_TEST_KUBECONTEXT"
RESTART_ZENML = "LUNGLINE_TEST_RESTART_ZENML"
# Names that the manifests use -> the variable that says where the service of that name runs instead. A cluster that
# pulls the vendors' images needs none of them.
ZENML, S3, DATABASE = "http://zenml:8080", "http://s3:8333", "database:3306"
ELSEWHERE = {ZENML: "LUNGLINE_TEST_ZENML", S3: "LUNGLINE_TEST_S3", DATABASE: "LUNGLINE_TEST_DATABASE"}
# The manifests speak of the main recipe's model; here the recipe of a first run is tried.
MODEL = "lungline-quickstart"
Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)

    @property
    def said(self) -> str:
        return self.out + self.err


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where and with what the tests run.

    elsewhere: as ELSEWHERE, filled in. person: name and password. volumes: folder of the node, "" where claims are
    provisioned. database_socket: where root of the database is let in.
    """

    context: str
    image: str
    serve_image: str
    elsewhere: Mapping[str, str]
    api_key: str = field(repr=False)  # a failed test prints its arguments
    person: tuple[str, str] = field(repr=False)
    volumes: str
    database_socket: str

    @classmethod
    def from_environment(cls) -> Cluster:
        registry, tag = os.environ.get("LUNGLINE_TEST_REGISTRY", "localhost:5000"), _given("LUNGLINE_TEST_TAG")
        return cls(
            context=_given(CONTEXT),
            image=f"{registry}/lungline-train:{tag}",
            serve_image=f"{registry}/lungline-serve:{tag}",
            elsewhere={name: os.environ[key] for name, key in ELSEWHERE.items() if os.environ.get(key)},
            api_key=_given("ZENML_STORE_API_KEY"),
            person=(_given("LUNGLINE_TEST_PERSON"), _given("LUNGLINE_TEST_PASSWORD")),
            volumes=os.environ.get("LUNGLINE_TEST_VOLUMES", ""),
            database_socket=os.environ.get("LUNGLINE_TEST_DATABASE_SOCKET", ""),
        )

    @property
    def bare(self) -> bool:
        """Whether the cluster is a node without names, provisioned volumes or the vendors' images."""
        return bool(self.elsewhere)

    def rewritten(self, text: str) -> str:
        """A text with the addresses of services that run elsewhere, and with the images under test."""
        replaced = dict(self.elsewhere) | {
            "localhost:5000/lungline-train:0.1.0": self.image,
            "localhost:5000/lungline-serve:0.1.0": self.serve_image,
            "lungline-merged": MODEL,
        }
        if self.bare:
            replaced["--allowed-hosts=mlflow,"] = "--allowed-hosts=10.*,mlflow,"
        for name, instead in replaced.items():
            text = text.replace(name, instead)
        return text

    def kubectl(self, *arguments: str, given: str = "", seconds: float = 120, check: bool = True) -> Finished:
        done = subprocess.run(
            self._kubectl(*arguments), input=given, capture_output=True, text=True, timeout=seconds, check=False
        )
        assert done.returncode == 0 or not check, f"{' '.join(arguments)}: {done.stderr}{done.stdout}"
        return Finished(done.returncode, done.stdout, done.stderr)

    def get(self, *arguments: str) -> Any:
        return self.kubectl("get", *arguments, "--output=json").document

    def pods(self, selector: str) -> list[Document]:
        """The oldest first."""
        found = self.get("pods", "--selector", selector)["items"]
        return sorted(found, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def cat(self, path: str) -> str:
        """A file, as the pod `client` sees it."""
        return self.kubectl("exec", "-i", "deploy/client", "--", "cat", path).out

    def lungline(
        self,
        *arguments: str,
        person: bool = False,
        environment: Mapping[str, str] | None = None,
        seconds: float = 600,
    ) -> Finished:
        """`lungline` in the pod `client`, signed in as the account of programs or as the person."""
        with self.started(*arguments, person=person, environment=environment) as process:
            out, err = process.communicate(timeout=seconds)
        return Finished(process.returncode, out, err)

    def started(
        self, *arguments: str, person: bool = False, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """The same while it runs. Ending it here does not end it in the pod."""
        command = self._signed_in("lungline", *arguments, person=person, environment=environment or {})
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, text=True, **pipes)

    def restart_zenml(self) -> None:
        """Take the ZenML server away as a lost node would; returns once another one answers."""
        if command := os.environ.get(RESTART_ZENML):
            subprocess.run(shlex.split(command), timeout=300, check=True)
        else:
            self.kubectl("delete", "pod", "--selector=app.kubernetes.io/name=zenml", "--grace-period=0", "--force")
            self.kubectl("rollout", "status", "deploy/zenml", "--timeout=300s", seconds=310)

    def python(self, program: str) -> str:
        """What a program prints at the door, without what ZenML says of itself."""
        quiet = {"ZENML_LOGGING_VERBOSITY": "CRITICAL"}
        command = self._signed_in("python3", "-c", program, person=False, environment=quiet)
        return subprocess.run(command, capture_output=True, text=True, timeout=200, check=True).stdout

    def _signed_in(self, *command: str, person: bool, environment: Mapping[str, str]) -> list[str]:
        name, password = self.person
        account = {"ZENML_STORE_USERNAME": name, "ZENML_STORE_PASSWORD": password}
        variables = {
            "ZENML_STORE_URL": self.elsewhere.get(ZENML, ZENML),
            "ZENML_CONFIG_PATH": f"/home/lungline/zenml-{'person' if person else 'program'}",
            **(account if person else {"ZENML_STORE_API_KEY": self.api_key}),
            "LUNGLINE_S3_ENDPOINT": self.elsewhere.get(S3, S3),
            "LUNGLINE_TRAIN_MEMORY": "3Gi",  # so that a small node holds two
            **environment,
        }
        given = [f"{key}={value}" for key, value in variables.items()]
        return self._kubectl("exec", "-i", "deploy/client", "--", "env", *given, *command)

    def _kubectl(self, *arguments: str) -> list[str]:
        return [KUBECTL, "--context", self.context, "--namespace", NAMESPACE, *arguments]


def wait_for(what: str, ready: Callable[[], Any], seconds: float, every: float = 2) -> Any:
    """The first true answer; an AssertionError that says what was waited for, where there is none in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if answer := ready():
            return answer
        time.sleep(every)
    raise AssertionError(f"waited {seconds:.0f} s in vain for {what}")


def _given(name: str) -> str:
    value = os.environ.get(name, "")
    assert value, f"{name} is needed beside {CONTEXT}; tests/cluster/README.md says what it is"
    return value
