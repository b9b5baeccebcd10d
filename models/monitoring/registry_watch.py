"""The registry's watchdog as monitoring asks it: is the version in use the one that people decided on?"""

from __future__ import annotations

from data_contracts.workspace import Workspace
from models.registry.decisions.recovery import recover
from models.registry.decisions.watchdog import verify
from models.registry.follow import tracking_store


def registry_alarms(workspace: Workspace) -> list[str]:
    """What is wrong with the decision log or with a model in the registry, in words; empty where all is well.

    An interrupted decision is finished first. Raises ExternalServiceError or EnvironmentProblem where the registry
    fails.
    """
    store = tracking_store(workspace)
    recover(workspace, store)
    findings = verify(workspace, store).findings
    return [f"{finding.where}: {finding.what}" for finding in findings if finding.level == "alarm"]
