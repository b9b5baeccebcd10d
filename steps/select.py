"""Chooses the best of the architectures and registers it as the challenger."""

from __future__ import annotations

from typing import Annotated

from zenml import step

from data_contracts.workspace import Workspace
from models.evaluation.results import Evaluations
from models.evaluation.selection import Selection, select_best
from models.registry.bundle import ModelBundle
from models.registry.versions import RegisteredVersion
from steps.caching import cached_on
from steps.person import signed_in_person


@step(cache_policy=cached_on("models.evaluation.selection"))
def select(evaluations: list[Evaluations]) -> Annotated[Selection, "selection"]:
    """Rank the architectures on validation."""
    return select_best([read.validation for read in evaluations])


@step(enable_cache=False)
def register(
    selection: Selection, bundles: list[ModelBundle], evaluations: list[Evaluations], model_name: str
) -> Annotated[RegisteredVersion, "registered"]:
    """Make the winner the challenger in MLflow. Never cached: the registry itself says whether it is there."""
    from models.registry.challenger import register_winner

    winner = next(bundle for bundle in bundles if bundle.spec.architecture == selection.winner)
    read = next(e for e in evaluations if e.architecture == selection.winner)
    return register_winner(Workspace.current(), winner, read.test, selection, model_name, signed_in_person())
