"""The errors a person may meet, each with the exit code the command line ends with.

LunglineError
├── UsageProblem          2  a recipe, option or path that cannot be what was meant
├── DataGateError         3  the data broke a contract; nothing may train on it
├── ModelGateError        4  a model broke a promise (tampered bundle, missing evidence)
├── EnvironmentProblem    5  this machine lacks something (disk, package, GPU)
└── ExternalServiceError  6  a service outside refused or did not answer

A message has three parts: what happened (with the value), why it matters here, what to do next.
"""

from __future__ import annotations


class LunglineError(Exception):
    """An error with a cause and a cure.

    what: what happened, with the offending value. why: what would go wrong if it were ignored.
    cure: the next thing to do. Never put a patient identifier into any of the three.
    """

    exit_code = 1

    def __init__(self, what: str, *, why: str, cure: str) -> None:
        super().__init__(what, why, cure)
        self.what = what
        self.why = why
        self.cure = cure

    def __str__(self) -> str:
        return f"{self.what}\n{self.why}\n{self.cure}"


class UsageProblem(LunglineError):
    """What was asked for cannot be what was meant."""

    exit_code = 2


class DataGateError(LunglineError):
    """The data broke a contract; nothing may train on it."""

    exit_code = 3


class ModelGateError(LunglineError):
    """A model or its bundle broke a promise."""

    exit_code = 4


class EnvironmentProblem(LunglineError):
    """This machine lacks something the work needs."""

    exit_code = 5


class ExternalServiceError(LunglineError):
    """A service outside this machine refused or did not answer."""

    exit_code = 6
