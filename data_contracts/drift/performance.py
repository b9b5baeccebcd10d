"""What is said of the champion's performance in a window: estimated without outcomes, and measured with labels.

`performance_estimate.estimate_performance` makes the first, `performance_outcome.measure_performance` the second.
"""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator

ASSUMPTION = (
    "Assumes that a probability still means what it meant on the reference: the mix of images may have changed, what "
    "an image of a disease looks like may not. Invalid under concept shift. No label was looked at."
)


class _Result(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Figure(_Result):
    """One number with a 95 % interval.

    value is None exactly when `undefined` says why; low and high are None then, and where no interval could be
    formed. n is the denominator in images; of an estimate made from probabilities it is a sum of these, rounded.
    method names the interval: wilson, clopper-pearson, group-bootstrap.
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
            raise ValueError("a figure has a value or a reason why it has none")
        return self


class ClassFigures(_Result):
    """One class at its frozen operating point.

    positives, negatives: images that have the class and that have not; expected numbers in an estimate, counts where
    there are labels. called: images called positive.
    """

    name: str
    positives: float
    negatives: float
    called: int
    sensitivity: Figure
    specificity: Figure


class PerformanceEstimate(_Result):
    """Performance estimated from the probabilities alone. Read `assumption` before any number.

    n: images estimated from; groups: of which they are (a patient's images are one). classes: expected sensitivity
    and specificity (CBPE: the confusion expected when probabilities are calibrated). accuracy: expected accuracy of
    the most probable class (CBPE); atc: the same by average thresholded confidence (Garg et al. 2022), with
    atc_threshold the confidence that as many reference images exceed as were right. reference_estimated and
    reference_measured: the same estimate made on the reference, whose labels are known, and what was measured there;
    their distance says how far to trust it. notes: to be read with the numbers.
    """

    assumption: str = ASSUMPTION
    n: int
    groups: int
    accuracy: Figure
    atc: Figure
    atc_threshold: float | None = None
    classes: tuple[ClassFigures, ...] = ()
    reference_estimated: tuple[ClassFigures, ...] = ()
    reference_measured: tuple[ClassFigures, ...] = ()
    notes: tuple[str, ...] = ()


class OutcomePerformance(_Result):
    """Performance measured where labels have arrived.

    n: labelled images the figures stand on; awaiting: scored images of the window without a label yet; elsewhere:
    labels of images that are not in the window. Labelled images are not a random sample where only suspicious ones
    are labelled; the notes say what was left out.
    """

    n: int
    awaiting: int
    elsewhere: int
    accuracy: Figure
    classes: tuple[ClassFigures, ...] = ()
    notes: tuple[str, ...] = ()
