"""Recipe section `monitoring`: how often the monitor may be wrong, and how many images it wants before it speaks."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from data_contracts.drift.layers import LAYERS, Layer


class MonitorSettings(BaseModel):
    """How a window is judged.

    least_images: a window of fewer is "insufficient". false_alarm_rate: share of windows without drift in which any
    layer may exceed its limit; each layer gets an equal part of it. resamples: windows drawn from the reference to
    find the limits. confirmations of the last windows must have exceeded a limit before the verdict is "alarm".
    layers: those that are watched. seed: of the resamples.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    least_images: int = Field(default=200, ge=50)
    false_alarm_rate: float = Field(default=0.01, ge=0.0005, le=0.2)
    resamples: int = Field(default=2_000, ge=200, le=100_000)
    confirmations: int = Field(default=2, ge=1, le=8)
    windows: int = Field(default=3, ge=1, le=8)
    layers: tuple[Layer, ...] = Field(default=LAYERS, min_length=1)
    seed: int = Field(default=0, ge=0, lt=2**32)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if len(set(self.layers)) < len(self.layers):
            raise ValueError("a layer is named twice")
        if self.confirmations > self.windows:
            raise ValueError(f"{self.confirmations} of the last {self.windows} windows can never exceed a limit")
        if self.resamples * self.layer_rate < 2:
            raise ValueError(
                f"a rate of {self.layer_rate:g} per layer needs at least {round(2 / self.layer_rate):,} resamples"
            )
        return self

    @property
    def layer_rate(self) -> float:
        """Share of windows without drift in which one layer may exceed its limit (Bonferroni)."""
        return self.false_alarm_rate / len(self.layers)
