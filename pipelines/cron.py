"""Reads cron expressions strictly and writes them as systemd's OnCalendar.

Five fields as POSIX crontab(5) has them, with the extensions that every cron of today shares: names, ranges, lists,
steps and @daily and its like. What crons disagree about is refused rather than guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from data_contracts.errors import UsageProblem

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONGEST_MONTH = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}
_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_PART = re.compile(r"(?P<first>\*|[a-z]{3}|\d{1,2})(?:-(?P<last>[a-z]{3}|\d{1,2}))?(?:/(?P<step>\d{1,2}))?")


@dataclass(frozen=True, slots=True)
class _Field:
    """One field: its values go from lowest to highest; names stand for lowest, lowest + 1, …"""

    name: str
    lowest: int
    highest: int
    names: tuple[str, ...] = ()


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 7, _DAYS),
)


@dataclass(frozen=True, slots=True)
class CronExpression:
    """When something runs, in the machine's own time zone.

    text: five fields, as crontab and Kubernetes take them, so Sunday is 0 and never 7. minutes … weekdays: every
    value that matches, sorted; weekdays from 0, Sunday. Where any_day or any_weekday is set the field was *; else
    a day matches if either field does.
    """

    text: str
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]
    any_day: bool
    any_weekday: bool

    @classmethod
    def parse(cls, expression: str) -> CronExpression:
        """Raises UsageProblem naming the field that cannot be what was meant."""
        text = " ".join(_MACROS.get(expression.strip().casefold(), expression).casefold().split())
        if text.startswith("@"):
            raise _refused(expression, f"{text.split()[0]} is not among {', '.join(_MACROS)}")
        fields = text.split()
        if len(fields) != len(_FIELDS):
            raise _refused(expression, f"it has {len(fields)} fields, not 5")
        values = [_values(expression, field, given) for field, given in zip(_FIELDS, fields, strict=True)]
        minutes, hours, days, months, weekdays = values
        _, _, day, _, weekday = fields
        if (day.startswith("*") != (day == "*") and weekday != "*") or (
            weekday.startswith("*") != (weekday == "*") and day != "*"
        ):
            raise _refused(
                expression,
                "a step of * in day of month or day of week beside the other one means 'and' to some crons and 'or' "
                "to others",
            )
        if weekday == "*" and not any(days[0] <= _LONGEST_MONTH.get(month, 31) for month in months):
            raise _refused(expression, f"no month it names has a day {days[0]}, so it would never run")
        from_sunday = tuple(sorted({value % 7 for value in weekdays}))
        if 7 in weekdays:  # Kubernetes takes 0 to 6 only, and no range that ends before it begins
            text = " ".join([*fields[:-1], ",".join(map(str, from_sunday))])
        return cls(
            text,
            minutes,
            hours,
            days,
            months,
            from_sunday,
            any_day=day == "*",
            any_weekday=weekday == "*",
        )

    def on_calendar(self) -> list[str]:
        """The values of systemd's OnCalendar; several of them mean 'or'.

        Cron runs where day of month or day of week matches if both are given; systemd would want both, so each
        gets a line of its own.
        """
        time = f"{_numbers(self.hours, 24)}:{_numbers(self.minutes, 60)}:00"
        months = _numbers(self.months, 12)
        by_day = f"*-{months}-{_numbers(self.days, 31)} {time}"
        weekdays = ",".join(_DAYS[day].capitalize() for day in self.weekdays)
        by_weekday = f"{weekdays} *-{months}-* {time}"
        if self.any_weekday or len(self.weekdays) == len(_DAYS):
            return [by_day if self.any_weekday else f"*-{months}-* {time}"]
        return [by_weekday] if self.any_day else [by_day, by_weekday]


def _values(expression: str, field: _Field, given: str) -> tuple[int, ...]:
    values: set[int] = set()
    for part in given.split(","):
        found = _PART.fullmatch(part)
        if found is None:
            raise _refused(expression, f"{field.name} {part!r} is not of the form *, 5, 1-5, */15 or 1,15")
        first, last, step = found["first"], found["last"], found["step"]
        if first == "*" and last:
            raise _refused(expression, f"{field.name} {part!r} is not of the form *, 5, 1-5, */15 or 1,15")
        if step and first != "*" and not last:
            raise _refused(
                expression, f"{field.name} {part!r} has a step and no range, which crons read differently"
            )
        low = field.lowest if first == "*" else _value(expression, field, first)
        highest = 6 if field.names == _DAYS else field.highest
        high = highest if first == "*" else _value(expression, field, last) if last else low
        if high < low:
            raise _refused(expression, f"{field.name} {part!r} ends before it begins")
        if step and not 1 <= int(step) <= field.highest:
            raise _refused(expression, f"{field.name} {part!r} has a step outside 1 to {field.highest}")
        values.update(range(low, high + 1, int(step or 1)))
    return tuple(sorted(values))


def _value(expression: str, field: _Field, word: str) -> int:
    if word in field.names:
        return field.lowest + field.names.index(word)
    if not word.isdigit() or not field.lowest <= int(word) <= field.highest:
        named = f" or {field.names[0]} to {field.names[-1]}" if field.names else ""
        raise _refused(expression, f"{field.name} {word!r} is not {field.lowest} to {field.highest}{named}")
    return int(word)


def _numbers(values: Iterable[int], all_of_them: int) -> str:
    listed = [f"{value:02}" for value in values]
    return "*" if len(listed) == all_of_them else ",".join(listed)


def _refused(expression: str, what: str) -> UsageProblem:
    return UsageProblem(
        f"--cron {expression!r}: {what}.",
        why="It would run at other times than were meant, or never.",
        cure='Five fields: minute, hour, day of month, month, day of week. "0 3 * * *" is every night at 3, '
        '"30 5 * * mon" every Monday at 5:30.',
    )
