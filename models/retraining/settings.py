"""The recipe section that says when drift asks for retraining and what holds it back."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class RetrainingSettings(BaseModel):
    """Brakes of the retraining trigger.

    confirmations, of_windows: so many of the last so many judged windows must be alarms before retraining is asked
    for; each alarm has already persisted by the monitor's own rule. quiet_windows: so many quiet windows in a row end
    an episode, and a request that nothing came of lapses with it. least_labels: new labelled images or decisions of
    people about labels that make a training worth its while. cooldown_days: from the end of a training that made a
    version to the next. budget, budget_days: at most so many trainings are started in so many days. setbacks_to_open:
    refused versions and failed trainings in a row that open the circuit. dry_run: note everything, train nothing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    confirmations: int = Field(default=2, ge=1)
    of_windows: int = Field(default=3, ge=1, le=100)
    quiet_windows: int = Field(default=3, ge=1, le=100)
    least_labels: int = Field(default=1, ge=1)
    cooldown_days: float = Field(default=14, ge=0)
    budget: int = Field(default=4, ge=1)
    budget_days: float = Field(default=90, gt=0)
    setbacks_to_open: int = Field(default=2, ge=1)
    dry_run: bool = False

    @model_validator(mode="after")
    def _confirmations_can_be_met(self) -> Self:
        if self.confirmations > self.of_windows:
            raise ValueError(f"confirmations {self.confirmations} cannot be met in of_windows {self.of_windows}")
        return self
