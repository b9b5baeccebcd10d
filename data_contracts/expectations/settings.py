"""Recipe section `validation`: what the data contract tolerates, and the reasons a person gave for it."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from data_contracts.sources import SOURCES

# Long enough that "known" or "ok for now" is not a reason.
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=20)]


class ValidationSettings(BaseModel):
    """What the gates may let pass.

    quarantine_limit: share of unreadable or refused files up to which a run goes on, in [0, 1].
    single_source_waivers: class name -> why a class that exists in one source only may be trained on; every page
    prints it.
    pinned_tables: file name of a label table -> its sha256; a run stops where the labels are of another revision.
    age_limits: source -> (lowest, highest) age in years that its images can have; the highest is itself too high.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    quarantine_limit: float = Field(default=0.01, ge=0, le=1)
    single_source_waivers: dict[str, Reason] = {}
    pinned_tables: dict[str, Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{64}$")]] = {}
    age_limits: dict[str, tuple[float, float]] = {"chest-xray-pneumonia": (0.0, 18.0)}

    @model_validator(mode="after")
    def _limits_of_known_sources(self) -> Self:
        if unknown := sorted(set(self.age_limits) - set(SOURCES)):
            raise ValueError(f"age_limits: unknown source {', '.join(unknown)}; allowed: {', '.join(SOURCES)}")
        for source, (lowest, highest) in self.age_limits.items():
            if not 0 <= lowest < highest:
                raise ValueError(f"age_limits: {source}: {lowest:g} to {highest:g} is no range of ages")
        return self
