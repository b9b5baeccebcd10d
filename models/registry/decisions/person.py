"""Who decides and who trained: a named person, and how far that name can be believed."""

from __future__ import annotations

import os
import pwd
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError, model_validator

from data_contracts.errors import ModelGateError

TRAINED_BY_TAG = "lungline.trained_by"

ACCOUNT: Literal["ZenML account"] = "ZenML account"
SERVICE: Literal["ZenML service account"] = "ZenML service account"
OS_USER: Literal["operating-system user"] = "operating-system user"


class Person(BaseModel):
    """A name and who vouches for it.

    kind: an account is vouched for by a ZenML server; an operating-system user by this machine alone.
    account_id: the server's own id of the account, which stays when it is renamed; "" for operating-system users.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    kind: Literal["ZenML account", "ZenML service account", "operating-system user"]
    account_id: str = ""

    @model_validator(mode="after")
    def _accounts_have_ids(self) -> Self:
        if (self.kind == OS_USER) == bool(self.account_id):
            raise ValueError("accounts have an id, operating-system users have none")
        return self

    def __str__(self) -> str:
        return f"{self.name} ({self.kind})"


def operating_system_user() -> Person:
    """The user this process runs as, by the system's own table; no environment variable is asked."""
    user = os.getuid()
    try:
        name = pwd.getpwuid(user).pw_name
    except KeyError:  # a container may run as a number without a name
        name = f"uid {user}"
    return Person(name=name, kind=OS_USER)


def trainer_in(tags: dict[str, str]) -> Person | None:
    """Who trained a version, by its tags; None where they do not say it readably."""
    try:
        return Person.model_validate_json(tags.get(TRAINED_BY_TAG, ""))
    except ValidationError:
        return None


def require_human(person: Person) -> None:
    """Raise ModelGateError for an account that belongs to a program."""
    if person.kind == SERVICE:
        raise ModelGateError(
            f"{person} belongs to a program.",
            why="A model goes live, is refused or is taken back by the decision of a named person.",
            cure="Sign in with an account of your own (`zenml login`), then run the command again.",
        )


def separation_doubt(person: Person, trainer: Person | None) -> str:
    """Why it is uncertain that trainer and approver differ, where a server knows accounts; "" where it is not.

    Raises ModelGateError where they are the same account, or where the trainer signed in and the approver did not.
    Between operating-system users nothing is asked: they can be changed at will and prove nothing.
    """
    if trainer is not None and trainer.kind == ACCOUNT and person.kind != ACCOUNT:
        raise ModelGateError(
            f"{trainer} trained this version, and {person} is not signed in to a ZenML server.",
            why="Only signed in can it be told that the approver is another person than the trainer.",
            cure="Sign in with an account of your own (`zenml login`), then run the command again.",
        )
    if person.kind != ACCOUNT:
        return ""
    if trainer is None or trainer.kind == OS_USER:
        return "trainer without an account"
    if trainer.account_id == person.account_id:
        raise ModelGateError(
            f"{person} trained this version.",
            why="Who trained a model does not approve it: a second pair of eyes is the point of the decision.",
            cure="Ask a colleague to read the dossier and to decide.",
        )
    return ""
