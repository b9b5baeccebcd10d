"""The recipe section that says how the shortcut audit is made."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class AuditSettings(BaseModel):
    """How many images the shortcut audit looks at; its limits are in results.LIMITS and no recipe moves them.

    images: validation and test images that are drawn by `seed`. changed_images: how many of these the network sees
    again after each change, once per change. training_images: how many the linear probes learn from, at most.
    minimum_images: a class, source or age group with fewer on one side is left out. bootstrap_resamples: of identity
    groups, behind each interval.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    images: int = Field(default=1000, ge=50, le=20_000)
    changed_images: int = Field(default=300, ge=50, le=20_000)
    training_images: int = Field(default=2000, ge=100, le=20_000)
    minimum_images: int = Field(default=20, ge=10)
    bootstrap_resamples: int = Field(default=1000, ge=100)
    seed: int = Field(default=0, ge=0)
