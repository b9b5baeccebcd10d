"""Says how far long work is: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

# The process's own standard error: ZenML captures the other streams while a step runs.
_CONSOLE = Console(file=sys.__stderr__, highlight=False, soft_wrap=True)
_LINES = 5


def say(line: str) -> None:
    """One plain line."""
    _CONSOLE.print(line, markup=False)


@contextmanager
def progress(title: str) -> Iterator[Callable[[int, int, str], None]]:
    """Gives a function (done, total, note) to call as the work goes on.

    A log gets a line for about every fifth of the work, and for the end.
    """
    if not _CONSOLE.is_terminal:
        yield _lines(title)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[note]}"), console=_CONSOLE) as bars:
        task = bars.add_task(title, total=None, note="")
        yield lambda done, total, note="": bars.update(task, completed=done, total=total, note=note)


def _lines(title: str) -> Callable[[int, int, str], None]:
    said = -1

    def report(done: int, total: int, note: str = "") -> None:
        nonlocal said
        fifth = done * _LINES // max(total, 1)
        if fifth > said:
            said = fifth
            say(f"{title} {done}/{total}{'  ' + note if note else ''}")

    return report
