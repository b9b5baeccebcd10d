"""The verdict on one window of scored images: what each layer showed, what follows, and which images moved it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, NonNegativeFloat, NonNegativeInt, PositiveInt

from data_contracts.drift.layers import Layer
from data_contracts.drift.performance import OutcomePerformance, PerformanceEstimate

Outcome = Literal["quiet", "exceeded", "insufficient", "not evaluated"]
Verdict = Literal["quiet", "watch", "alarm", "insufficient"]
Severity = Literal["log", "notify", "hold promotion", "route to a person"]


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Window(_Said):
    """Which images were judged.

    id: names the window, equal for all issues of it. since, until: days YYYY-MM-DD, until not included. n: images,
    refused ones included. issue: 1 for the first verdict on this window, more where late data came. kind: how the
    window was cut, by days or by count of images.
    """

    id: str
    since: str
    until: str
    n: NonNegativeInt
    issue: PositiveInt = 1
    kind: Literal["days", "count"] = "days"


class FeatureDrift(_Said):
    """One column of a layer beside the reference.

    statistic names what value and limit are: both None where the column could not be compared, and then note says
    why. limit: that of Holm's procedure within the layer, given the p-values of the other columns. p_value: of this
    column alone. drifted: by Holm's procedure; it explains a layer's outcome and never decides it.
    """

    name: str
    statistic: str = ""
    value: float | None = None
    limit: float | None = None
    p_value: float | None = None
    drifted: bool = False
    note: str = ""


class LayerVerdict(_Said):
    """One layer: value exceeds limit exactly when outcome is "exceeded".

    p_value: share of windows without drift that show as much, from the resamples. n: images of the window that were
    compared. why: in a sentence, also where the outcome is "insufficient" or "not evaluated", and then value, limit
    and p_value are None.
    """

    layer: Layer
    statistic: str = ""
    value: float | None = None
    limit: float | None = None
    p_value: float | None = None
    n: NonNegativeInt = 0
    outcome: Outcome
    why: str
    features: tuple[FeatureDrift, ...] = ()


class Mover(_Said):
    """An image that moved the verdict. share: of all that moved it, in [0, 1]. why: what is unusual about it."""

    image_id: str
    share: NonNegativeFloat
    why: str


class DriftVerdict(_Said):
    """What was found in one window, and what follows from it and the windows before.

    bundle, profile: content hashes. outcome: of this window alone; verdict: after persistence — "watch" where a
    limit was exceeded, "alarm" where that happened in `confirmations` of the last `windows` windows that could be
    judged. false_alarm_rate: of one window; windows_between_false_alarms: how many windows without drift pass on
    average before an alarm. movers: the most moving first, at most ten. refused: reason -> images; predicted:
    class -> scored images for which it is the most probable one, or is called where several may be.
    """

    model: str
    version: str
    bundle: str
    profile: str
    window: Window
    layers: tuple[LayerVerdict, ...]
    outcome: Outcome
    verdict: Verdict
    severity: Severity
    reasons: tuple[str, ...]
    confirmations: PositiveInt
    windows: PositiveInt
    false_alarm_rate: float
    windows_between_false_alarms: float
    movers: tuple[Mover, ...] = ()
    refused: dict[str, int] = {}
    predicted: dict[str, int] = {}
    performance: PerformanceEstimate | None = None
    outcome_performance: OutcomePerformance | None = None

    def layer(self, name: Layer) -> LayerVerdict | None:
        """What one layer showed; None where it is not watched."""
        return next((layer for layer in self.layers if layer.layer == name), None)
