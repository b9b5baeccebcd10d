"""Stack files: which services a stack is made of, and what its steps may use. Reads and checks them; no ZenML."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from data_contracts.errors import UsageProblem

STACKS = Path(__file__).parent
KUBERNETES, KUBEFLOW = "kubernetes", "kubeflow"
COMPONENTS = ("orchestrator", "artifact_store", "container_registry", "image_builder")
_VARIABLE = re.compile(r"\$\{([A-Z][A-Z0-9_]*)(?::-([^}]*))?\}")
_SECRET_KEY = re.compile(r"(^|_)(key|secret|token|password|credentials?)($|_)", re.IGNORECASE)

# What cannot be said to Kubeflow of a pod and of its volumes is refused rather than left out in silence.
_KUBEFLOW_POD = {"cpu", "memory", "gpu", "shared_memory", "node_selector", "tolerations", "volumes", "environment"}
_KUBEFLOW_POD |= {"environment_from_secrets", "retries", "deadline_seconds"}
_KUBEFLOW_VOLUME = {"name", "path", "claim", "size", "memory"}

# https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/, without the exotic spellings
Quantity = Annotated[str, Field(pattern=r"^[1-9][0-9]*(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$")]
Cores = Annotated[str, Field(pattern=r"^[1-9][0-9]*(\.[0-9]+)?m?$")]
DnsName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]
VariableName = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]
FolderPath = Annotated[str, Field(pattern=r"^/[\w./-]+$")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Component(_Section):
    """One service of a stack, by ZenML's name of its kind.

    configuration: fields of that flavor; one that is "" after the variables were filled in is left out. secret: name
    of the ZenML secret it authenticates with, "" where it needs none.
    """

    flavor: str
    configuration: dict[str, Any] = Field(default_factory=dict)
    secret: str = ""

    @field_validator("configuration")
    @classmethod
    def _names_no_secret(cls, configuration: dict[str, Any]) -> dict[str, Any]:
        if named := sorted(_secret_keys(configuration)):
            raise ValueError(
                f"{', '.join(named)} would hold a secret in the file; name a ZenML secret with `secret`"
            )
        return configuration

    @property
    def settings(self) -> dict[str, Any]:
        """What ZenML is given: the configuration without what is empty, and the secret's name."""
        given = {key: value for key, value in self.configuration.items() if value != ""}
        return given | ({"authentication_secret": self.secret} if self.secret else {})


class Components(_Section):
    """The services of a stack. ZenML's Kubernetes and Kubeflow orchestrators need all four, others the first two."""

    orchestrator: Component
    artifact_store: Component
    container_registry: Component | None = None
    image_builder: Component | None = None

    def given(self) -> dict[str, Component]:
        """Kind -> component, in ZenML's order."""
        found = {kind: getattr(self, kind) for kind in COMPONENTS}
        return {kind: component for kind, component in found.items() if component is not None}


class Image(_Section):
    """The image that pods run, Lungline and its libraries inside. pull_secrets: names of Kubernetes secrets."""

    name: str
    pull_secrets: list[DnsName] = []

    @field_validator("name")
    @classmethod
    def _is_pinned(cls, name: str) -> str:
        repository, _, tag = name.rpartition("/")[2].partition(":")
        if not repository or (("@sha256:" not in name) and tag in ("", "latest")):
            raise ValueError("needs a tag other than latest, or a digest: a run must be repeatable")
        return name


class Volume(_Section):
    """A folder of a pod. claim: an existing PersistentVolumeClaim, "" for none. host_path: a folder that is there on
    every node, shared by its pods; the Pod Security Standards forbid it. Neither: an empty one that ends with the pod.

    size: at most, of an empty one. memory: an empty one is held in memory and counts as such.
    """

    name: DnsName
    path: FolderPath
    claim: str = ""
    host_path: FolderPath | None = None
    size: Quantity | None = None
    memory: bool = False
    read_only: bool = False

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        if self.claim and self.host_path:
            raise ValueError("a volume is either a claim or a folder of the node")
        if (self.claim or self.host_path) and (self.size or self.memory):
            raise ValueError("a claim has the size and the medium it was made with, and a node's folder its own")
        if self.read_only and not (self.claim or self.host_path):
            raise ValueError("an empty folder that cannot be written is of no use")
        return self


