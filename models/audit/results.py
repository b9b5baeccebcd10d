"""What a shortcut audit says: each test with its interval, its limits and a verdict, and the limits themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Literal

from pydantic import BaseModel, ConfigDict

from data_contracts.association import FAIL_ABOVE, WARN_FROM
from models.evaluation.results import Estimate

Verdict = Literal["pass", "warn", "fail", "not evaluated"]


class _Result(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Limits(_Result):
    """Below warn_from passes, from fail_from on fails, between them warns. fail_from: None where nothing can fail."""

    warn_from: float
    fail_from: float | None


# Every limit of the audit. For the names in RELATIVE_TO_MODEL they are limits of
# (AUC without the disease - 0.5) / (AUC of the model - 0.5), and an AUC shown to be at least BARE_AUC never passes.
_SHARE_OF_MODEL = Limits(warn_from=0.25, fail_from=0.5)
BARE_AUC = 0.60
LIMITS: Mapping[str, Limits] = MappingProxyType(
    {
        "association": Limits(warn_from=WARN_FROM, fail_from=FAIL_ABOVE),
        "metadata_only": Limits(warn_from=0.65, fail_from=0.80),
        "border_only": _SHARE_OF_MODEL,
        "centre_black": _SHARE_OF_MODEL,
        "centre_black_model": _SHARE_OF_MODEL,
        "lungs_removed": _SHARE_OF_MODEL,
        "lung_only": Limits(warn_from=0.03, fail_from=0.08),
        "source_probe": Limits(warn_from=0.70, fail_from=0.90),
        "paediatric_probe": Limits(warn_from=0.90, fail_from=None),
        "marker_sensitivity": Limits(warn_from=0.01, fail_from=0.03),
        "consistency": Limits(warn_from=0.05, fail_from=0.10),
        "source_swap": Limits(warn_from=0.05, fail_from=0.10),
    }
)
# What a set of images always allows to be tested; without one of these there is no pass. The other tests need
# several sources or ages.
REQUIRED = (
    *("metadata_only", "border_only", "centre_black", "centre_black_model", "lungs_removed", "lung_only"),
    *("marker_sensitivity", "consistency"),
)
RELATIVE_TO_MODEL = ("border_only", "centre_black", "centre_black_model", "lungs_removed")


class AuditItem(_Result):
    """One test of the battery.

    about: "data" where the images alone were asked, "model" where the network was. question: what is tested, for a
    reader who knows no statistics. measure: what `estimate` is a number of; the verdict is by its interval, for
    names in RELATIVE_TO_MODEL by that of also["share of the model's AUC"]. also: further numbers by what they are.
    n: images behind the estimate. reason: why this verdict, in one sentence.
    """

    name: str
    title: str
    about: Literal["data", "model"]
    question: str
    measure: str
    estimate: Estimate
    also: dict[str, Estimate] = {}
    n: int
    limits: Limits
    verdict: Verdict
    reason: str


class AuditReport(_Result):
    """The battery for one architecture.

    n: validation and test images that were looked at. verdict: fail or warn where an item does, else pass, or "not
    evaluated" where one of REQUIRED is not. statements: sentences that a reader needs beside the numbers.
    """

    architecture: str
    n: int
    items: list[AuditItem]
    verdict: Verdict
    statements: list[str]

    def item(self, name: str) -> AuditItem:
        """The item called `name`; KeyError where there is none."""
        for item in self.items:
            if item.name == name:
                return item
        raise KeyError(name)


def overall(items: Iterable[AuditItem]) -> Verdict:
    """The verdict of the battery, as AuditReport.verdict describes it."""
    verdicts = {item.name: item.verdict for item in items}
    for grave in ("fail", "warn"):
        if grave in verdicts.values():
            return grave
    return "pass" if all(verdicts.get(name) == "pass" for name in REQUIRED) else "not evaluated"
