"""`lungline doctor`: versions, hardware, disk, stack and tracking, with a cure for whatever is wrong."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version

from deploy.stacks.stack_file import load_stack
from pipelines.commands.output import print_json, print_table
from pipelines.environment import Environment, prepare_environment
from pipelines.findings import Finding

LIBRARIES = ("zenml", "mlflow", "torch", "torchvision", "timm", "pandas", "great-expectations", "evidently")
ENVIRONMENT_PROBLEM = 5
# A person waits for the answer: MLflow's own patience with a dead server is four minutes.
_SHORT_WAITS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


def doctor(as_json: bool, stack: str | None = None) -> int:
    """Print the findings; 5 where something must be mended before training, else 0.

    stack: a stack file's name or path, whose services and cluster are looked at too.
    """
    described = load_stack(stack) if stack is not None else None
    environment = prepare_environment()
    os.environ.update(_SHORT_WAITS)
    from pipelines.stack_check import stack_findings, zenml_server

    server = zenml_server()
    answers = server.state == "ok"
    findings = [*_versions(), _imports(), _hardware(), _disk(environment)]
    findings += [_zenml(environment) if answers else server, _tracking(environment)]
    if described is not None:
        findings += stack_findings(described, zenml_answers=answers)
    if as_json:
        print_json({"findings": [asdict(finding) for finding in findings]})
    else:
        rows = [(f.state, f.subject, f.found + (f"\n→ {f.cure}" if f.cure else "")) for f in findings]
        print_table(("", "what", "found"), rows)
    return ENVIRONMENT_PROBLEM if any(finding.state == "wrong" for finding in findings) else 0


def _versions() -> list[Finding]:
    findings = [Finding("python", "ok", platform.python_version())]
    for name in LIBRARIES:
        try:
            findings.append(Finding(name, "ok", version(name)))
        except PackageNotFoundError:
            findings.append(Finding(name, "wrong", "not installed", "Install from the lock file: make setup"))
    return findings


def _imports() -> Finding:
    """torch and torchvision from different indexes install well together and fail on import."""
    try:
        import torchvision  # noqa: F401
    except Exception as error:
        cure = "Install torch and torchvision from the same package index: make setup"
        return Finding("torch with torchvision", "wrong", f"{type(error).__name__}: {error}", cure)
    return Finding("torch with torchvision", "ok", "import together")


def _hardware() -> Finding:
    import torch

    from models.training.device import bf16_supported

    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        return Finding("GPU", "ok", f"{torch.cuda.get_device_name(0)}, {memory:.0f} GiB")
    precision = "bf16" if bf16_supported(torch.device("cpu")) else "fp32"
    found = f"none; {torch.get_num_threads()} CPU threads, {precision}"
    return Finding("GPU", "note", found, "Training works on the CPU, some hundred times slower.")


def _disk(environment: Environment) -> Finding:
    home = environment.workspace.home
    free = shutil.disk_usage(home).free / 2**30
    if free < 2:
        return Finding(
            "disk", "wrong", f"{free:.1f} GiB free in {home}", "Free space, or set LUNGLINE_HOME elsewhere."
        )
    return Finding("disk", "ok", f"{free:.0f} GiB free in {home}")


def _zenml(environment: Environment) -> Finding:
    from zenml.client import Client

    try:
        found = f"stack {Client().active_stack_model.name!r}, {environment.zenml_origin}"
    except Exception as error:
        cure = "Log in again with `zenml login`, or unset its variables to use the embedded one."
        return Finding("ZenML", "wrong", f"{environment.zenml_origin}: {error}", cure)
    return Finding("ZenML", "ok", found)


def _tracking(environment: Environment) -> Finding:
    from data_contracts.errors import LunglineError
    from models.registry.follow import tracking_store

    try:
        tracking_store(environment.workspace).check()
    except LunglineError as error:
        return Finding("MLflow", "wrong", f"{environment.tracking_origin}: {error.what}", error.cure)
    return Finding("MLflow", "ok", environment.tracking_origin)
