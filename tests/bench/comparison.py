"""One speed promise: what the usual way costs, what ours costs, and the ratio that was promised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Comparison:
    """CPU seconds per image, the usual way and ours. ours is None where this machine cannot run it, and skipped why."""

    name: str
    usual: float
    ours: float | None
    target: float
    skipped: str = ""

    @property
    def missed(self) -> bool:
        return self.ours is not None and self.usual / self.ours < self.target

    def line(self) -> str:
        start = f"{self.name:<34}{self.usual * 1e6:>12,.0f}"
        if self.ours is None:
            return f"{start}{'-':>12}{'-':>10}{self.target:>9.2f}x  skipped: {self.skipped}"
        verdict = "MISSED" if self.missed else "ok"
        return f"{start}{self.ours * 1e6:>12,.0f}{self.usual / self.ours:>9.2f}x{self.target:>9.2f}x  {verdict}"


def judge(comparisons: Sequence[Comparison]) -> int:
    """Print the table; 1 where a promise is not kept, else 0."""
    print(f"{'CPU microseconds per image':<34}{'usual':>12}{'ours':>12}{'ratio':>10}{'target':>10}")
    for comparison in comparisons:
        print(comparison.line())
    return int(any(comparison.missed for comparison in comparisons))


@dataclass(frozen=True, slots=True)
class Limit:
    """One promise in absolute terms: what was measured, and what it may be at most; no `most` where it only informs."""

    name: str
    measured: float
    most: float | None
    unit: str

    @property
    def missed(self) -> bool:
        return self.most is not None and self.measured > self.most

    def line(self) -> str:
        start = f"{self.name:<58}{self.measured:>12,.1f}"
        if self.most is None:
            return f"{start}{'':>10} {self.unit}"
        return f"{start}{self.most:>10,.0f} {self.unit}  {'MISSED' if self.missed else 'ok'}"


def judge_limits(limits: Sequence[Limit]) -> int:
    """Print the table; 1 where a promise is not kept, else 0."""
    print(f"{'':<58}{'measured':>12}{'at most':>10}")
    for limit in limits:
        print(limit.line())
    return int(any(limit.missed for limit in limits))
