"""How speed is measured here: CPU time, which does not grow when other programs share the machine."""

from __future__ import annotations

import resource
from collections.abc import Callable


def cpu_seconds(function: Callable[[], object], repeats: int = 3) -> float:
    """CPU seconds (user and system) of one call, with all its threads and finished child processes.

    The best of `repeats` calls after one that is not counted: what is slower was disturbed or not warm yet.
    """
    function()
    return min(_once(function) for _ in range(repeats))


def _once(function: Callable[[], object]) -> float:
    before = _used()
    function()
    return _used() - before


def _used() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
