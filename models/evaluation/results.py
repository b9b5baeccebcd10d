"""What an evaluation says: every number with its n, its interval, or the reason why it is undefined."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

# Why a multi-label task has no confusion matrix and none of the measures that are read from one.
SEVERAL_AT_ONCE = "several classes may be true at once"


class _Result(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Estimate(_Result):
    """One number with a 95 % interval.

    value is None exactly when `undefined` says why. low and high are None then, and where method begins with
    "no interval: " and says why. n is the denominator: images for proportions, positives + negatives for an
    AUC. method otherwise names the interval: wilson, clopper-pearson, group-bootstrap, square-and-add.
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


# What an evaluation written by an earlier version says of a measure that version did not have.
UNMEASURED = Estimate(value=None, n=0, undefined="not measured by the version that wrote this evaluation")


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


class RuleIn(_Result):
    """A threshold chosen on validation and frozen with the model, above which a finding is taken as present.

    Called where the probability >= threshold. assured is False where validation holds too few negatives for
    the Wilson lower bound of the specificity to reach the required one; note says so in words.
    """

    threshold: float
    target_specificity: float
    specificity: Estimate
    sensitivity: Estimate
    assured: bool
    note: str = ""


class ZoneReading(_Result):
    """What the abstain zone does on a set of images: below the operating point a class is ruled out, from the
    rule-in threshold on it is ruled in, and a person reads what lies between.

    abstained: share left to a person. decided_accuracy: share right among the others. missed: share of positives
    that are ruled out. false_alarm: share of negatives that are ruled in.
    """

    abstained: Estimate
    decided_accuracy: Estimate
    missed: Estimate
    false_alarm: Estimate


class RocCurve(_Result):
    """Points from (0, 0) to (1, 1) by falling threshold; thinned to at most 200 points."""

    false_positive_rate: list[float]
    sensitivity: list[float]


class ReliabilityBin(_Result):
    """Images of similar probability: its mean, and the share of them that are positive with a Wilson interval."""

    probability: float
    positive: float
    low: float
    high: float
    n: int


class Calibration(_Result):
    """Calibration of one probability against one binary truth.

    brier and log_loss: mean squared error and mean negative log likelihood (0 is perfect). ece: mean absolute
    gap over equal-mass bins, weighted by images; it is above 0 by chance alone, ece_debiased takes that out.
    slope: 1 is right, below 1 is over-confident. intercept: 0 is right, above 0 means that the probabilities are
    too low on average (Van Calster et al. 2019, BMC Medicine 17:230). curve: its bins, by rising probability.
    """

    n: int
    brier: Estimate
    log_loss: Estimate
    ece: float | None
    ece_debiased: float | None
    slope: Estimate
    intercept: Estimate
    curve: list[ReliabilityBin]


class OverallCalibration(_Result):
    """Calibration over all classes.

    log_loss: mean negative log likelihood of the true class. brier: squared errors summed over the classes and
    averaged over images, halved where there are two classes. answers: the highest probability of each image
    against whether that class is the true one ("top label"). With several classes at once, all three are over
    every known pair of an image and a class.
    """

    brier: Estimate
    log_loss: Estimate
    answers: Calibration


class PredictiveValues(_Result):
    """PPV and NPV where a share `prevalence` of the patients has the disease."""

    prevalence: float
    ppv: Estimate
    npv: Estimate


class NetBenefit(_Result):
    """Net benefit at one risk threshold, in true positives per patient; treating nobody has 0."""

    threshold: float
    model: Estimate
    treat_all: float | None


