"""Turns a patient's identifier into a pseudonym that only the holder of the key could make again.

The key is the variable LUNGLINE_PATIENT_KEY or, where that is not set, the file `patient.key` in LUNGLINE_HOME, made
on first use and readable by its owner alone. Another key gives other pseudonyms, so all machines that build the
same data need the same one.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from data_contracts.errors import EnvironmentProblem
from data_contracts.workspace import Workspace

VARIABLE = "LUNGLINE_PATIENT_KEY"
FILE = "patient.key"
_LEAST_LENGTH = 16  # characters: a shorter key could be found by trying


def pseudonym(identifier: str, key: bytes) -> str:
    """16 hex digits: HMAC-SHA256 of the identifier without surrounding blanks; "" where there is no identifier."""
    identifier = identifier.strip()
    if not identifier:
        return ""
    return hmac.new(key, identifier.encode(), hashlib.sha256).hexdigest()[:16]


def patient_key() -> bytes:
    """The key for pseudonyms, made where there is none yet.

    Raises EnvironmentProblem where it cannot be read or written, or is too short to protect anybody.
    """
    variable = os.environ.get(VARIABLE, "").strip()
    place = Workspace.current().home / FILE
    try:
        key = variable or _read_or_make(place)
    except (OSError, UnicodeDecodeError) as error:
        raise EnvironmentProblem(
            f"The key for patients' pseudonyms cannot be read or written: {place} ({type(error).__name__}).",
            why="Images of one patient could not be kept together without storing who the patient is.",
            cure=f"Set {VARIABLE} to a secret text, or LUNGLINE_HOME to a folder you may write to.",
        ) from error
    if len(key) < _LEAST_LENGTH:
        raise EnvironmentProblem(
            f"The key for patients' pseudonyms in {VARIABLE if variable else place} is shorter than "
            f"{_LEAST_LENGTH} characters.",
            why="Identifiers could be found again by trying keys.",
            cure='Use a random one: python -c "import secrets; print(secrets.token_hex(32))".',
        )
    return key.encode()


def _read_or_make(place: Path) -> str:
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_name(f"{FILE}.part-{os.getpid()}-{secrets.token_hex(4)}")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(secrets.token_bytes(32).hex() + "\n")
                file.flush()
                os.fsync(file.fileno())
            # A link, unlike a rename, never replaces the key that another process has just made.
            os.link(part, place)
        except FileExistsError:
            pass  # that process's key is the one to use
        finally:
            part.unlink(missing_ok=True)
    return place.read_text(encoding="utf-8").strip()
