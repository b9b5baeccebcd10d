"""How often must a limit be exceeded before it is an alarm, and how long does a false one take to come."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from data_contracts.drift.verdict import DriftVerdict, Window


def windows_between_false_alarms(rate: float, confirmations: int, windows: int) -> float:
    """Mean number of windows from the start to the first alarm when each window exceeds by chance, independently.

    rate: chance of one window, in (0, 1]. An alarm is `confirmations` exceeding windows among the last `windows`.
    The average run length ARL0 of statistical process control, exact: the windows that still count form a Markov
    chain whose mean time to absorption solves linear equations.
    """
    states = [state for state in product((0, 1), repeat=windows - 1) if sum(state) < confirmations]
    place = {state: number for number, state in enumerate(states)}
    staying = np.eye(len(states))
    for state, number in place.items():
        for exceeded, chance in ((0, 1 - rate), (1, rate)):
            if sum(state) + exceeded < confirmations:
                staying[number, place[(*state, exceeded)[1:]]] -= chance
    mean_times = np.linalg.solve(staying, np.ones(len(states)))
    return float(mean_times[place[(0,) * (windows - 1)]])


def counted_before(
    earlier: Sequence[DriftVerdict], window: Window, profile: str, windows: int
) -> list[DriftVerdict]:
    """The earlier verdicts that count together with this window, oldest first; at most `windows` - 1.

    Of each window its last issue counts, whatever order they come in. Windows that could not be judged, that were
    judged against another reference, or that do not lie before this one are passed over.
    """
    last_issues: dict[str, DriftVerdict] = {}
    for verdict in sorted(earlier, key=lambda verdict: verdict.window.issue):
        last_issues[verdict.window.id] = verdict
    counted = [
        verdict
        for verdict in last_issues.values()
        if verdict.window.id != window.id
        and _when(verdict.window) < _when(window)
        and verdict.profile == profile
        and verdict.outcome in ("quiet", "exceeded")
    ]
    counted.sort(key=lambda verdict: _when(verdict.window))
    return counted[max(0, len(counted) - windows + 1) :]


def _when(window: Window) -> tuple[str, str, str]:
    return window.until, window.since, window.id
