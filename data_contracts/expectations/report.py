"""The outcome of a data validation, and the gate that stops a run on it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from data_contracts.errors import DataGateError

Severity = Literal["critical", "warning"]

MAX_NAMED_ROWS = 20
_ROWS_IN_MESSAGE = 5


class ValidationCheck(BaseModel):
    """One sentence about the data and whether it holds.

    title: the sentence. unexpected_count: rows that contradict it; 0 where the check is about the table as a
    whole. unexpected: the first of those rows, each as "source/file", in a window of scored images by image id;
    a check that tolerates some rows names them even when it passed. detail: what was found instead and why it
    matters; "" where it passed. waiver: the written reason why a failure does not stop the run; "" without one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    title: str
    severity: Severity
    passed: bool
    unexpected_count: int = Field(ge=0)
    unexpected: list[str] = Field(max_length=MAX_NAMED_ROWS)
    detail: str
    waiver: str = ""


class ValidationReport(BaseModel):
    """All checks of one suite. passed is False exactly when a critical check failed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    suite: str
    passed: bool
    checks: list[ValidationCheck]

    @model_validator(mode="after")
    def _passed_agrees_with_the_checks(self) -> Self:
        if self.passed != (not self.failed("critical")):
            raise ValueError("passed must be False exactly when a critical check failed")
        return self

    @classmethod
    def of(cls, suite: str, checks: list[ValidationCheck]) -> Self:
        """The report that follows from the checks."""
        passed = all(check.passed or check.severity == "warning" for check in checks)
        return cls(suite=suite, passed=passed, checks=checks)

    def failed(self, severity: Severity) -> list[ValidationCheck]:
        """The checks of this severity that do not hold."""
        return [check for check in self.checks if check.severity == severity and not check.passed]


def require_passed(report: ValidationReport, report_path: Path | None) -> None:
    """Let a run go on only where no critical check failed; warnings never stop it.

    report_path: the page that shows the whole report, or None where there is none.
    Raises DataGateError naming the failed checks and the first rows of each.
    """
    failures = report.failed("critical")
    if not failures:
        return
    critical = sum(check.severity == "critical" for check in report.checks)
    lines = [f"{len(failures)} of the {critical} critical checks of the {report.suite} suite failed:"]
    lines += [f"- {_summary(check)}" for check in failures]
    where = f"All checks are in {report_path}. " if report_path else ""
    raise DataGateError(
        "\n".join(lines),
        why="What is trained or measured on data that breaks its contract cannot be trusted.",
        cure=f"{where}Correct the data at its source, or its adapter, and run `lungline data build` again.",
    )


def _summary(check: ValidationCheck) -> str:
    rows = ", ".join(check.unexpected[:_ROWS_IN_MESSAGE])
    if check.unexpected_count > _ROWS_IN_MESSAGE:
        rows += ", …"
    return f"{check.title} {check.detail}" + (f" Rows: {rows}" if rows else "")
