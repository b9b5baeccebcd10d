"""Recipe section `validation`: what the data contract tolerates."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ValidationSettings(BaseModel):
    """quarantine_limit: share of unreadable or refused files up to which a run goes on, in [0, 1]."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    quarantine_limit: float = Field(default=0.01, ge=0, le=1)
