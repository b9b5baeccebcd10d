"""Keeps secrets out of what the program says: passwords in addresses, tokens, keys, and values set as secrets.

Log records, error messages and tracebacks pass through here. Nothing is asked to be redacted: whoever writes a message
does not know what a library put into it.
"""

from __future__ import annotations

import logging
import os
import re
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

REDACTED = "[secret]"

# Environment variables whose value is a secret, by the end of their name.
_SECRET_VARIABLE = re.compile(r"(?:^|_)(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$")
_SHORTEST_VALUE = 8  # a shorter one could be part of any word

# Forms that issuers gave their secrets so that programs can tell them: no word or hash looks like one.
_ISSUED = re.compile(
    r"""-----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY-----(?:.*?-----END[ ][A-Z ]*PRIVATE[ ]KEY-----|.*)
    | \b(?:AKIA|ASIA)[0-9A-Z]{16}\b
    | \bgh[opsur]_[A-Za-z0-9]{36,}\b
    | \bgithub_pat_[A-Za-z0-9_]{40,}\b
    | \bhf_[A-Za-z0-9]{30,}\b
    | \bKGAT_[A-Za-z0-9]{20,}\b
    | \bZENKEY_[A-Za-z0-9_=-]{20,}
    | \bAIza[0-9A-Za-z_-]{35}\b
    | \bxox[abeoprs]-[A-Za-z0-9-]{10,}\b
    | \beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]*""",
    re.VERBOSE | re.DOTALL,
)
_IN_ADDRESS = re.compile(r"(?P<keep>\b[a-z][a-z0-9+.-]*://)[^\s/@'\"<>]+@", re.IGNORECASE)
_BEARER = re.compile(r"(?P<keep>\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
_NAMED = re.compile(
    r"""(?P<keep>\b[\w-]*(?:passw(?:or)?d|secret|token|api[_-]?key|access[_-]?key|patient[_-]?key|signature)
    ["']?\s*[=:]\s*)(?:"[^"]+"|'[^']+'|[^\s"',;&)}\]]+)""",
    re.IGNORECASE | re.VERBOSE,
)


def redact(text: str, environment: Mapping[str, str] | None = None) -> str:
    """The text with REDACTED where a secret stood. environment: None for that of the process."""
    for value in _secret_values(os.environ if environment is None else environment):
        text = text.replace(value, REDACTED)
    text = _ISSUED.sub(REDACTED, text)
    text = _IN_ADDRESS.sub(rf"\g<keep>{REDACTED}@", text)
    for pattern in (_BEARER, _NAMED):
        text = pattern.sub(rf"\g<keep>{REDACTED}", text)
    return text


def issued_secrets(text: str) -> list[str]:
    """Everything in a text that an issuer's own form gives away as a secret."""
    return [found[0] for found in _ISSUED.finditer(text)]


class RedactedRecord(logging.LogRecord):
    """A log record whose message, text arguments and traceback hold no secret; their shape stays, as formatters use it.

    `logging.setLogRecordFactory(RedactedRecord)` makes every logger of the process write such records.
    """

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        if isinstance(self.args, tuple):
            self.args = tuple(redact(value) if isinstance(value, str) else value for value in self.args)
        if self.exc_info and self.exc_info[0]:
            # A formatter that finds the text ready does not make it again.
            self.exc_text = redact("".join(traceback.format_exception(*self.exc_info)).rstrip("\n"))

    def getMessage(self) -> str:  # noqa: N802  the standard library's name
        return redact(super().getMessage())


def _secret_values(environment: Mapping[str, str]) -> list[str]:
    """Longest first, so that one which contains another goes as a whole."""
    values = {
        value for name, value in environment.items() if _SECRET_VARIABLE.search(name.upper()) and _is_value(value)
    }
    return sorted(values, key=lambda value: (-len(value), value))


def _is_value(value: str) -> bool:
    return len(value) >= _SHORTEST_VALUE and not Path(value).is_absolute()
