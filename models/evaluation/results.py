"""What an evaluation says: every number with its n, its interval, or the reason why it is undefined."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator


class _Result(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Estimate(_Result):
    """One number with a 95 % interval.

    value is None exactly when `undefined` says why. low and high are None then, and where method begins with
    "no interval: " and says why. n is the denominator: images for proportions, positives + negatives for an
    AUC. method otherwise names the interval: wilson, clopper-pearson, group-bootstrap.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int
    method: str = ""
    undefined: str = ""

    @model_validator(mode="after")
    def _defined_or_explained(self) -> Self:
        if (self.value is None) != bool(self.undefined):
            raise ValueError("an estimate has a value or a reason why it has none")
        return self


class OperatingPoint(_Result):
    """A one-vs-rest threshold chosen on validation and frozen with the model.

    The class is called positive where its probability >= threshold. assured is False where validation holds
    too few positives for the Wilson lower bound to reach the required one; note says so in words.
    """

    threshold: float
    target_sensitivity: float
    sensitivity: Estimate
    specificity: Estimate
    assured: bool
    note: str = ""


class RocCurve(_Result):
    """Points from (0, 0) to (1, 1) by falling threshold; thinned to at most 200 points."""

    false_positive_rate: list[float]
    sensitivity: list[float]


class ClassEvaluation(_Result):
    """One class against the rest on one split, at the frozen operating point.

    judgement: "too few to judge" below the required positives, negatives or identity groups, or where there
    is no operating point; "wide" where the sensitivity interval is too wide to decide anything.
    """

    name: str
    title: str
    n_positive: int
    n_negative: int
    positive_groups: int
    operating_point: OperatingPoint | None
    sensitivity: Estimate
    specificity: Estimate
    ppv: Estimate
    npv: Estimate
    roc_auc: Estimate
    roc: RocCurve | None
    judgement: Literal["enough", "wide", "too few to judge"]


class Evaluation(_Result):
    """One architecture on one split. confusion rows are the truth, columns the most probable class."""

    architecture: str
    split: str
    n: int
    n_groups: int
    without_patient_id: int
    class_names: list[str]
    classes: list[ClassEvaluation]
    confusion: list[list[int]]
    accuracy: Estimate
    balanced_accuracy: Estimate
    macro_auc: Estimate
    primary_metric: str
    primary: Estimate
    notes: list[str]
