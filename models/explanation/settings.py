"""The recipe section that says which explanations are made."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ExplanationSettings(BaseModel):
    """examples_per_class: pictures per true class on the Grad-CAM sheet, half of them wrong if there are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    examples_per_class: int = Field(default=4, ge=1, le=20)
