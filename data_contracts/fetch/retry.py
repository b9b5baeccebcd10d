"""How often and how long a transfer is tried again: exponential waits with jitter, the server's own wish first."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type

from data_contracts.errors import ExternalServiceError

Result = TypeVar("Result")

# Jitter spreads many clients apart; it must not touch the generators that experiments are seeded with.
_JITTER = random.SystemRandom()


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """What a transfer may cost before it is given up.

    attempts: tries in all. unreachable_attempts: tries in all as long as no server has answered, so that a machine
    without a network is told so in seconds. waiting_seconds: sum of the waits between tries. A wait that would
    overdraw the budget is not begun. least_bytes_per_second: a body that comes slower than this over `read_seconds`
    counts as cut off.
    """

    attempts: int = 8
    unreachable_attempts: int = 2
    waiting_seconds: float = 300.0
    first_wait_seconds: float = 1.0
    longest_wait_seconds: float = 60.0
    connect_seconds: float = 5.0
    read_seconds: float = 60.0
    least_bytes_per_second: float = 256.0
    sleep: Callable[[float], None] = time.sleep


class PassingFault(Exception):
    """A fault that may be gone at the next try. wait_seconds: what the server asked for, or None."""

    def __init__(self, reason: str, wait_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait_seconds = wait_seconds


class Unreachable(PassingFault):
    """No connection came about: no such name, nobody listening, no network, or no answer to the knocking."""


def persist(
    attempt: Callable[[], Result], budget: RetryBudget, *, subject: str, say: Callable[[str], None]
) -> Result:
    """Call `attempt` until it returns, as long as it raises PassingFault and the budget lasts.

    Raises ExternalServiceError with the last reason when the budget is spent.
    """

    answered = False

    def wait(state: RetryCallState) -> float:
        fault = _fault(state)
        if fault.wait_seconds is not None:
            return fault.wait_seconds
        doubled = budget.first_wait_seconds * 2.0 ** (state.attempt_number - 1)
        longest = min(budget.longest_wait_seconds, doubled)
        return longest * _JITTER.uniform(0.5, 1.0)

    def most_tries(state: RetryCallState) -> int:
        nonlocal answered
        answered = answered or not isinstance(_fault(state), Unreachable)
        return budget.attempts if answered else min(budget.attempts, budget.unreachable_attempts)

    def spent(state: RetryCallState) -> bool:
        return (
            state.attempt_number >= most_tries(state)
            or state.idle_for + state.upcoming_sleep > budget.waiting_seconds
        )

    def announce(state: RetryCallState) -> None:
        say(f"{subject}: {_fault(state).reason}; trying again in {state.upcoming_sleep:.0f} s")

    def give_up(state: RetryCallState) -> Result:
        fault = _fault(state)
        tries = f"{state.attempt_number} {'try' if state.attempt_number == 1 else 'tries'}"
        asked = "" if fault.wait_seconds is None else f"; the server asked for {fault.wait_seconds:.0f} s more"
        raise ExternalServiceError(
            f"{subject}: gave up after {tries} and {state.idle_for:.0f} s of waiting; "
            f"the last one: {fault.reason}{asked}.",
            why=f"The budget is {most_tries(state)} tries and {budget.waiting_seconds:.0f} s of waiting.",
            cure="Check this machine's network and proxy, and run the same command again later; what was "
            "transferred is kept and goes on from there.",
        ) from fault

    retrying = Retrying(
        retry=retry_if_exception_type(PassingFault),
        wait=wait,
        stop=spent,
        sleep=budget.sleep,
        before_sleep=announce,
        retry_error_callback=give_up,
    )
    return retrying(attempt)


def retry_after_seconds(header: str | None) -> float | None:
    """Seconds that a Retry-After header asks for, in either of its forms (seconds, HTTP date); None if it has none."""
    if not header:
        return None
    if header.strip().isdigit():
        return float(header)
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _fault(state: RetryCallState) -> PassingFault:
    error = state.outcome.exception() if state.outcome is not None else None
    if not isinstance(error, PassingFault):
        raise TypeError(f"only a PassingFault is tried again, not {error!r}")
    return error
