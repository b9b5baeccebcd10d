"""The recipe section that describes a phantom data collection."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from data_contracts.sources.phantom.shifts import AcquisitionShift, ShortcutSettings


class PhantomSettings(BaseModel):
    """What to draw.

    images: over all three sources. size: about the side of the pictures in pixels. shortcut and shift are off by
    default. flawed adds three bad files: a truncated PNG, a web page named .jpg, and a copy under a wrong label.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    images: int = Field(default=480, ge=40, le=20_000)
    size: int = Field(default=256, ge=64, le=1024)
    seed: int = Field(default=7, ge=0, lt=2**32)
    shortcut: ShortcutSettings = ShortcutSettings()
    shift: AcquisitionShift = AcquisitionShift()
    flawed: bool = False
