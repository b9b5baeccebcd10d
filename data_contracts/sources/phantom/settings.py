"""The recipe section that describes a phantom data collection."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from data_contracts.sources.phantom.shifts import AcquisitionShift, ShortcutSettings

SourceName = Literal[
    "radiography", "mendeley", "nih", "covid-pneumonia-normal", "covid19-pneumonia", "chest-xray-pneumonia"
]
MAIN_DATASETS: tuple[SourceName, ...] = ("radiography", "mendeley", "nih")


class PhantomSettings(BaseModel):
    """What to draw.

    datasets: whose raw layouts are written. images: over all of them. size: about the side of the pictures in
    pixels. shortcut and shift are off by default. flawed adds three bad files: a truncated PNG, a web page named
    .jpg, and a copy under a wrong label. all_findings: the NIH table names all fourteen findings; those that the
    phantom cannot draw look like any opacity.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    datasets: tuple[SourceName, ...] = Field(default=MAIN_DATASETS, min_length=1)
    images: int = Field(default=480, ge=40, le=20_000)
    size: int = Field(default=256, ge=64, le=1024)
    seed: int = Field(default=7, ge=0, lt=2**32)
    shortcut: ShortcutSettings = ShortcutSettings()
    shift: AcquisitionShift = AcquisitionShift()
    flawed: bool = False
    all_findings: bool = False

    @model_validator(mode="after")
    def _drawable(self) -> Self:
        if len(set(self.datasets)) < len(self.datasets):
            raise ValueError("a dataset is named twice")
        if self.flawed and not set(MAIN_DATASETS) <= set(self.datasets):
            raise ValueError(
                f"flawed files are made for {', '.join(MAIN_DATASETS)}; name all three or leave it out"
            )
        if self.all_findings and "nih" not in self.datasets:
            raise ValueError("all_findings is about the dataset nih, which is not among the datasets")
        return self
