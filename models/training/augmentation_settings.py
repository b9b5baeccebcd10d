"""The recipe section that says how much training images may change; read without importing torch."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class AugmentationSettings(BaseModel):
    """Random changes to each training image, drawn anew each epoch, uniform around no change; 0 is none.

    They follow one another in the order listed. Grey levels are clamped after each of the last four.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rotation_degrees: float = Field(default=10, ge=0, le=45, description="largest rotation, degrees either way")
    horizontal_flip: bool = Field(default=True, description="mirror about half of the images")
    zoom: float = Field(default=0.1, ge=0, le=0.5, description="largest change of size, share of it")
    shift: float = Field(default=0.05, ge=0, le=0.5, description="largest move, share of the image's side")
    resized_crop: float = Field(
        default=1, gt=0, le=1, description="smallest share of the area a random window has; 1: no window"
    )
    crop: float = Field(
        default=1, ge=0.5, le=1, description="side of a random window that is not resized, share of it; 1: none"
    )
    brightness: float = Field(default=0.2, ge=0, le=0.9, description="largest change of level, share of it")
    contrast: float = Field(default=0.2, ge=0, le=0.9, description="largest change of spread, share of it")
    gaussian_noise: float = Field(default=0, ge=0, le=0.5, description="std of added noise, share of full scale")
    speckle_noise: float = Field(default=0, ge=0, le=0.5, description="std of noise that multiplies, as x + x n")
    final_contrast: float = Field(
        default=0, ge=0, le=0.9, description="largest change of spread after the noise, share of it"
    )
