"""The recipe section that says which hyper-parameters are searched for; read without importing torch or optuna."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from models.training.settings import ArchitectureSettings, TrainingSettings

Choice = bool | int | float | str


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Range(_Section):
    """Every number from low to high is as likely as any other."""

    low: float
    high: float

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low {self.low} must be below high {self.high}; what is fixed is not searched for")
        return self


class LogRange(Range):
    """Every order of magnitude from low to high is as likely as any other."""

    low: float = Field(gt=0, le=1)
    high: float = Field(gt=0, le=1)


Choices = Annotated[list[Choice], Field(min_length=2)]


class SearchSettings(_Section):
    """Which hyper-parameters are tried, how often, and for how long. Each architecture has a study of its own.

    What a search finds replaces the recipe's own value of the same name when the network is trained in full.
    """

    trials: int = Field(ge=1, le=50, description="trainings in all; more of them later continue the same study")
    epochs: int | None = Field(
        default=None, ge=1, le=1000, description="passes over the training images in a trial; null: as in training"
    )
    learning_rate: LogRange | None = Field(default=None, description="AdamW step size at the start")
    weight_decay: LogRange | None = Field(default=None, description="decoupled decay, AdamW")
    options: dict[str, Range | Choices] = Field(
        default={}, description="constructor arguments: {low, high} of numbers, or a list of choices"
    )
    architectures: list[str] = Field(default=[], description="whose parameters are searched for; empty: of all")
    pruner: Literal["median", "none"] = Field(
        default="median", description="median: stop a trial that is worse than the median of the earlier ones"
    )
    timeout_minutes: float | None = Field(
        default=None, gt=0, description="no trial begins after so long; then the result depends on the machine"
    )
    seed: int = Field(default=0, ge=0, lt=2**32, description="start of every draw of parameters")

    @model_validator(mode="after")
    def _searches_for_something(self) -> Self:
        if not (self.learning_rate or self.weight_decay or self.options):
            raise ValueError("name at least one of learning_rate, weight_decay and options")
        for name, space in self.options.items():
            if name in ("learning_rate", "weight_decay"):
                raise ValueError(f"{name} is no constructor argument; set it beside options")
            if isinstance(space, list) and len({repr(choice) for choice in space}) < len(space):
                raise ValueError(f"options.{name} names a choice twice")
        return self

    @property
    def spaces(self) -> dict[str, Range | list[Choice]]:
        """Parameter name -> what it is drawn from, in the order they are drawn."""
        first = {"learning_rate": self.learning_rate, "weight_decay": self.weight_decay}
        return {**{name: space for name, space in first.items() if space is not None}, **self.options}

    def covers(self, architecture: str) -> bool:
        """Whether this architecture's parameters are searched for."""
        return not self.architectures or architecture in self.architectures

    def check(self, training: TrainingSettings, architectures: Sequence[ArchitectureSettings]) -> None:
        """Raise ValueError where a trial could not be trained with the recipe's other sections."""
        names = [architecture.name for architecture in architectures]
        if unknown := sorted(set(self.architectures) - set(names)):
            raise ValueError(f"search names {', '.join(unknown)}, which is not among the recipe's architectures")
        for architecture in filter(lambda one: self.covers(one.name), architectures):
            if architecture.stages and self.epochs is not None:
                raise ValueError(f"search.epochs cannot shorten the stages of {architecture.name}: leave it out")
            settings = training.for_architecture(architecture)
            lowest = self.learning_rate.low if self.learning_rate else settings.learning_rate
            if settings.schedule == "cosine" and lowest < settings.final_learning_rate:
                raise ValueError(
                    f"search.learning_rate.low {lowest} is below training.final_learning_rate "
                    f"{settings.final_learning_rate}, where the cosine ends"
                )


def with_parameters(
    architecture: ArchitectureSettings, parameters: dict[str, Choice], epochs: int | None = None
) -> ArchitectureSettings:
    """The architecture with these parameters instead of its own; epochs: of a trial, None for its own."""
    own = {name: value for name, value in parameters.items() if name in ("learning_rate", "weight_decay")}
    options = {name: value for name, value in parameters.items() if name not in own}
    changed = {**architecture.model_dump(), **own, "options": {**architecture.options, **options}}
    return ArchitectureSettings.model_validate(changed if epochs is None else {**changed, "epochs": epochs})
