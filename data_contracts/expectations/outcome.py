"""Turns a result of Great Expectations into a sentence with the rows that contradict it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from data_contracts.expectations.report import MAX_NAMED_ROWS, ValidationCheck
from data_contracts.expectations.suite import Check

if TYPE_CHECKING:
    import pandas as pd
    from great_expectations.core import ExpectationValidationResult

_EXAMPLES = 3
_ROWS_READ = 200  # of those that contradict a check, for its examples
# Their values can tell who a patient is, or say nothing to a reader.
_UNQUOTED_COLUMNS = frozenset({"patient", "file", "image_id", "group_id"})


def not_made(check: Check, trouble: str) -> ValidationCheck:
    """A check that could not be evaluated, which counts as failed."""
    return _judged(check, False, 0, [], f"The check could not be made: {trouble}. {check.why}")


def outcome(
    check: Check, result: ExpectationValidationResult, table: pd.DataFrame, key: Sequence[str]
) -> ValidationCheck:
    """What Great Expectations found. table: the rows it looked at; key: the columns that name one of them."""
    trouble = _exception(result.exception_info)
    if trouble:
        return not_made(check, trouble)
    found: dict[str, Any] = result.result
    rows = _sorted(table.loc[found.get("unexpected_index_list") or []], check, key)
    names = _names(rows.head(MAX_NAMED_ROWS), key)
    count = int(found.get("unexpected_count", 0))
    detail = "" if result.success else f"{_found(check, found, rows, key)} {check.why}"
    return _judged(check, bool(result.success), count, names, detail)


def _judged(check: Check, passed: bool, count: int, names: list[str], detail: str) -> ValidationCheck:
    return ValidationCheck(
        name=check.name,
        title=check.title,
        severity=check.severity,
        passed=passed,
        unexpected_count=count,
        unexpected=names,
        detail=detail,
    )


def _sorted(rows: pd.DataFrame, check: Check, key: Sequence[str]) -> pd.DataFrame:
    """By the values looked at, then by name, so that the rows of one leak stand together."""
    looked_at = [name for name in check.columns if name not in key]
    by = [*looked_at, *key]
    return rows.sort_values(by, key=lambda column: column.astype(str), kind="stable") if by else rows


def _names(rows: pd.DataFrame, key: Sequence[str]) -> list[str]:
    return ["/".join(map(str, cells)) for cells in rows[list(key)].itertuples(index=False)]


def _found(check: Check, found: dict[str, Any], rows: pd.DataFrame, key: Sequence[str]) -> str:
    if "unexpected_count" in found:
        text = f"{found['unexpected_count']} of {found['element_count']} rows contradict this."
        examples = _examples(check, rows, key)
        more = ", …." if len(examples) > _EXAMPLES else "."
        return f"{text} Found: {', '.join(examples[:_EXAMPLES])}{more}" if examples else text
    mismatched = (found.get("details") or {}).get("mismatched") or {}
    if mismatched:
        said = {"missing": mismatched.get("missing"), "not expected": mismatched.get("unexpected")}
        return (
            "; ".join(f"{what}: {', '.join(map(str, columns))}" for what, columns in said.items() if columns) + "."
        )
    if found.get("partial_missing_list"):
        return "Missing: " + ", ".join(str(value) for value in found["partial_missing_list"]) + "."
    return f"Found: {found.get('observed_value')}."


def _examples(check: Check, rows: pd.DataFrame, key: Sequence[str]) -> list[str]:
    """What was found wrong, each kind once: the value or values, or the two sides of a leak."""
    if check.expectation == "ExpectGroupInOneSplit":
        return _leaks(check, rows.head(_ROWS_READ), key)
    columns = [name for name in check.columns if name not in _UNQUOTED_COLUMNS]
    if not columns:
        return []
    kinds = rows[columns].drop_duplicates().head(_ROWS_READ).to_dict("records")
    if len(columns) == 1:
        return [_quoted(row[columns[0]]) for row in kinds]
    ranges: dict[str, list[float]] = check.kwargs.get("ranges", {})
    return list(dict.fromkeys(_together({str(name): v for name, v in row.items()}, ranges) for row in kinds))


def _together(row: dict[str, Any], ranges: dict[str, list[float]]) -> str:
    """The values of a row, without those that lie in their range."""
    odd = [name for name in row if name not in ranges or not ranges[name][0] <= row[name] <= ranges[name][1]]
    return " with ".join(f"{name} {_quoted(row[name])}" for name in odd)


def _quoted(value: object) -> str:
    return f"'{value}'" if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)


def _leaks(check: Check, rows: pd.DataFrame, key: Sequence[str]) -> list[str]:
    sides: dict[str, dict[str, str]] = {}
    for (group, split), name in zip(rows[check.columns].itertuples(index=False), _names(rows, key), strict=True):
        sides.setdefault(group, {}).setdefault(split, name)
    return [" = ".join(f"{name} ({side})" for side, name in leak.items()) for leak in sides.values()]


def _exception(info: dict[str, Any]) -> str:
    """The message of the exception a check raised, or ""; it is one level deeper where a metric raised it."""
    for entry in (info, *info.values()):
        if isinstance(entry, dict) and entry.get("raised_exception"):
            return str(entry.get("exception_message"))
    return ""
