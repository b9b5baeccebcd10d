"""The recipe section that says how much training images may change; read without importing torch."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class AugmentationSettings(BaseModel):
    """Random changes to each training image, drawn anew each epoch, uniform around no change; 0 is none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rotation_degrees: float = Field(default=10, ge=0, le=45, description="largest rotation, degrees either way")
    horizontal_flip: bool = Field(default=True, description="mirror about half of the images")
    zoom: float = Field(default=0.1, ge=0, le=0.5, description="largest change of size, share of it")
    shift: float = Field(default=0.05, ge=0, le=0.5, description="largest move, share of the image's side")
    brightness: float = Field(default=0.2, ge=0, le=0.9, description="largest change of level, share of it")
    contrast: float = Field(default=0.2, ge=0, le=0.9, description="largest change of spread, share of it")
