"""What happens when MLflow does not answer: telemetry is given up and counted, everything else stops."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar
from urllib.parse import urlsplit

from data_contracts.errors import EnvironmentProblem, ExternalServiceError, LunglineError

Result = TypeVar("Result")

_log = logging.getLogger("lungline.tracking")


class Tracking:
    """Makes the MLflow calls of one run so that an outage costs its records, never the training.

    After the first failure the run is given up: it warns once, and every later call only counts. Trying again
    each time would let a dead server slow every epoch down by its whole retry budget.
    lost: how many calls had no effect.
    """

    def __init__(self, address: str, *, given_up: bool = False) -> None:
        self.lost = 0
        self._address = address
        self._given_up = given_up

    def attempt(self, event: str, call: Callable[[], Result]) -> Result | None:
        """The result of the call, or None where it was lost."""
        if not self._given_up:
            try:
                return call()
            except _failures() as error:
                self._given_up = True
                _log.warning(
                    "MLflow at %s failed at %r; the work goes on and this run is no longer tracked: %s",
                    self._address,
                    event,
                    _first_line(error),
                )
        self.lost += 1
        return None


@contextmanager
def store_errors(tracking_uri: str) -> Iterator[None]:
    """Turn what MLflow raises into EnvironmentProblem (SQLite, local files) or ExternalServiceError (a server)."""
    try:
        yield
    except LunglineError:
        raise
    except _failures() as error:
        problem = EnvironmentProblem if is_local(tracking_uri) else ExternalServiceError
        raise problem(
            f"The MLflow store at {without_credentials(tracking_uri)} failed: {_first_line(error)}",
            why="Runs and model versions are kept there; without it none can be registered, read or approved.",
            cure="Check that address (`lungline doctor` tries it), then run the command again.",
        ) from error


def is_local(tracking_uri: str) -> bool:
    """Whether the store is on this machine's disk rather than a service."""
    return urlsplit(tracking_uri).scheme in ("sqlite", "file", "")


def without_credentials(text: str) -> str:
    """A URI, or a sentence with URIs in it, without the user names and passwords."""
    return re.sub(r"//[^/\s]*@", "//", text)


def _failures() -> tuple[type[Exception], ...]:
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, SQLAlchemyError, OSError, LunglineError  # requests' errors are OSErrors


def _first_line(error: Exception) -> str:
    # MLflow appends SQL statements with their parameters in later lines, and quotes addresses as they were given.
    return without_credentials((str(error).splitlines() or [type(error).__name__])[0])[:300]
