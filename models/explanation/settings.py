"""The recipe section that says which explanations are made."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class FaithfulnessSettings(BaseModel):
    """How many test images each check of the maps reads, one of each identity group; 0 leaves the check out.

    The costs are forward passes of the network: one per image of a class against lung masks and boxes; six times
    `perturbation_steps` + 1 per perturbed image; about 15 per randomised image.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    lung_images: int = Field(default=24, ge=0, le=5000, description="per class, against lung masks")
    boxed_images: int = Field(default=200, ge=0, le=5000, description="per class, against boxes of readers")
    perturbed_images: int = Field(default=6, ge=0, le=1000, description="for deletion and insertion")
    perturbation_steps: int = Field(default=20, ge=2, le=200, description="pictures between whole and blurred")
    randomised_images: int = Field(default=12, ge=0, le=500, description="for the sanity check")
    randomisation_stages: int = Field(default=5, ge=2, le=50, description="steps from the output to the input")
    resamples: int = Field(default=1000, ge=100, description="behind each interval")
    seed: int = Field(default=0, ge=0, lt=2**32, description="of every draw")


class ExplanationSettings(BaseModel):
    """Which pictures are drawn, and how the maps are checked."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    examples_per_class: int = Field(
        default=4, ge=1, le=20, description="surest pictures of each true class, half of them wrong if there are"
    )
    examples_per_outcome: int = Field(
        default=1, ge=0, le=5, description="pictures of each class' true and false positives and negatives"
    )
    precision: Literal["fp32", "auto"] = Field(
        default="fp32", description="auto: bf16 where the processor has instructions for it"
    )
    faithfulness: FaithfulnessSettings = FaithfulnessSettings()
