"""The recipe section that says how a model is judged."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class EvaluationSettings(BaseModel):
    """How the operating point is chosen, what counts as enough evidence, and how intervals are resampled.

    target_sensitivity: empirical sensitivity the operating point must reach on validation, in (0, 1].
    required_lower_bound: what the Wilson lower bound of that sensitivity must reach, in (0, 1).
    minimum_positives: a class with fewer positive or fewer negative images is too few to judge.
    wide_interval: a sensitivity interval wider than this is flagged; a difference of proportions in (0, 1].
    bootstrap_resamples: resamples of identity groups behind each interval that has no closed form.
    prevalences: class shares at which PPV and NPV are stated, each in (0, 1).
    leave_one_source_out: an architecture of the recipe to train again without each source; None: none.
    readings_noted: from so many readings of one test set on, its evaluations say that it is worn out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    primary_metric: Literal["macro_auc", "balanced_accuracy"] = "macro_auc"
    target_sensitivity: float = Field(default=0.95, gt=0, le=1)
    required_lower_bound: float = Field(default=0.90, gt=0, lt=1)
    minimum_positives: int = Field(default=20, ge=1)
    wide_interval: float = Field(default=0.20, gt=0, le=1)
    bootstrap_resamples: int = Field(default=2000, ge=100)
    prevalences: list[Annotated[float, Field(gt=0, lt=1)]] = [0.01, 0.05, 0.10, 0.50]
    leave_one_source_out: str | None = None
    readings_noted: int = Field(default=20, ge=1)
    seed: int = Field(default=0, ge=0)