class ClassEvaluation(_Result):
    """One class against the rest on one split, at the frozen operating point.

    n_unknown: images of which nobody knows whether they show the class; they count neither way. ppv, npv,
    average_precision: for the prevalence of this split; predictive_values: at stated prevalences.
    roc_auc: interval from resampling groups; roc_auc_delong: the same area with the interval of DeLong or, where
    a group has several images, of Obuchowski. calibration, net_benefit: None and empty where no image shows the
    class or every one does. rule_in, abstain: None where no rule-in threshold is frozen. sample_size: how many
    images it would take to know these numbers well. judgement: "too few to judge" below the required positives,
    negatives or identity groups, or where there is no operating point; "wide" where the sensitivity interval is
    too wide to decide anything.
    """

    name: str
    title: str
    n_positive: int
    n_negative: int
    n_unknown: int = 0
    positive_groups: int
    operating_point: OperatingPoint | None
    sensitivity: Estimate
    specificity: Estimate
    ppv: Estimate
    npv: Estimate
    roc_auc: Estimate
    roc: RocCurve | None
    judgement: Literal["enough", "wide", "too few to judge"]
    prevalence: Estimate = UNMEASURED
    roc_auc_delong: Estimate = UNMEASURED
    average_precision: Estimate = UNMEASURED
    predictive_values: list[PredictiveValues] = []
    calibration: Calibration | None = None
    net_benefit: list[NetBenefit] = []
    rule_in: RuleIn | None = None
    abstain: ZoneReading | None = None
    sample_size: str = ""


class SubgroupReading(_Result):
    """One class in one subgroup, at the frozen operating point.

    With fewer positives or negatives than required, the measures are undefined with that reason and the ece is
    None; the counts stay.
    """

    group: str
    n_positive: int
    n_negative: int
    prevalence: Estimate
    roc_auc: Estimate
    sensitivity: Estimate
    specificity: Estimate
    ece: float | None


class WorstGroup(_Result):
    """The readable subgroup with the lowest sensitivity, and how far all images lie above it.

    gap: sensitivity over all readable subgroups minus that of the worst, in one resampling of identity groups.
    The worst was found on these very images, which flatters the others: part of the gap is chance. too_wide:
    the gap is above the allowed one, and no interval of it holds 0.
    """

    group: str
    gap: Estimate
    too_wide: bool


class ClassSubgroups(_Result):
    """One class over the subgroups of one property. worst: None where fewer than two subgroups are readable."""

    name: str
    title: str
    readings: list[SubgroupReading]
    worst: WorstGroup | None


class SubgroupTable(_Result):
    """One property of the images, such as the age of the patient, and how each class does in its subgroups.

    n: images of each subgroup that holds any, by name. not_evaluated: names of subgroups that hold none; a
    subgroup that is not there has not passed. n_unknown: images of which the property is not known. why_not: why
    nothing was evaluated by this property, else "".
    """

    by: str
    title: str
    n: dict[str, int]
    not_evaluated: list[str]
    n_unknown: int
    classes: list[ClassSubgroups]
    why_not: str = ""


class Evaluation(_Result):
    """One architecture on one split. confusion rows are the truth, columns the most probable class.

    multi_label: confusion is empty; accuracy, balanced_accuracy, kappa and mcc are undefined; macro_auc is the
    mean over the classes that have an AUC, macro_f1 over those with a positive image; micro averages pool the
    calls of all classes at their operating points. With exclusive classes the three micro averages are the
    accuracy. temperature: what the logits were divided by; before_temperature: the calibration without that, None
    where the temperature is 1. test_set: sha256 of image ids, truths and task, equal exactly for evaluations of
    the same images. readings: how often this test set has been read, this time included; None where not counted.
    """

    architecture: str
    split: str
    n: int
    n_groups: int
    without_patient_id: int
    class_names: list[str]
    multi_label: bool = False
    classes: list[ClassEvaluation]
    confusion: list[list[int]]
    accuracy: Estimate
    balanced_accuracy: Estimate
    macro_auc: Estimate
    primary_metric: str
    primary: Estimate
    notes: list[str]
    kappa: Estimate = UNMEASURED
    mcc: Estimate = UNMEASURED
    macro_f1: Estimate = UNMEASURED
    micro_f1: Estimate = UNMEASURED
    micro_precision: Estimate = UNMEASURED
    micro_recall: Estimate = UNMEASURED
    temperature: float = 1.0
    calibration: OverallCalibration | None = None
    before_temperature: OverallCalibration | None = None
    subgroups: list[SubgroupTable] = []
    test_set: str = ""
    readings: int | None = None


class Evaluations(_Result):
    """One architecture on every split that is not trained on. external: None where no source was held out."""

    validation: Evaluation
    test: Evaluation
    external: Evaluation | None = None

    @property
    def architecture(self) -> str:
        return self.test.architecture
