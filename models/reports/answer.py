"""One answer to one of a reader's questions about a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mark = Literal["good", "caution", "bad"]


@dataclass(frozen=True, slots=True)
class Answer:
    """One question. word: how it stands, beside its mark. reservation: what a reader must hold against the model,
    as the end of a sentence, "" where there is nothing.
    """

    question: str
    mark: Mark
    word: str
    sentences: list[str]
    reservation: str = ""