class Toleration(_Section):
    """As in Kubernetes: a taint of nodes that a pod accepts."""

    key: str
    operator: Literal["Exists", "Equal"] = "Exists"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None


class Pod(_Section):
    """What the pod of a step asks for. A field that is not given is left to the pattern before, then to Kubernetes.

    cpu: cores asked for; there is no upper limit, because a throttled step is late and nothing else. memory: asked for
    and at most. gpu: devices. shared_memory: of /dev/shm, counted as memory. retries: of a pod that failed; of one that
    was evicted there is no limit. deadline_seconds: after which Kubernetes ends it, retries included.
    """

    cpu: Cores | None = None
    memory: Quantity | None = None
    gpu: Annotated[int, Field(ge=0, le=64)] | None = None
    shared_memory: Quantity | None = None
    node_selector: dict[str, str] = {}
    tolerations: list[Toleration] = []
    volumes: list[Volume] = []
    environment: dict[VariableName, str] = {}
    environment_from_secrets: list[DnsName] = []
    service_account: DnsName | None = None
    retries: Annotated[int, Field(ge=0, le=10)] | None = None
    deadline_seconds: Annotated[int, Field(ge=60)] | None = None

    def then(self, later: Pod) -> Pod:
        """This one, changed by a later pattern: single values are replaced, mappings and lists are added to."""
        merged: dict[str, Any] = {}
        for name in type(self).model_fields:
            mine, theirs = getattr(self, name), getattr(later, name)
            if isinstance(mine, dict):
                merged[name] = mine | theirs
            elif isinstance(mine, list):
                merged[name] = mine + [one for one in theirs if one not in mine]
            else:
                merged[name] = mine if theirs is None else theirs
        return Pod(**merged)


class Run(_Section):
    """What holds for a whole run.

    starting_deadline_seconds: a scheduled start that was missed for longer is left to the next.
    """

    orchestrator_pod: Pod = Pod()
    max_parallel_steps: Annotated[int, Field(ge=1)] | None = None
    keep_finished_seconds: Annotated[int, Field(ge=0)] | None = None
    starting_deadline_seconds: Annotated[int, Field(ge=10)] = 3600
    kept_scheduled_runs: Annotated[int, Field(ge=0)] = 3


