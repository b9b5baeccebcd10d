"""What a review says: the comparison, the gates, the change of plan, and the verdict that follows from them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict

from models.evaluation.comparison import Difference, NonInferiority
from models.evaluation.results import Estimate
from models.registry.evidence import DataLineage

Verdict = Literal["PROMOTE", "HOLD", "REJECT"]
Outcome = Literal["pass", "hold", "reject"]
_GRAVITY: tuple[Outcome, ...] = ("pass", "hold", "reject")
_VERDICT_OF: dict[Outcome, Verdict] = {"pass": "PROMOTE", "hold": "HOLD", "reject": "REJECT"}


class _Result(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Gate(_Result):
    """One thing a challenger must show. why: one sentence, with the number that decided."""

    name: str
    title: str
    outcome: Outcome
    why: str


class ReviewedVersion(_Result):
    """One of the two versions. bundle: content hash. run_id: of MLflow. data: catalog hash it was trained on."""

    version: str
    run_id: str
    bundle: str
    architecture: str
    recipe_name: str
    data: str
    seed: int


class Compared(_Result):
    """One measure of both models on the same images, and what their paired difference allows to be said."""

    measure: str
    challenger: Estimate
    champion: Estimate
    judged: NonInferiority


class ComparedClass(_Result):
    """One class against the rest. specificity is reported and has no margin; see `ReviewSettings`."""

    name: str
    title: str
    n_positive: int
    n_negative: int
    auc: Compared
    sensitivity: Compared
    specificity: Compared


class ComparedSubgroup(_Result):
    """Sensitivity of one class in one subgroup of the test images, both models at their frozen thresholds.

    judged: None where the subgroup holds fewer positives than the review asks for.
    """

    by: str
    group: str
    class_name: str
    title: str
    n_positive: int
    judged: NonInferiority | None


class Comparison(_Result):
    """Challenger and champion on the same locked test images.

    not_there: subgroups that hold no test image, which have not passed. rescored: whether the champion had to read
    the images again because its own predictions were not kept.
    """

    n: int
    n_groups: int
    test_set: str
    primary: Compared
    classes: list[ComparedClass]
    subgroups: list[ComparedSubgroup]
    not_there: list[str]
    rescored: bool


class Change(_Result):
    """One setting that differs between the versions. before, after: as JSON; "absent" where there is none.

    allowed: whether the change plan says so, and why it does or does not.
    """

    key: str
    before: str
    after: str
    allowed: bool
    why: str


class ChangeReport(_Result):
    """Every setting in which the challenger differs from the champion, held against the plan. plan: sha256 of it."""

    plan: str
    changes: list[Change]

    @property
    def outside(self) -> list[Change]:
        return [change for change in self.changes if not change.allowed]


class Review(_Result):
    """The whole review. champion: version number, or None with `no_champion` saying why.

    reasons: the sentences that carry the verdict, the gravest first. remarks: what a reader must know and no gate
    asks.
    """

    model_name: str
    task: str
    task_title: str
    challenger: str
    champion: str | None
    no_champion: str
    versions: dict[Literal["challenger", "champion"], ReviewedVersion]
    test_set_hash: str
    verdict: Verdict
    reasons: list[str]
    remarks: list[str]
    gates: list[Gate]
    comparison: Comparison | None
    changes: ChangeReport | None
    lineage: DataLineage | None


def verdict_of(gates: Iterable[Gate]) -> Verdict:
    """REJECT where any gate says so, else HOLD where any holds, else PROMOTE; no gate at all is no evidence: HOLD."""
    outcomes = [gate.outcome for gate in gates]
    return _VERDICT_OF[max(outcomes, key=_GRAVITY.index)] if outcomes else "HOLD"


def no_difference_known(n: int, why: str) -> Difference:
    """What is compared where one side has no number."""
    return Difference(value=None, n=n, undefined=why)
