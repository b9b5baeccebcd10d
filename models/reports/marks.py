"""The chip that says a verdict by colour and symbol; its word is the verdict itself."""

from __future__ import annotations

AUDIT = {"pass": "good", "warn": "caution", "fail": "bad", "not evaluated": "none"}
CHECK = {"passed": "good", "failed": "bad", "inconclusive": "caution", "not evaluated": "none"}
