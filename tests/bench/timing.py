"""How speed is measured here: CPU time, which does not grow when other programs share the machine."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def cpu_seconds(function: Callable[[], object], repeats: int = 3) -> float:
    """CPU seconds (user and system) of one call, with all its threads and finished child processes.

    The best of `repeats` calls after one that is not counted: what is slower was disturbed or not warm yet.
    """
    function()
    return min(_once(function) for _ in range(repeats))


def cpu_seconds_in_turn(
    usual: Callable[[], object], ours: Callable[[], object], repeats: int = 4
) -> tuple[float, float]:
    """CPU seconds of either function as `cpu_seconds`, measured in turn, so that what disturbs one disturbs both."""
    usual(), ours()
    pairs = [(_once(usual), _once(ours)) for _ in range(repeats)]
    return min(first for first, _ in pairs), min(second for _, second in pairs)


@contextmanager
def one_processor() -> Iterator[None]:
    """Keep the process on one processor: two threads that share a core cost each other CPU time."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def _once(function: Callable[[], object]) -> float:
    before = _used()
    function()
    return _used() - before


def _used() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
