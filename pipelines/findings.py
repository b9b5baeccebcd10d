"""What a look at one thing found, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `cure` is empty where nothing is wrong."""

    subject: str
    state: Literal["ok", "note", "wrong"]
    found: str
    cure: str = ""
