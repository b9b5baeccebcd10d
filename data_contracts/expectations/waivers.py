"""Written waivers: a person's reason why a class that exists in one source only may be trained on all the same."""

from __future__ import annotations

from collections.abc import Mapping

from data_contracts.expectations.report import ValidationCheck

SINGLE_SOURCE = "class_in_several_sources"
_UNNEEDED = "waivers_needed"


def with_waivers(checks: list[ValidationCheck], waivers: Mapping[str, str] | None) -> list[ValidationCheck]:
    """The checks after the waivers: a waived failure is a warning that carries the reason, and a waiver that no
    failure needs is a warning of its own.

    waivers: class name -> reason; None where no recipe was asked, which makes every such failure a warning.
    """
    if waivers is None:
        return [_as_warning(check, "") if waived_class(check) else check for check in checks]
    judged = [
        _as_warning(check, waivers.get(waived_class(check), "")) if waived_class(check) in waivers else check
        for check in checks
    ]
    needed = {waived_class(check) for check in checks if not check.passed}
    return [*judged, _unneeded(sorted(set(waivers) - needed))] if waivers else judged


def waived_class(check: ValidationCheck) -> str:
    """The class whose single source the check is about, or "" where it is about something else."""
    name, _, rest = check.name.partition("[")
    return rest.removesuffix("]") if name == SINGLE_SOURCE else ""


def _as_warning(check: ValidationCheck, reason: str) -> ValidationCheck:
    if check.passed:
        return check.model_copy(update={"severity": "warning"})
    return check.model_copy(update={"severity": "warning", "waiver": reason})


def _unneeded(classes: list[str]) -> ValidationCheck:
    return ValidationCheck(
        name=_UNNEEDED,
        title="Every waiver is for a class that exists in one source only.",
        severity="warning",
        passed=not classes,
        unexpected_count=0,
        unexpected=[],
        detail=f"Not needed: {', '.join(classes)}. A waiver that is left standing would hide the fault when it comes."
        if classes
        else "",
    )
