"""What the decision log asks of the place it lies in: its bytes, its stated end, and a lock."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from data_contracts.errors import EnvironmentProblem

# A decision holds the lock while it takes the bundle from the registry and verifies it.
LOCK_SECONDS = 300.0


class LogStorage(Protocol):
    """Keeps the lines and the head as bytes; what they mean is the log's affair.

    Every method raises EnvironmentProblem or ExternalServiceError where the place fails.
    """

    @property
    def place(self) -> str:
        """Where it lies, in words for people; without a password."""

    @property
    def name(self) -> str:
        """What findings call the lines."""

    @property
    def head_name(self) -> str:
        """What findings call the head."""

    def begun(self) -> bool:
        """Whether there is anything of a log, even if only its head was left."""

    def read(self) -> tuple[bytes, bytes | None]:
        """The lines, each with its line break, and the head without; None where there is no head."""

    def append(self, lines: Mapping[int, bytes], head: bytes) -> None:
        """Add lines, without their line breaks, by their numbers, and set the head; where it raises, no line is added.

        Half a line that a kill left at the end is removed before. For whoever holds the lock.
        """

    def locked(self) -> AbstractContextManager[None]:
        """Hold the log against every other process, for at most LOCK_SECONDS of waiting."""


def not_locked(place: str, why: object) -> EnvironmentProblem:
    """The error of whoever waited for the lock in vain."""
    return EnvironmentProblem(
        f"The decision log {place} cannot be locked: {why}.",
        why="Two decisions at once could contradict each other.",
        cure="Wait until the other decision is made, or see that the log may be written to.",
    )
