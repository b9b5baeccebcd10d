"""The embedded defaults: a private ZenML and MLflow below LUNGLINE_HOME, only where a person configured none."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import yaml

from data_contracts.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Environment:
    """What the commands work with. *_origin says in words where each came from."""

    workspace: Workspace
    zenml_origin: str
    tracking_uri: str
    tracking_origin: str


def prepare_environment() -> Environment:
    """Choose and set what ZenML and MLflow read from the process environment; call before ZenML is imported."""
    workspace = Workspace.current()
    workspace.create()
    os.environ["LUNGLINE_HOME"] = str(workspace.home)
    if os.path.expanduser("~") == "~":  # noqa: PTH111 (pathlib raises where there is none)
        os.environ["HOME"] = str(workspace.cache)  # as in a pod: a user without a name, and no HOME
    zenml_origin = _existing_zenml()
    if not zenml_origin:
        os.environ["ZENML_CONFIG_PATH"] = str(workspace.zenml)
        zenml_origin = f"embedded in {workspace.zenml}"
        # An embedded ZenML speaks through Lungline's own progress and errors, unless somebody looks for a defect.
        os.environ.setdefault(
            "ZENML_LOGGING_VERBOSITY", "WARN" if os.environ.get("LUNGLINE_DEBUG") else "CRITICAL"
        )
        os.environ.setdefault("ZENML_LOGGING_COLORS_DISABLED", "true")
    configured = os.environ.get("MLFLOW_TRACKING_URI", "")
    tracking_uri = configured or f"sqlite:///{workspace.mlflow / 'mlflow.db'}"
    os.environ["MLFLOW_TRACKING_URI"] = tracking_uri
    tracking_origin = "MLFLOW_TRACKING_URI" if configured else f"embedded in {workspace.mlflow}"
    return Environment(workspace, zenml_origin, tracking_uri, tracking_origin)


def _existing_zenml() -> str:
    """How a person configured ZenML, or "" where nobody did."""
    for variable in ("ZENML_STORE_URL", "ZENML_CONFIG_PATH"):
        value = os.environ.get(variable, "")
        if value and Path(value) != Workspace.current().zenml:
            return variable
    config = Path.home() / ".config" / "zenml" / "config.yaml"
    if not config.is_file():
        return ""
    try:
        content = yaml.safe_load(config.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError):
        return ""
    store = content.get("store") or {}
    return f"login in {config}" if str(store.get("type", "")).lower() == "rest" else ""