class StackFile(_Section):
    """A stack: services, secrets, the pods' image, and what each step asks for.

    secrets: ZenML secret -> its key -> the environment variable that holds the value while the stack is applied.
    steps: pattern of step names (`*` and `?`) -> what their pods ask for; all that match are applied in this order.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,49}$")]
    components: Components
    secrets: dict[DnsName, dict[str, VariableName]] = {}
    image: Image | None = None
    run: Run = Run()
    steps: dict[str, Pod] = {}

    @property
    def on_kubeflow(self) -> bool:
        return self.components.orchestrator.flavor == KUBEFLOW

    @property
    def makes_pods(self) -> bool:
        """Whether each step is a pod of a cluster, which reaches nothing on this machine."""
        return self.components.orchestrator.flavor in (KUBERNETES, KUBEFLOW)

    @model_validator(mode="after")
    def _fits_its_orchestrator(self) -> Self:
        missing = sorted(set(COMPONENTS) - set(self.components.given()))
        if self.makes_pods and (missing or self.image is None):
            raise ValueError(f"on Kubernetes a stack also needs {', '.join(missing or ['image'])}")
        if not self.makes_pods and (self.image or self.steps):
            raise ValueError(
                "image and steps describe pods, and only the kubernetes orchestrator and kubeflow make some"
            )
        if self.on_kubeflow and (unheard := self._unheard_by_kubeflow()):
            raise ValueError(f"Kubeflow would not be told of {', '.join(unheard)}")
        return self

    def _unheard_by_kubeflow(self) -> list[str]:
        """Keys of this file that no pod would ever see. A secret that ZenML does not have is one: it only warns."""
        found = [f"run.{name}" for name in self.run.model_fields_set]
        for pattern, pod in self.steps.items():
            unheard = pod.model_fields_set - _KUBEFLOW_POD
            for volume in pod.volumes:
                unheard |= {f"volumes.{volume.name}.{name}" for name in volume.model_fields_set - _KUBEFLOW_VOLUME}
            unheard |= {f"environment_from_secrets.{name}" for name in pod.environment_from_secrets} - {
                f"environment_from_secrets.{name}" for name in self.secrets
            }
            found += [f"steps.{pattern}.{name}" for name in unheard]
        return sorted(found)


def load_stack(name_or_path: str, variables: Mapping[str, str] | None = None) -> StackFile:
    """Read a stack file by name (those of deploy/stacks) or path, and fill in ${VARIABLE} and ${VARIABLE:-default}.

    variables: else the process environment. Raises UsageProblem where there is no such file, where variables are
    missing, or where it breaks the schema.
    """
    path = Path(name_or_path) if _is_path(name_or_path) else STACKS / f"{name_or_path}.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageProblem(
            f"The stack file {path} cannot be read: {getattr(error, 'strerror', None) or error}",
            why="It says where pipelines run.",
            cure=f"Name one of {', '.join(stack_names())}, or the path of a YAML file.",
        ) from error
    values = os.environ if variables is None else variables
    missing: set[str] = set()
    filled = _filled_in(content, values, missing)
    if missing:
        raise UsageProblem(
            f"The stack file {path} needs {', '.join(sorted(missing))} in the environment.",
            why="These name the services of this site.",
            cure="Set them; deploy/README.md says what each one is.",
        )
    try:
        return StackFile.model_validate(filled)
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'file'}: {one['msg']}" for one in error.errors())
        raise UsageProblem(
            f"The stack file {path} is not as it should be: {said}.",
            why="A key that is not understood would be left out in silence.",
            cure="Mend these keys; deploy/stacks/kubernetes.yaml shows every section in use.",
        ) from error


def stack_names() -> list[str]:
    """The stack files that come with Lungline."""
    return sorted(path.stem for path in STACKS.glob("*.yaml"))


def has_stack_file(name_or_path: str) -> bool:
    """Whether that is a stack file rather than the name of a stack that only ZenML knows."""
    return _is_path(name_or_path) or name_or_path in stack_names()


def _is_path(name_or_path: str) -> bool:
    return name_or_path.endswith((".yaml", ".yml")) or os.sep in name_or_path


def _filled_in(value: Any, variables: Mapping[str, str], missing: set[str]) -> Any:
    """The same structure with variables replaced inside its texts, so that a value can never change the structure."""
    if isinstance(value, dict):
        return {key: _filled_in(one, variables, missing) for key, one in value.items()}
    if isinstance(value, list):
        return [_filled_in(one, variables, missing) for one in value]
    if not isinstance(value, str):
        return value

    def replacement(found: re.Match[str]) -> str:
        name, default = found.groups()
        given = variables.get(name, "")
        if not given and default is None:
            missing.add(name)
        return given or default or ""

    return _VARIABLE.sub(replacement, value)


def _secret_keys(configuration: Mapping[str, Any]) -> set[str]:
    """Keys, nested ones too, that would hold a secret as text."""
    found = {key for key, value in configuration.items() if _SECRET_KEY.search(key) and isinstance(value, str)}
    for value in configuration.values():
        if isinstance(value, dict):
            found |= _secret_keys(value)
    return found
