"""What trains when: the phases of one training, and freezing what a phase leaves alone.

There is one optimiser from the start. A frozen weight has no gradient, so the optimiser passes it over; neither its
state nor the schedule's position is lost when it thaws.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn

from data_contracts.errors import UsageProblem
from models.architectures.trunk import head_of
from models.training.settings import ArchitectureSettings, TrainingSettings

# 1 - lambda of Ranjan et al., ICVGIP 2018: lambda = .9 weighs the classification.
RECONSTRUCTION_WEIGHT = 0.1
_AUTOENCODER = ("encoder.", "decoder.")


@dataclass(frozen=True, slots=True)
class Phase:
    """Some epochs with one loss and one set of trained weights.

    reconstruction_weight: share of the reconstruction error in the loss: 0 only classifies, 1 only reconstructs.
    """

    name: str
    epochs: int
    trains: Literal["everything", "head", "autoencoder", "classifier"] = "everything"
    reconstruction_weight: float = 0.0


def plan_phases(settings: TrainingSettings, architecture: ArchitectureSettings) -> tuple[list[Phase], list[str]]:
    """The phases in order, together `settings.epochs` long, and notes on what was asked for and is not done.

    settings: already those of this architecture.
    """
    joint = architecture.reconstruction_weight
    if architecture.stages:
        weight = RECONSTRUCTION_WEIGHT if joint is None else joint
        kinds = {
            "reconstruction": Phase("reconstruction", 0, "autoencoder", 1.0),
            "classifier": Phase("classifier", 0, "classifier", 0.0),
            "joint": Phase("joint", 0, "everything", weight),
        }
        return [
            Phase(stage.name, stage.epochs, kind.trains, kind.reconstruction_weight)
            for stage in architecture.stages
            for kind in [kinds[stage.name]]
        ], []
    frozen, notes = min(settings.freeze_epochs, settings.epochs), []
    if frozen and settings.init == "random":
        frozen = 0
        notes.append(
            f"freeze_epochs {settings.freeze_epochs} is skipped: the weights start at random, and a frozen random "
            "trunk is only a random projection"
        )
    whole = Phase("everything", settings.epochs - frozen, "everything", joint or 0.0)
    phases = [Phase("head", frozen, "head"), whole]
    return [phase for phase in phases if phase.epochs], notes


def phase_of(phases: list[Phase], epoch: int) -> Phase:
    """The phase that epoch (from 1) belongs to."""
    end = 0
    for phase in phases:
        end += phase.epochs
        if epoch <= end:
            return phase
    raise UsageProblem(
        f"Epoch {epoch} lies after the last of {end} epochs.",
        why="No phase says what it would train.",
        cure="Take the number of epochs from the settings the phases were planned from.",
    )


def begin_phase(model: nn.Module, phase: Phase) -> None:
    """Let the phase's weights learn and freeze the others; what is frozen runs in eval mode.

    So the batch normalisation of a frozen trunk uses and keeps its statistics. The outermost module stays in
    training mode for the dropout before the head, which timm's networks apply there. Raises UsageProblem where the
    network has no such part.
    """
    everything = phase.trains == "everything"
    parts = () if everything else _AUTOENCODER if phase.trains != "head" else tuple(head_of(model))
    inside = phase.trains != "classifier"
    found = False
    for name, parameter in model.named_parameters():
        learns = everything or (_lies_in(name, parts) == inside)
        parameter.requires_grad_(learns)
        found = found or _lies_in(name, parts)
    if not everything and not found:
        raise UsageProblem(
            f"Phase {phase.name!r} trains a part that {type(model).__name__} does not have.",
            why="Nothing would be learned in it.",
            cure="Leave out stages for a network without encoder and decoder, and freeze_epochs for one without head.",
        )
    model.train()
    for name, module in model.named_modules():
        if name and not everything and _lies_in(name, parts) != inside:
            module.training = False


def _lies_in(name: str, parts: tuple[str, ...]) -> bool:
    return any(f"{name}." == part or name.startswith(part) for part in parts)
