"""Brings ZenML's stacks to what stack files say: registers, compares, and chooses one for this process."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

from zenml.client import Client
from zenml.constants import ENV_ZENML_ACTIVE_STACK_ID
from zenml.enums import StackComponentType, StoreType
from zenml.models import ComponentResponse, StackResponse
from zenml.stack.utils import validate_stack_component_config

from data_contracts.errors import EnvironmentProblem, ExternalServiceError, LunglineError, UsageProblem
from deploy.stacks.stack_file import Component, StackFile

# flavor -> modules it imports
_PACKAGES = {"kubernetes": ("kubernetes", "jinja2"), "kubeflow": ("kfp", "kubernetes"), "s3": ("s3fs", "boto3")}


@dataclass(frozen=True, slots=True)
class Change:
    """One thing of a stack, and what applying its file did to it."""

    kind: str
    name: str
    did: Literal["created", "updated", "unchanged"]


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that keeps a stack from being used as its file says."""

    what: str
    cure: str


def apply_stack(stack: StackFile, variables: Mapping[str, str]) -> list[Change]:
    """Make ZenML's stack of that name what the file says; what is so already is left alone.

    variables: holds the values of secrets that are to be made or renewed. Raises UsageProblem where a secret is neither
    there nor given, or a component would need another flavor; EnvironmentProblem and ExternalServiceError.
    """
    require_packages(stack)
    with _zenml_errors():
        client = Client()
        changes = [_apply_secret(client, name, keys, variables) for name, keys in stack.secrets.items()]
        for kind, component in stack.components.given().items():
            changes.append(_apply_component(client, stack.name, StackComponentType(kind), component))
        changes.append(_apply_stack(client, stack))
    return changes


def differences(stack: StackFile) -> list[Difference]:
    """What would keep a run from working as the file says; empty where nothing is known to be in its way.

    Looks at this machine and at ZenML's server, not at the cluster. Raises ExternalServiceError where ZenML fails.
    """
    apply = f"`lungline stack apply {stack.name}`, or the path of the file in place of the name."
    found = [
        Difference(f"the package {name} is not installed", f"Install Lungline with its extra: {_extra(stack)}")
        for name in missing_packages(stack)
    ]
    with _zenml_errors():
        client = Client()
        if stack.makes_pods and client.zen_store.type != StoreType.REST:
            what = "ZenML keeps its records on this machine, where pods cannot reach them"
            found.append(Difference(what, "Log in to a server, or set ZENML_STORE_URL and ZENML_STORE_API_KEY."))
        known = {secret.name for secret in client.list_secrets(size=1000)} if stack.secrets else set()
        found += [
            Difference(f"the secret {name} is not there", apply) for name in stack.secrets if name not in known
        ]
        for kind, component in stack.components.given().items():
            registered = _component(client, stack.name, StackComponentType(kind))
            if registered is None:
                found.append(Difference(f"the {kind} {stack.name} is not registered", apply))
            elif registered.flavor_name != component.flavor or _changes(registered, component):
                found.append(Difference(f"the {kind} {stack.name} is not as in the file", apply))
        if _stack(client, stack.name) is None:
            found.append(Difference(f"the stack {stack.name} is not registered", apply))
    return found


def choose_stack(name: str) -> None:
    """Let this process use that stack, whichever one a person has active; theirs stays as it is.

    Raises UsageProblem where ZenML knows no such stack, ExternalServiceError where ZenML fails.
    """
    with _zenml_errors():
        client = Client()
        stack = _stack(client, name)
        if stack is None:
            known = ", ".join(sorted(one.name for one in client.list_stacks(size=100)))
            raise UsageProblem(
                f"ZenML has no stack called {name!r}.",
                why="A pipeline has to run somewhere.",
                cure=f"Register it with `lungline stack apply {name}`; there are {known}.",
            )
        os.environ[ENV_ZENML_ACTIVE_STACK_ID] = str(stack.id)


def require_packages(stack: StackFile) -> None:
    """Raise EnvironmentProblem where a library that the stack's components need is not installed."""
    if missing := missing_packages(stack):
        raise EnvironmentProblem(
            f"The stack {stack.name} needs packages that are not installed: {', '.join(missing)}.",
            why="ZenML speaks to the cluster and to the artifact store through them.",
            cure=f"Install Lungline with its extra: {_extra(stack)}",
        )


