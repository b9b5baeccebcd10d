"""The recipe sections that say which networks are trained and how; read without importing torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from data_contracts.errors import UsageProblem
from models.preprocessing import PreprocessingMode

if TYPE_CHECKING:
    from models.output import Output

Sampling = Literal["natural", "class_balanced", "source_balanced"]
Schedule = Literal["cosine", "step"]
INIT = r"^(random|imagenet|file:.+)$"
ClassWeight = Annotated[float, Field(gt=0, le=1e6)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Stage(_Section):
    """One stage of training a network that reconstructs its input before it classifies it, as ae_cnn does.

    reconstruction: encoder and decoder learn to give the image back. classifier: everything but these two learns
    to classify. joint: all of it learns both, weighed by the architecture's reconstruction_weight.
    """

    name: Literal["reconstruction", "classifier", "joint"]
    epochs: int = Field(ge=1, le=1000, description="passes over the training images")


class ArchitectureSettings(_Section):
    """One network to train. What is set here goes before the same key of the training section."""

    name: str = Field(min_length=1, description="simple_cnn, ae_cnn, … or any timm model name")
    options: dict[str, JsonValue] = Field(default={}, description="constructor arguments, e.g. drop_rate")
    init: str | None = Field(
        default=None, pattern=INIT, description="random, imagenet, or file:PATH of weights of this architecture"
    )
    preprocessing: PreprocessingMode | None = Field(
        default=None, description="how grey levels become input; unset: as the architecture's authors did"
    )
    channels: Literal[1, 3] = Field(default=1, description="3 repeats the grey channel, for colour stems")
    cam_layer: str | None = Field(
        default=None, description="dotted path of the Grad-CAM layer; unset: the last feature map"
    )
    test_time_crop: float | None = Field(
        default=None,
        ge=0.5,
        lt=1,
        description="share of the side in ten crops that are answered together wherever the trained network is asked; "
        "unset: the image whole",
    )
    stages: list[Stage] = Field(default=[], description="in their order; their epochs replace `epochs`")
    reconstruction_weight: float | None = Field(
        default=None, ge=0, lt=1, description="share of the reconstruction error in the joint loss"
    )
    epochs: int | None = Field(default=None, ge=1, le=1000, description="passes over the training images")
    freeze_epochs: int | None = Field(default=None, ge=0, le=1000, description="epochs that train the head alone")
    batch_size: int | None = Field(default=None, ge=2, le=4096, description="images per optimiser step")
    learning_rate: float | None = Field(default=None, gt=0, le=1, description="AdamW step size at the start")
    weight_decay: float | None = Field(default=None, ge=0, le=1, description="decoupled decay, AdamW")
    schedule: Schedule | None = Field(default=None, description="how the learning rate falls")
    drop_epochs: list[int] | None = Field(default=None, description="where a step schedule divides by ten")

    @model_validator(mode="after")
    def _stages_count_the_epochs(self) -> Self:
        if self.stages and (self.epochs is not None or self.freeze_epochs):
            raise ValueError(
                "stages have epochs of their own and say what trains: leave out epochs, freeze_epochs"
            )
        if self.stages and self.stages[-1].name == "reconstruction":
            raise ValueError("the last stage must be classifier or joint, or nothing learns to classify")
        return self


class TrainingSettings(_Section):
    """How a network is fitted. The defaults follow reference system 4."""

    init: str = Field(default="random", pattern=INIT, description="where weights start: random or imagenet")
    epochs: int = Field(default=30, ge=1, le=1000, description="passes over the training images")
    freeze_epochs: int = Field(
        default=0, ge=0, le=1000, description="first epochs that train the head alone; none from random weights"
    )
    feature_views: int = Field(
        default=1,
        ge=0,
        le=64,
        description="pictures of each image that a frozen trunk reads, once for all epochs: the image, then changed "
        "copies; 0: it reads images anew in every epoch",
    )
    batch_size: int = Field(default=32, ge=2, le=4096, description="images per optimiser step")
    learning_rate: float = Field(default=1e-4, gt=0, le=1, description="AdamW step size at the start")
    final_learning_rate: float = Field(default=1e-5, ge=0, le=1, description="where the cosine ends")
    schedule: Schedule = Field(default="cosine", description="cosine: over all epochs; step: see drop_epochs")
    drop_epochs: list[Annotated[int, Field(ge=1)]] = Field(
        default=[], description="epochs after which a step schedule divides the learning rate by ten"
    )
    weight_decay: float = Field(default=1e-2, ge=0, le=1, description="decoupled decay, AdamW")
    loss: Literal["auto", "cross_entropy", "binary_cross_entropy"] = Field(
        default="auto", description="auto: cross entropy where one class is true, else a binary one per class"
    )
    class_weights: Literal["balanced", "none"] | dict[str, ClassWeight] = Field(
        default="balanced", description="balanced: classes count alike; or a weight per class, 1 where unnamed"
    )
    sampling: Sampling = Field(default="natural", description="whose images an epoch draws equally often")
    early_stopping_patience: int | None = Field(
        default=7, ge=1, le=1000, description="epochs without improvement before stopping; null: never"
    )
    gradient_clip: float | None = Field(default=1.0, gt=0, description="largest gradient norm; null: no limit")
    ema_decay: float | None = Field(
        default=None, ge=0, lt=1, description="keep a running mean of the weights instead; null: the weights"
    )
    seed: int = Field(default=0, ge=0, lt=2**32, description="start of every random draw")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="auto: bf16 where the processor has instructions for it"
    )
    compile: bool = Field(default=False, description="compile the network, on a GPU only")
    deterministic: bool = Field(default=False, description="only repeatable kernels on a GPU, some of them slower")

    @model_validator(mode="after")
    def _learning_rate_falls(self) -> Self:
        if self.schedule == "cosine" and self.final_learning_rate > self.learning_rate:
            raise ValueError(
                f"final_learning_rate {self.final_learning_rate} is above learning_rate {self.learning_rate}"
            )
        if self.drop_epochs and self.schedule != "step":
            raise ValueError("drop_epochs belong to `schedule: step`")
        return self

    def for_architecture(self, architecture: ArchitectureSettings) -> TrainingSettings:
        """These settings with what `architecture` overrides; a ValueError where the two disagree."""
        overrides = architecture.model_dump(include=set(TrainingSettings.model_fields), exclude_none=True)
        if architecture.stages:
            overrides |= {"epochs": sum(stage.epochs for stage in architecture.stages), "freeze_epochs": 0}
        return TrainingSettings.model_validate({**self.model_dump(), **overrides})

    def output(self, class_names: list[str], *, multi_label: bool) -> Output:
        """What the network's numbers mean under this loss. Raises UsageProblem where loss and task do not fit."""
        if self.loss == "auto":
            return "sigmoid" if multi_label else "softmax"
        if self.loss == "cross_entropy" and not multi_label:
            return "softmax"
        if self.loss == "binary_cross_entropy" and (multi_label or len(class_names) == 2):
            return "sigmoid" if multi_label else "binary"
        kind = "any number of" if multi_label else "exactly one of"
        raise UsageProblem(
            f"`loss: {self.loss}` does not fit a task where {kind} {len(class_names)} classes is true.",
            why="It would teach the network something other than the task.",
            cure="Leave `loss: auto`, or choose a task with two classes for binary_cross_entropy.",
        )
