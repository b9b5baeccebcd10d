"""The recipe section that declares, before training, what a challenger has to show."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ReviewSettings(BaseModel):
    """Margins and limits of a review; they are part of the recipe, so that changing them is a change of the plan.

    auc_margin, sensitivity_margin, subgroup_margin: how much worse the challenger may be on the primary metric, in the
    sensitivity of each class and in that of each subgroup; absolute differences, each held against the lower bound of
    a two-sided 95 % interval. minimum_positives: test positives that every class needs before anything is claimed.
    minimum_subgroup_positives: below it a subgroup is named and not judged. largest_calibration_error: of the
    highest probability of each image against its being right, after the part that chance adds was taken off.
    required_audit: tests of the shortcut audit that must have been made. largest_test_readings: a test set read more
    often is worn out. resamples: of identity groups, behind the interval of the primary metric.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    auc_margin: float = Field(default=0.02, gt=0, lt=0.5)
    sensitivity_margin: float = Field(default=0.03, gt=0, lt=0.5)
    subgroup_margin: float = Field(default=0.05, gt=0, lt=0.5)
    minimum_positives: int = Field(default=100, ge=5)
    minimum_subgroup_positives: int = Field(default=50, ge=5)
    largest_calibration_error: float = Field(default=0.10, gt=0, lt=1)
    required_audit: list[str] = ["border_only", "lungs_removed"]
    largest_test_readings: int = Field(default=50, ge=1)
    resamples: int = Field(default=2000, ge=100)
    seed: int = Field(default=0, ge=0)