def _extra(stack: StackFile) -> str:
    if stack.on_kubeflow:
        return "`uv sync --frozen --no-dev --extra kubeflow`, or lungline[kubeflow]."
    return "`uv sync --frozen --extra kubernetes`, or lungline[kubernetes]."


def missing_packages(stack: StackFile) -> list[str]:
    """Modules that the stack's components import and that are not installed."""
    flavors = {component.flavor for component in stack.components.given().values()}
    needed = {name for flavor in flavors for name in _PACKAGES.get(flavor, ())}
    return sorted(name for name in needed if find_spec(name) is None)


def _apply_secret(client: Client, name: str, keys: Mapping[str, str], variables: Mapping[str, str]) -> Change:
    """Its values are never read back into a message or a log."""
    given = {key: variables[variable] for key, variable in keys.items() if variables.get(variable)}
    there = next(iter(client.list_secrets(name=name)), None)
    missing = [variable for key, variable in keys.items() if key not in given]
    if there is None and missing:
        raise UsageProblem(
            f"The secret {name} is not there yet, and {', '.join(missing)} is not set.",
            why="The stack's services would refuse every run.",
            cure="Set these variables for this one command; ZenML keeps what they hold.",
        )
    if there is None:
        client.create_secret(name, given)
        return Change("secret", name, "created")
    current = client.get_secret(there.id).secret_values
    if all(current.get(key) == value for key, value in given.items()):
        return Change("secret", name, "unchanged")
    client.update_secret(there.id, add_or_update_values=given)
    return Change("secret", name, "updated")


def _apply_component(client: Client, name: str, kind: StackComponentType, component: Component) -> Change:
    registered = _component(client, name, kind)
    if registered is None:
        client.create_stack_component(name, component.flavor, kind, component.settings)
        return Change(kind.value, name, "created")
    if registered.flavor_name != component.flavor:
        raise UsageProblem(
            f"The {kind.value} {name} exists as {registered.flavor_name}, and the file wants {component.flavor}.",
            why="ZenML keeps a component's flavor for ever, and earlier runs name it.",
            cure="Give the stack in the file another name, or delete the old stack and its components with zenml.",
        )
    changes = _changes(registered, component)
    if not changes:
        return Change(kind.value, name, "unchanged")
    client.update_stack_component(registered.id, kind, configuration=changes)
    return Change(kind.value, name, "updated")


def _apply_stack(client: Client, stack: StackFile) -> Change:
    kinds = [StackComponentType(kind) for kind in stack.components.given()]
    wanted = {kind: _component(client, stack.name, kind).id for kind in kinds}
    registered = _stack(client, stack.name)
    if registered is None:
        client.create_stack(stack.name, wanted)
        return Change("stack", stack.name, "created")
    present = {kind: [one.id for one in registered.components.get(kind, [])] for kind in kinds}
    if present == {kind: [one] for kind, one in wanted.items()}:
        return Change("stack", stack.name, "unchanged")
    client.update_stack(registered.id, component_updates=wanted)
    return Change("stack", stack.name, "updated")


def _changes(registered: ComponentResponse, component: Component) -> dict[str, Any]:
    """Fields that differ from the file, None for those that the file no longer names. ZenML's spelling of values."""
    checked = validate_stack_component_config(
        component.settings, component.flavor, registered.type, validate_custom_flavors=True
    )
    wanted = checked.model_dump(mode="json", exclude_unset=True) if checked else {}
    present = registered.configuration
    changed = {key: value for key, value in wanted.items() if present.get(key) != value}
    return changed | {key: None for key in present if key not in wanted}


def _component(client: Client, name: str, kind: StackComponentType) -> ComponentResponse | None:
    return next(iter(client.list_stack_components(name=name, type=kind, hydrate=True)), None)


def _stack(client: Client, name: str) -> StackResponse | None:
    return next(iter(client.list_stacks(name=name, hydrate=True)), None)


@contextmanager
def _zenml_errors() -> Iterator[None]:
    try:
        yield
    except LunglineError:
        raise
    # ZenML raises what its transport and its validation raise: pydantic's errors, KeyError and its clients' among them.
    except Exception as error:
        raise ExternalServiceError(
            f"ZenML could not do that: {type(error).__name__}: {error}",
            why="The stack may be registered in part.",
            cure="Mend what it says and run the same command again; what was done is found and left alone.",
        ) from error
