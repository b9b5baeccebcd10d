"""The recipe sections that say which networks are trained and how; read without importing torch."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ArchitectureSettings(_Section):
    """One network to train. Unset epochs, learning_rate and batch_size come from the training section."""

    name: str = Field(min_length=1, description="simple_cnn or any timm model name")
    options: dict[str, JsonValue] = Field(default={}, description="constructor arguments, e.g. drop_rate")
    cam_layer: str | None = Field(
        default=None, description="dotted path of the Grad-CAM layer; unset: the last feature map"
    )
    epochs: int | None = Field(default=None, ge=1, le=1000, description="passes over the training images")
    learning_rate: float | None = Field(default=None, gt=0, le=1, description="AdamW step size at the start")
    batch_size: int | None = Field(default=None, ge=2, le=4096, description="images per optimiser step")


class TrainingSettings(_Section):
    """How a network is fitted. The defaults follow reference system 4."""

    epochs: int = Field(default=30, ge=1, le=1000, description="passes over the training images")
    batch_size: int = Field(default=32, ge=2, le=4096, description="images per optimiser step")
    learning_rate: float = Field(default=1e-4, gt=0, le=1, description="AdamW step size at the start")
    final_learning_rate: float = Field(default=1e-5, ge=0, le=1, description="where the cosine ends")
    weight_decay: float = Field(default=1e-2, ge=0, le=1, description="decoupled decay, AdamW")
    class_weights: Literal["balanced", "none"] = Field(
        default="balanced", description="balanced: n / (classes x images of the class)"
    )
    early_stopping_patience: int | None = Field(
        default=7, ge=1, le=1000, description="epochs without improvement before stopping; null: never"
    )
    gradient_clip: float | None = Field(default=1.0, gt=0, description="largest gradient norm; null: no limit")
    seed: int = Field(default=0, ge=0, lt=2**32, description="start of every random draw")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="auto: bf16 where the processor has instructions for it"
    )

    @model_validator(mode="after")
    def _learning_rate_falls(self) -> Self:
        if self.final_learning_rate > self.learning_rate:
            raise ValueError(
                f"final_learning_rate {self.final_learning_rate} is above learning_rate {self.learning_rate}"
            )
        return self

    def for_architecture(self, architecture: ArchitectureSettings) -> TrainingSettings:
        """These settings with what `architecture` overrides; a ValueError where the two disagree."""
        overrides = architecture.model_dump(include={"epochs", "learning_rate", "batch_size"}, exclude_none=True)
        return TrainingSettings.model_validate({**self.model_dump(), **overrides})
